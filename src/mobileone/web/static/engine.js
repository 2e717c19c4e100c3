/**
 * Networks as WebAssembly: fetched, checked, compiled, run on one thread or several.
 *
 * A network's module brings its weights and imports its memory. Where the page is isolated that memory is shared, and
 * every further thread is a worker with an instance of the same module; elsewhere the module is told that it is not.
 *
 * @typedef {import("./protocol.js").Network} Network
 */

import { sha256 } from "./sha256.js";

const PAGE_BYTES = 65536;
const STACK_BYTES = 65536; // of every thread but the first
const MOST_PAGES = 4096; // 256 MiB: what network.c is linked with
const MOST_THREADS = 16;
const SHARED_FLAG = 0x02;
/** Runs before which kernels are tested again: by then a browser has compiled them with its better compiler. */
const CHECKED_RUNS = [16, 256];

/** A module with one v128 constant. */
const SIMD_PROBE = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);
/** One with a relaxed dot product. */
const RELAXED_PROBE = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11);

export const hasSimd = () => typeof WebAssembly === "object" && WebAssembly.validate(SIMD_PROBE);
export const hasRelaxedSimd = () => hasSimd() && WebAssembly.validate(RELAXED_PROBE);
export const isIsolated = () => globalThis.crossOriginIsolated === true;
export const mostThreads = () => (isIsolated() ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1);

/**
 * A file of the site, checked.
 *
 * @param {string} file  relative to the site
 * @param {string} hash  SHA-256, hexadecimal
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {Error} in one sentence
 */
export async function fetchChecked(file, hash) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(new URL(file, import.meta.url));
  } catch {
    throw new Error(`${file} could not be fetched; there is no network, and it was not fetched before.`);
  }
  if (!answer.ok) throw new Error(`${file} could not be fetched: the server answers ${answer.status}.`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if ((await sha256(bytes)) !== hash) {
    throw new Error(`${file} is not the file that this site was built with, so it is not run; fetch the page again.`);
  }
  return bytes;
}

/**
 * Where a module says what memory it imports.
 *
 * @param {Uint8Array} bytes
 * @returns {{flags: number, initial: number}} place of its flags; pages that it needs at least
 */
export function importedMemory(bytes) {
  let at = 8;
  /** An unsigned LEB128 number. */
  const number = () => {
    let value = 0;
    for (let weight = 1; ; weight *= 128) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * weight;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const section = bytes[at++];
    const end = number() + at;
    if (section === 2 && number() === 1) {
      for (let name = 0; name < 2; name++) at = number() + at;
      const [kind, flags] = [bytes[at], at + 1];
      at += 2;
      if (kind === 2) return { flags, initial: number() };
    }
    at = end;
  }
  throw new Error("The network's file is none: it imports no memory.");
}

/** A network that runs. */
export class RunningNetwork {
  /** @param {Uint8Array<ArrayBuffer>} bytes  of its module, checked; not to be used again */
  constructor(bytes) {
    this.shared = isIsolated();
    const { flags, initial } = importedMemory(bytes);
    if (!this.shared) bytes[flags] &= ~SHARED_FLAG;
    this.module = new WebAssembly.Module(bytes);
    this.memory = new WebAssembly.Memory({ initial, maximum: MOST_PAGES, shared: this.shared });
    const instance = new WebAssembly.Instance(this.module, { env: { memory: this.memory } });
    this.call = /** @type {any} */ (instance.exports);
    this.outputs = this.call.outputs();
    this.threads = 1;
    this.runs = 0;
    /** @type {Worker[]} */
    this.helpers = [];
    this.reserve(this.call.end(1));
  }

  get memoryBytes() {
    return this.memory.buffer.byteLength;
  }

  /** @returns {string | null} the kernels that compute it; none before the first run */
  get kernels() {
    const at = this.call.kernels();
    const bytes = new Uint8Array(this.memory.buffer);
    return at ? String.fromCharCode(...bytes.slice(at, bytes.indexOf(0, at))) : null;
  }

  /** From now on the kernels that are exact in every browser. */
  useExact() {
    this.call.use_exact();
  }

  /** @param {number} end  of what memory must hold */
  reserve(end) {
    const missing = Math.ceil(end / PAGE_BYTES) - this.memory.buffer.byteLength / PAGE_BYTES;
    if (missing > 0) this.memory.grow(missing);
  }

  /**
   * Start the workers that are missing. None is ended before its page is, as a browser may let one run on for seconds:
   * those that are too many sleep.
   *
   * @param {number} threads
   */
  async useThreads(threads) {
    const most = mostThreads();
    if (threads < 1 || threads > most) {
      throw new Error(`This browser runs a network on 1 to ${most} threads here, not on ${threads}.`);
    }
    const begun = [];
    while (this.helpers.length < threads - 1) {
      const helper = new Worker(new URL("thread.js", import.meta.url), { type: "module" });
      begun.push(
        new Promise((resolve, reject) => {
          helper.onmessage = resolve;
          helper.onerror = () => reject(new Error("A thread could not be started."));
        }),
      );
      this.helpers.push(helper);
      const index = this.helpers.length;
      const stack = this.call.end(most) + index * STACK_BYTES;
      this.reserve(stack);
      helper.postMessage({ module: this.module, memory: this.memory, stack, index });
    }
    await Promise.all(begun);
    this.threads = threads;
  }

  /** @param {Uint8Array} pixels  the network's input */
  setInput(pixels) {
    new Uint8Array(this.memory.buffer).set(pixels, this.call.pixels());
  }

  /** Milliseconds of one run. */
  run() {
    if (CHECKED_RUNS.includes(++this.runs)) this.call.check_kernels();
    const begin = performance.now();
    const error = this.call.run(this.threads);
    const end = performance.now();
    if (error) throw new Error(`The network cannot be run: error ${error} of the engine.`);
    return end - begin;
  }

  /** @returns {Float32Array} a copy */
  logits() {
    return new Float32Array(this.memory.buffer, this.call.logits(), this.outputs).slice();
  }

  /**
   * Where a class is seen, after a run.
   *
   * @param {number} index
   * @returns {{height: number, width: number, values: Float32Array}}
   */
  classMap(index) {
    const [height, width] = [this.call.map_height(), this.call.map_width()];
    const error = this.call.class_map(index);
    if (error) throw new Error(`The network gives no class activation map: error ${error} of the engine.`);
    return { height, width, values: new Float32Array(this.memory.buffer, this.call.map(), height * width).slice() };
  }
}
