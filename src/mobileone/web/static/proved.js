/** Proved: whether this device computes what Python computed. */

import { find, make, onPress, sentence } from "./elements.js";

/** @import { Engine, Network, Proof, Site } from "./protocol.js" */
/** @import { Proven } from "./result.js" */

/** Share of the greatest logit by which floats may differ from Python's: what `export` allows. fp16 differs by more, and so
 *  does one step of an int8 network. */
const ROUNDING = 1e-4;

export class Proved {
  /**
   * @param {Site} site
   * @param {Engine} engine
   * @param {number} threads  the most
   */
  constructor(site, engine, threads) {
    this.site = site;
    this.engine = engine;
    this.threads = threads > 1 ? [1, 2] : [1];
    /** @type {Proven[]} */
    this.found = [];
    /** @type {Promise<void> | undefined} */
    this.first = undefined;
    onPress(find("prove", HTMLButtonElement), () => (this.first = this.prove()));
  }

  /** Prove all networks; once, when somebody wants to know. */
  show() {
    this.first ??= this.prove();
    return this.first;
  }

  async prove() {
    this.found = [];
    const cards = this.site.networks.map((network) => make("article", { class: "card" }, make("h3", {}, network.title), make("p", { class: "soft" }, "Waiting …")));
    find("proofs", HTMLElement).replaceChildren(make("div", { class: "cards" }, ...cards));
    for (const [index, network] of this.site.networks.entries()) {
      const lines = [];
      for (const threads of network.accelerator ? [1] : this.threads) lines.push(...(await this.one(network, threads)));
      cards[index].replaceChildren(make("h3", {}, network.title), ...lines);
    }
  }

  /**
   * @param {Network} network
   * @param {number} threads
   * @returns {Promise<HTMLElement[]>} lines for people
   */
  async one(network, threads) {
    const given = threads === 1 ? "1 thread" : `${threads} threads`;
    try {
      /** @type {Proof} */
      const proof = await this.engine.ask("prove", { network: network.id, threads });
      const { differing, of, greatest, pixels } = proof;
      const close = isRounding(network, proof);
      this.found.push({ title: network.title, threads, differing, of, greatest, close, pixelsDiffering: pixels.differing, pixelsOf: pixels.of });
      const lines = [line(proof.same ? "same" : close ? "close" : "differs", `${given}: ${numbers(network, proof)}${proof.kernels ? ` Kernels: ${proof.kernels}.` : ""}`)];
      if (proof.replaced) lines.push(make("p", { class: "soft" }, `${given}: before, relaxed SIMD gave other integers on this device; it is not used any more.`));
      if (threads > 1) return lines;
      lines.push(line(pixels.same ? "same" : "differs", pixels.same ? `Pre-processing: the same pixels as in Python, ${pixels.of} of ${pixels.of} pictures.` : `Pre-processing: ${pixels.differing} of ${pixels.of} pictures differ from Python's.`));
      if (proof.decoding) lines.push(make("p", { class: "soft" }, decoding(proof.decoding)));
      return lines;
    } catch (error) {
      return [line("not run", `${given}: ${sentence(error)}`)];
    }
  }
}

/**
 * Whether logits are integers times one number a class, the same everywhere; LiteRT.js rounds in between.
 *
 * @param {Network} network
 */
const givesIntegers = ({ runtime, precision }) => runtime === "engine" && precision === "int8";

/**
 * @param {Network} network
 * @param {Proof} proof
 */
function isRounding(network, { greatest, scale, pixels }) {
  return !givesIntegers(network) && pixels.same && greatest <= ROUNDING * scale;
}

/**
 * @param {Network} network
 * @param {Proof} proof
 */
function numbers(network, { same, differing, of, greatest, scale }) {
  const kind = givesIntegers(network) ? "integers" : "numbers";
  if (same) return `the same ${kind} as in Python, all ${of} to the last bit.`;
  const most = kind === "integers" ? greatest.toPrecision(2) : `${(greatest / scale).toExponential(1)} of the greatest`;
  return `${differing} of ${of} ${kind} differ from Python's, by ${most} at most.`;
}

/** @param {{differing: number, of: number, greatest: number}} found */
function decoding({ differing, of, greatest }) {
  if (!differing) return "This browser decodes a JPEG to the same pixels as Python.";
  return `This browser decodes a JPEG a little otherwise than Python: ${((100 * differing) / of).toFixed(1)} % of its values, by ${greatest} at most. That is allowed.`;
}

/**
 * @param {"same" | "close" | "differs" | "not run"} found
 * @param {string} text
 */
function line(found, text) {
  const isGood = found === "same" || found === "close";
  return make("p", {}, make("span", { class: `badge ${isGood ? "good" : "bad"}` }, found), ` ${text}`);
}
