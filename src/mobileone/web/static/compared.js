/** Results of several devices side by side; other devices' are kept in this browser until they are removed. */

import { find, make, milliseconds, sentence, tell } from "./elements.js";
import { readResults } from "./result.js";
import { summary } from "./statistics.js";

/** @import { Result } from "./result.js" */

const KEPT = "mobileone.results";

export class Comparison {
  constructor() {
    /** @type {Result | null} */
    this.own = null;
    /** @type {Result[]} */
    this.others = [];
    const text = find("others", HTMLTextAreaElement);
    const files = find("other-files", HTMLInputElement);
    find("add-others", HTMLButtonElement).addEventListener("click", async () => {
      if (await this.add(text.value)) text.value = "";
    });
    files.addEventListener("change", async () => {
      for (const file of files.files ?? []) await this.add(await file.text());
      files.value = "";
    });
    find("forget", HTMLButtonElement).addEventListener("click", () => this.keep([]));
    this.restore();
  }

  async restore() {
    const kept = recall();
    if (kept) await this.add(kept);
  }

  /** @param {Result} result  measured here */
  setOwn(result) {
    this.own = result;
    this.draw();
  }

  /**
   * @param {string} text  JSON or links
   * @returns {Promise<boolean>} whether all of it was results
   */
  async add(text) {
    try {
      const known = new Set(this.others.map((each) => JSON.stringify(each)));
      const added = (await readResults(text)).filter((each) => !known.has(JSON.stringify(each)));
      this.keep([...this.others, ...added]);
      tell("others-notice");
      return true;
    } catch (error) {
      tell("others-notice", sentence(error));
      return false;
    }
  }

  /** @param {Result[]} others */
  keep(others) {
    this.others = others;
    try {
      localStorage.setItem(KEPT, JSON.stringify(others));
    } catch {
      // A browser that keeps nothing still shows them.
    }
    this.draw();
  }

  draw() {
    find("forget", HTMLElement).hidden = !this.others.length;
    const results = this.own ? [this.own, ...this.others] : this.others;
    const rows = results.flatMap((result) =>
      result.measurements.map((each) => ({ result, each, ...summary(each.milliseconds) })),
    );
    rows.sort((a, b) => a.each.network.title.localeCompare(b.each.network.title) || a.median - b.median);
    const head = ["Network", "Device", "Runtime", "Threads", "Median", "p90", "Min", "Cold", "After a minute", "As Python"];
    const body = rows.map(({ result, each, min, median, p90 }) => [
      each.network.title,
      result === this.own ? `${result.device.name} (this one)` : result.device.name,
      `${each.network.runtime}${each.kernels ? ` (${each.kernels})` : ""} ${each.network.precision}`,
      String(each.threads),
      ...[median, p90, min, each.coldMilliseconds].map(milliseconds),
      each.sustained?.milliseconds.length ? milliseconds(each.sustained.milliseconds[each.sustained.milliseconds.length - 1]) : "–",
      proven(result, each.network.title),
    ]);
    const place = find("comparison", HTMLElement);
    if (!rows.length) return place.replaceChildren();
    const cell = (/** @type {"th" | "td"} */ tag) => (/** @type {string} */ text, /** @type {number} */ index) =>
      make(tag, { ...(index < 3 ? { class: "text" } : {}), ...(tag === "th" ? { scope: "col" } : {}) }, text);
    place.replaceChildren(
      make(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "Results side by side" },
        make("table", {}, make("thead", {}, make("tr", {}, ...head.map(cell("th")))), make("tbody", {}, ...body.map((cells) => make("tr", {}, ...cells.map(cell("td")))))),
      ),
    );
  }
}

/**
 * @param {Result} result
 * @param {string} title
 */
function proven(result, title) {
  const found = result.proofs.filter((each) => each.title === title);
  if (!found.length) return "–";
  if (found.every((each) => each.differing === 0 && each.pixelsDiffering === 0)) return "same";
  return found.every((each) => (each.differing === 0 || each.close) && each.pixelsDiffering === 0) ? "close" : "differs";
}

/** @returns {string | null} */
function recall() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
