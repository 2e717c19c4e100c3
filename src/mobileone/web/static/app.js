/** The page's beginning: whether this browser can, which networks there are, and the view that the address names. */

import { find, make, sentence, tell } from "./elements.js";
import { Live } from "./live.js";
import { Measured } from "./measured.js";
import { FORMAT, startEngine, withWebGpu } from "./protocol.js";
import { Proved } from "./proved.js";

/** @import { Capabilities, Site } from "./protocol.js" */

const VIEWS = ["live", "measured", "proved"];

/** @returns {string | null} what this browser lacks */
function lacking() {
  if (typeof WebAssembly !== "object") return "WebAssembly";
  if (typeof Worker !== "function") return "workers";
  if (typeof createImageBitmap !== "function" || typeof OffscreenCanvas !== "function") return "pictures in workers";
  return null;
}

/** @returns {Promise<Site>} */
async function fetchSite() {
  let answer;
  try {
    answer = await fetch("site.json");
  } catch {
    throw new Error("The list of networks could not be fetched: is this device online? Reload to try again.");
  }
  if (!answer.ok) throw new Error(`The list of networks could not be fetched (site.json: ${answer.status}). Is the folder whole?`);
  const site = await answer.json().catch(() => null);
  if (site?.format !== FORMAT) throw new Error(`site.json is not of the form ${FORMAT}. Build the site again.`);
  return site;
}

async function start() {
  const lack = lacking();
  if (lack) throw new Error(`This browser lacks ${lack}, so no network can run in it. Chrome or Edge 91, Firefox 114, Safari 16.4, or newer have it.`);
  const engine = startEngine();
  /** @type {[Site, Capabilities]} */
  const [site, can] = await Promise.all([fetchSite(), engine.ask("capabilities")]);
  if (!can.simd) throw new Error("This browser's WebAssembly lacks SIMD, so no network can run in it. Chrome or Edge 91, Firefox 89, Safari 16.4, or newer have it.");
  // No network of the engine's waits for a GPU to be found.
  if (site.litert && (await engine.ask("webgpu"))) site.networks = withWebGpu(site.networks);
  const live = new Live(site, engine, can.threads);
  const proved = new Proved(site, engine, can.threads);
  const measured = new Measured(site, can.threads, proved, () => live.rest());
  const route = () => {
    const [name] = location.hash.slice(1).split("=");
    const view = name === "result" ? "measured" : VIEWS.includes(name) ? name : "live";
    for (const each of VIEWS) find(`view-${each}`, HTMLElement).hidden = each !== view;
    for (const link of document.querySelectorAll("nav a"))
      link.getAttribute("href") === `#${view}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    if (view !== "live") live.rest();
    if (view === "measured") measured.show();
    if (view === "proved") proved.show();
    if (name === "result") takeResult(measured);
  };
  window.addEventListener("hashchange", route);
  tell("notice");
  route();
  foot(site);
  await settle(can);
  // The first network is fetched before somebody needs it.
  await engine.ask("load", { network: live.network.id });
}

/** @param {Measured} measured  gets the result that the address carries */
async function takeResult(measured) {
  const link = location.hash;
  history.replaceState(null, "", "#measured");
  await measured.comparison.add(link);
}

/** @param {Site} site */
function foot(site) {
  find("made", HTMLElement).textContent = `Built by ${site.made}. No picture and no result leaves this device unless you pass it on.`;
  const links = site.licences.map(({ name, file, networks }) =>
    make("span", {}, `${networks.join(", ")}: weights under `, make("a", { href: file }, name), ". "),
  );
  find("licences", HTMLElement).replaceChildren(...links);
}

/**
 * Keep the page for use without a network, and get it the headers that threads need.
 * @param {Capabilities} can
 */
async function settle(can) {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register("service_worker.js");
    await navigator.serviceWorker.ready;
  } catch {
    return;  // private windows, self-signed certificates: the page works all the same
  }
  if (can.isolated || !window.isSecureContext || (navigator.hardwareConcurrency ?? 1) < 2) return;
  const button = make("button", { type: "button" }, "Reload with several threads");
  button.addEventListener("click", () => location.reload());
  const hint = find("threads-hint", HTMLElement);
  hint.replaceChildren(button);
  hint.hidden = false;
}

start().catch((reason) => tell("notice", sentence(reason)));
