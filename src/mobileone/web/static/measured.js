/** Measured: what networks take on this device, to be read, copied and passed on. */

import { curveChart, histogramChart } from "./charts.js";
import { Comparison } from "./compared.js";
import { describeDevice, pressure } from "./device.js";
import { find, make, megabytes, milliseconds, onPress, sentence, tell } from "./elements.js";
import { startEngine } from "./protocol.js";
import { FORMAT, toLink } from "./result.js";
import { summary } from "./statistics.js";

/** @import { Engine, Network, Site } from "./protocol.js" */
/** @import { Proved } from "./proved.js" */
/** @import { Device, Measurement, Result } from "./result.js" */

/** Configurations take turns, so that a device that slows down slows them all. */
const ROUNDS = 4;
const WARMUP = 5;
const SUSTAINED_SECONDS = 60;

export class Measured {
  /**
   * @param {Site} site
   * @param {number} threads  the most
   * @param {Proved} proved  its findings go into the result
   * @param {() => void} before  called before measuring, to rest everything else
   */
  constructor(site, threads, proved, before) {
    this.site = site;
    this.proved = proved;
    this.before = before;
    this.comparison = new Comparison();
    /** @type {Measurement[]} */
    this.measurements = [];
    /** @type {Device | null} */
    this.device = null;
    /** @type {Promise<void> | undefined} */
    this.described = undefined;
    this.stopped = false;
    find("plan-networks", HTMLElement).append(...site.networks.map((each) => check("network", each.id, each.title)));
    for (let count = 1; count <= threads; count *= 2)
      find("plan-threads", HTMLElement).append(check("threads", String(count), count === 1 ? "1" : `${count}`));
    find("plan", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
    onPress(find("measure", HTMLButtonElement), () => this.measure());
    find("stop", HTMLButtonElement).addEventListener("click", () => (this.stopped = true));
    find("copy-json", HTMLButtonElement).addEventListener("click", () => this.copy(() => JSON.stringify(this.result(), null, 1), "the JSON"));
    find("copy-link", HTMLButtonElement).addEventListener("click", () => this.copy(() => toLink(this.result(), location.href), "the link"));
    find("save", HTMLAnchorElement).addEventListener("click", () => this.save());
    find("device-name", HTMLInputElement).addEventListener("input", () => this.share());
  }

  /** Tell what the device is; once, when somebody looks. */
  show() {
    this.described ??= describeDevice().then((device) => {
      this.device = device;
      find("device-name", HTMLInputElement).value = device.name;
      this.showDevice();
    });
    return this.described;
  }

  showDevice() {
    if (!this.device) return;
    const { browser, cores, isolated, memoryGB, refreshHz, power, pressure } = this.device;
    const facts = /** @type {[string, string][]} */ ([
      ["Browser", browser],
      ["Cores", String(cores)],
      ["Several threads", isolated ? "yes" : "no: the page is not isolated"],
      ["Memory", memoryGB === null ? "not told" : `${memoryGB} GB or about that`],
      ["Screen", refreshHz === null ? "not told" : `${refreshHz} Hz${refreshHz < 40 ? ": it may be saving power" : ""}`],
      ["Power", power ?? "not told"],
      ["Pressure on the processor", pressure ?? "not told"],
    ]);
    find("device", HTMLElement).replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  async measure() {
    const chosen = (/** @type {string} */ name) => [...document.querySelectorAll(`#plan input[name="${name}"]:checked`)].map((each) => /** @type {HTMLInputElement} */ (each).value);
    const networks = this.site.networks.filter((each) => chosen("network").includes(each.id));
    // What a GPU computes is fed by one thread, whatever is chosen.
    const plan = networks.flatMap((network) => (network.accelerator ? ["1"] : chosen("threads")).map((threads) => ({ network, threads: Number(threads) })));
    tell("measured-notice", plan.length ? "" : "Choose one network and one number of threads at least.");
    if (!plan.length) return;
    this.before();
    this.stopped = false;
    this.running(true);
    // A worker of its own: nothing is loaded yet, so the start is a cold one, and nobody else asks it anything.
    const engine = startEngine();
    try {
      await this.show();
      this.progress(0, "Comparing with Python");
      await this.proved.show();
      this.measurements = [];
      const runs = Number(find("plan-runs", HTMLSelectElement).value);
      await this.inTurns(engine, plan, runs);
      if (find("plan-sustained", HTMLInputElement).checked) await this.sustain(engine);
    } catch (error) {
      tell("measured-notice", sentence(error));
    }
    engine.worker.terminate();
    this.measurements = this.measurements.filter((each) => each.milliseconds.length);
    if (this.device) this.device.pressure = await pressure();
    this.running(false);
    this.share();
  }

  /**
   * @param {Engine} engine
   * @param {{network: Network, threads: number}[]} plan
   * @param {number} runs  of each
   */
  async inTurns(engine, plan, runs) {
    const steps = plan.length * (1 + ROUNDS);
    let done = 0;
    const failures = new Set();
    for (const { network, threads } of plan) {
      this.progress(done++ / steps, `Loading ${network.title}`);
      try {
        const loaded = await engine.ask("load", { network: network.id, threads });
        this.measurements.push(measurement(network, threads, loaded));
      } catch (error) {
        failures.add(sentence(error));  // the others are measured all the same
      }
    }
    tell("measured-notice", [...failures].join(" "));
    for (let round = 0; round < ROUNDS; round++)
      for (const each of this.measurements) {
        if (this.stopped) return;
        this.progress(done++ / steps, `${each.network.title}, ${threadText(each.threads)}`);
        const request = { network: this.idOf(each), threads: each.threads, runs: Math.ceil(runs / ROUNDS), warmup: WARMUP };
        const ran = await engine.ask("measure", request);
        each.milliseconds.push(...ran.milliseconds.map(rounded));
        each.kernels = ran.kernels ?? null;
        this.draw();
      }
  }

  /** @param {Engine} engine */
  async sustain(engine) {
    for (const each of this.measurements) {
      const started = performance.now();
      /** @type {{seconds: number[], milliseconds: number[]}} */
      const curve = { seconds: [], milliseconds: [] };
      const runs = Math.max(1, Math.round(1000 / Math.max(0.05, summary(each.milliseconds).median)));
      for (let second = 0; second < SUSTAINED_SECONDS && !this.stopped; ) {
        this.progress(second / SUSTAINED_SECONDS, `${each.network.title}, ${threadText(each.threads)}: ${Math.round(second)} of ${SUSTAINED_SECONDS} s`);
        const request = { network: this.idOf(each), threads: each.threads, runs, warmup: 0 };
        const ran = (await engine.ask("measure", request)).milliseconds;
        second = (performance.now() - started) / 1000;
        curve.seconds.push(rounded(second));
        curve.milliseconds.push(rounded(summary(ran).median));
      }
      if (curve.seconds.length) each.sustained = curve;
      this.draw();
    }
  }

  /** @param {Measurement} of */
  idOf(of) {
    return this.site.networks.find((each) => each.sha256 === of.network.sha256 && each.title === of.network.title)?.id ?? "";
  }

  draw() {
    const measured = this.measurements.filter((each) => each.milliseconds.length);
    find("measurements", HTMLElement).replaceChildren(make("div", { class: "cards" }, ...measured.map(card)));
  }

  /** @returns {Result} */
  result() {
    const device = /** @type {Device} */ (this.device);
    const name = find("device-name", HTMLInputElement).value.trim() || device.name;
    return {
      format: FORMAT,
      made: new Date().toISOString(),
      site: this.site.made.slice(0, 200),
      device: { ...device, name },
      measurements: this.measurements,
      proofs: this.proved.found,
    };
  }

  share() {
    find("share", HTMLElement).hidden = !this.measurements.length;
    if (this.measurements.length) this.comparison.setOwn(this.result());
  }

  /**
   * @param {() => string | Promise<string>} write
   * @param {string} what
   */
  async copy(write, what) {
    try {
      await navigator.clipboard.writeText(await write());
      find("copied", HTMLElement).textContent = `Copied ${what}.`;
    } catch {
      find("copied", HTMLElement).textContent = "The browser refused to copy; save the file instead.";
    }
  }

  save() {
    const link = find("save", HTMLAnchorElement);
    link.href = URL.createObjectURL(new Blob([JSON.stringify(this.result(), null, 1)], { type: "application/json" }));
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  /** @param {boolean} isRunning */
  running(isRunning) {
    for (const id of ["stop", "progress"]) find(id, HTMLElement).hidden = !isRunning;
    find("progress-text", HTMLElement).textContent = isRunning ? "" : this.stopped ? "Stopped." : "Done.";
    this.showDevice();
  }

  /**
   * @param {number} share
   * @param {string} text
   */
  progress(share, text) {
    find("progress", HTMLProgressElement).value = share;
    find("progress-text", HTMLElement).textContent = text;
  }
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} text
 */
function check(name, value, text) {
  return make("label", { class: "check" }, make("input", { type: "checkbox", name, value, checked: true }), text);
}

/**
 * @param {Network} network
 * @param {number} threads
 * @param {import("./protocol.js").Loaded} loaded
 * @returns {Measurement}
 */
function measurement(network, threads, loaded) {
  const { title, runtime, precision, sha256, bytes, input } = network;
  return {
    network: { title, runtime, precision, sha256, bytes, height: input.height, width: input.width },
    threads,
    warmup: WARMUP,
    milliseconds: [],
    loadMilliseconds: rounded(loaded.milliseconds),
    coldMilliseconds: rounded(loaded.coldMilliseconds),
    memoryBytes: loaded.memoryBytes ?? null,
    kernels: loaded.kernels ?? null,
    sustained: null,
  };
}

/** @param {Measurement} measured */
function card(measured) {
  const { min, median, p90 } = summary(measured.milliseconds);
  const { network, threads, loadMilliseconds, coldMilliseconds, memoryBytes, sustained } = measured;
  const figures = [[median, "median"], [p90, "p90"], [min, "min"]].map(([value, name]) =>
    make("div", {}, make("b", {}, milliseconds(Number(value))), make("span", {}, String(name))),
  );
  const start = `${measured.milliseconds.length} runs; load ${milliseconds(loadMilliseconds)}, first run ${milliseconds(coldMilliseconds)}`;
  const made = make(
    "article",
    { class: "card" },
    make("h3", {}, network.title),
    make("p", { class: "soft" }, `${network.runtime}${measured.kernels ? ` (${measured.kernels})` : ""}, ${network.precision}, ${threadText(threads)}, ${network.height} × ${network.width}`),
    make("div", { class: "figures" }, ...figures),
    make("p", { class: "soft" }, memoryBytes === null ? start : `${start}, memory ${megabytes(memoryBytes)}`),
    histogramChart(measured.milliseconds),
  );
  if (sustained) made.append(curveChart(sustained));
  return made;
}

/** @param {number} count */
function threadText(count) {
  return count === 1 ? "1 thread" : `${count} threads`;
}

/** @param {number} value  milliseconds or seconds; browsers' clocks tell no more than this */
function rounded(value) {
  return Math.round(1000 * value) / 1000;
}
