/**
 * Runs networks away from the page, which never waits. protocol.js says what it is asked and what it answers.
 *
 * @typedef {import("./protocol.js").Network} Network
 * @typedef {import("./protocol.js").Site} Site
 */

import { decode } from "./decode.js";
import { fetchChecked, hasRelaxedSimd, hasSimd, isIsolated, mostThreads, RunningNetwork } from "./engine.js";
import { fromBase64, goldenPicture } from "./golden.js";
import { hasWebGpu, LiteRtNetwork } from "./litert.js";
import { Pixels, pixelSource } from "./pixels.js";
import { judge } from "./probabilities.js";
import { withWebGpu } from "./protocol.js";
import { sha256 } from "./sha256.js";

/** @type {Promise<Site> | null} */
let site = null;
/** @type {Promise<Pixels> | null} */
let pixels = null;
/** Networks that have been loaded, by id. @type {Map<string, {running: RunningNetwork | LiteRtNetwork, loaded: Omit<import("./protocol.js").Loaded, "kernels">}>} */
const ready = new Map();

/** site.json. A failure is not kept, so that it can be tried again. */
function readSite() {
  site ??= (async () => {
    const answer = await fetch(new URL("site.json", import.meta.url)).catch(() => null);
    if (!answer?.ok) throw new Error("The list of networks, site.json, could not be fetched.");
    return answer.json();
  })();
  site.catch(() => (site = null));
  return site;
}

function readPixels() {
  pixels ??= (async () => {
    const { pixels: file } = await readSite();
    const bytes = await fetchChecked(file.file, file.sha256);
    return new Pixels((await WebAssembly.instantiate(bytes)).instance);
  })();
  pixels.catch(() => (pixels = null));
  return pixels;
}

/** @param {string} id @returns {Promise<Network>} */
async function find(id) {
  const network = withWebGpu((await readSite()).networks).find((each) => each.id === id);
  if (network === undefined) throw new Error(`This site has no network ${id}.`);
  return network;
}

/** @param {{network: string, threads?: number}} request */
async function running({ network: id, threads = 1 }) {
  const network = await find(id);
  if (threads < 1 || threads > mostThreads()) {
    throw new Error(`This browser runs a network on 1 to ${mostThreads()} threads here, not on ${threads}.`);
  }
  if (!hasSimd()) throw new Error("This browser has no WebAssembly SIMD, which the engine needs; a newer one has.");
  let known = ready.get(id);
  if (known === undefined) {
    const begin = performance.now();
    const { file, sha256: hash } = (hasRelaxedSimd() && network.relaxed) || network;
    const bytes = await fetchChecked(file, hash);
    const engine = network.runtime === "litert" ? new LiteRtNetwork(bytes, network) : new RunningNetwork(bytes);
    await engine.useThreads(threads);
    const milliseconds = performance.now() - begin;
    const coldMilliseconds = await engine.run();
    const { memoryBytes } = engine;
    known = { running: engine, loaded: { bytes: bytes.length, milliseconds, coldMilliseconds, memoryBytes } };
    ready.set(id, known);
  }
  await known.running.useThreads(threads);
  return { network, ...known };
}

const ANSWERS = {
  /** @param {import("./protocol.js").Load} request */
  async load(request) {
    const { running: engine, loaded } = await running(request);
    return { ...loaded, kernels: engine.kernels };
  },

  /** @param {import("./protocol.js").Classify} request @returns {Promise<import("./protocol.js").Answer>} */
  async classify(request) {
    const [{ network, running: engine }, module] = await Promise.all([running(request), readPixels()]);
    const begin = performance.now();
    const source = await decode(request.image, network.input.exif);
    const decoded = performance.now();
    try {
      const { pixels: input, box } = await module.transform(source, network.input);
      const prepared = performance.now();
      engine.setInput(input);
      const took = await engine.run();
      const judged = judge(engine.logits(), network, request.top ?? 5);
      const map = request.map && network.map ? { map: mapOf(engine, judged.top[0].index, box) } : {};
      return {
        ...judged,
        times: { decode: decoded - begin, preprocess: prepared - decoded, network: took },
        size: { height: source.height, width: source.width },
        ...map,
      };
    } finally {
      source.close();
    }
  },

  /** @param {import("./protocol.js").Measure} request */
  async measure(request) {
    const { running: engine } = await running(request);
    const milliseconds = [];
    for (let i = request.warmup ?? 20; i > 0; i--) await engine.run();
    for (let i = request.runs ?? 100; i > 0; i--) milliseconds.push(await engine.run());
    return { milliseconds, kernels: engine.kernels };
  },

  /** @param {import("./protocol.js").Prove} request @returns {Promise<import("./protocol.js").Proof>} */
  async prove(request) {
    const [{ network, running: engine }, module] = await Promise.all([running(request), readPixels()]);
    let { proof, wrong } = await computeGolden(network, engine, module);
    const replaced = proof.differing > 0 && wrong === 0 && engine instanceof RunningNetwork && engine.kernels !== "simd128";
    if (replaced) {
      engine.useExact();
      ({ proof, wrong } = await computeGolden(network, engine, module));
    }
    const of = network.golden.length;
    const { decoding } = await readSite();
    return {
      ...proof,
      kernels: engine.kernels,
      replaced,
      same: proof.differing === 0 && proof.of > 0 && wrong === 0,
      pixels: { same: wrong === 0, differing: wrong, of },
      decoding: decoding && (await decodedAs(decoding)),
    };
  },

  /** @returns {Promise<import("./protocol.js").Capabilities>} */
  async capabilities() {
    return {
      simd: hasSimd(),
      isolated: isIsolated(),
      threads: mostThreads(),
      relaxedSimd: hasRelaxedSimd(),
      memoryBytes: /** @type {any} */ (performance).memory?.usedJSHeapSize ?? null,
    };
  },

  webgpu: hasWebGpu,
};

/**
 * @param {Network} network
 * @param {RunningNetwork | LiteRtNetwork} engine
 * @param {Pixels} module
 * @returns {Promise<{proof: {differing: number, of: number, greatest: number, scale: number}, wrong: number}>} of the logits; pictures
 *   whose pre-processing is not Python's
 */
async function computeGolden(network, engine, module) {
  const proof = { differing: 0, of: 0, greatest: 0, scale: 0 };
  let wrong = 0;
  for (const golden of network.golden) {
    const { pixels: input } = await module.transform(pixelSource(goldenPicture(golden)), network.input);
    if ((await sha256(input)) !== golden.pixels) wrong++;
    engine.setInput(input);
    await engine.run();
    const wanted = new Float32Array(fromBase64(golden.logits).buffer);
    compare(engine.logits(), wanted, proof);
    proof.scale = Math.max(proof.scale, ...wanted.map(Math.abs));
  }
  return { proof, wrong };
}

/**
 * @param {ArrayLike<number>} got
 * @param {ArrayLike<number>} wanted
 * @param {{differing: number, of: number, greatest: number}} into  added to
 */
function compare(got, wanted, into) {
  for (let i = 0; i < wanted.length; i++) {
    into.of++;
    if (Object.is(got[i], wanted[i])) continue;
    into.differing++;
    const difference = Math.abs(got[i] - wanted[i]);
    into.greatest = Math.max(into.greatest, Number.isNaN(difference) ? Infinity : difference);
  }
  return into;
}

/** What this browser makes of the site's photo. @param {import("./protocol.js").Decoding} decoding */
async function decodedAs({ file, height, width, pixels: wanted }) {
  const blob = await (await fetch(new URL(file, import.meta.url))).blob();
  const source = await decode(blob, true);
  const bytes = await source.rows(0, 0, source.width, source.height);
  const order = source.blueFirst ? [2, 1, 0] : [0, 1, 2];
  const colours = fromBase64(wanted).map((_, i) => bytes[4 * Math.floor(i / 3) + order[i % 3]]);
  source.close();
  const found = { differing: 0, of: 0, greatest: 0 };
  if (source.height !== height || source.width !== width) return { ...found, differing: Infinity };
  return compare(colours, fromBase64(wanted), found);
}

/**
 * @param {RunningNetwork | LiteRtNetwork} engine  after a run
 * @param {number} index
 * @param {import("./protocol.js").ClassMap["box"]} box
 * @returns {import("./protocol.js").ClassMap}
 */
function mapOf(engine, index, box) {
  const { height, width, values } = engine.classMap(index);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { height, width, values: Array.from(values, (value) => (value - low) / (high - low || 1)), box };
}

/** One request at a time, in order. */
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    const { id, type, ...request } = data;
    try {
      const answer = /** @type {Record<string, (request: any) => Promise<unknown>>} */ (ANSWERS)[type];
      if (answer === undefined) throw new Error(`The worker does not know the request ${type}.`);
      self.postMessage({ id, result: await answer(request) });
    } catch (reason) {
      self.postMessage({ id, error: reason instanceof Error ? reason.message : String(reason) });
    }
  });
};
