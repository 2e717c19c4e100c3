/** A network in LiteRT.js, with what a RunningNetwork has. */

/** @typedef {import("./protocol.js").Network} Network */

/** Milliseconds after which a browser that looks for a GPU has none. */
const PATIENCE = 3000;

/** @returns {Promise<boolean>} whether there is an adapter: navigator.gpu alone promises none */
export async function hasWebGpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const none = new Promise((done) => setTimeout(done, PATIENCE, null));
  return Boolean(gpu && (await Promise.race([gpu.requestAdapter(), none]).catch(() => null)));
}

export class LiteRtNetwork {
  /** @param {Uint8Array} bytes  a .tflite file, checked @param {Network} network */
  constructor(bytes, network) {
    this.bytes = bytes;
    this.accelerator = network.accelerator ?? "wasm";
    /** What LiteRT.js says that it runs on. @type {string | null} */
    this.kernels = null;
    const { height, width, channels } = network.input;
    this.shape = [1, height, width, channels];
    this.input = new Uint8Array(height * width * channels);
    this.outputs = new Float32Array(network.outputs);
    /** @type {Worker | null} */
    this.worker = null;
    this.threads = 0;
  }

  /** No part of it is ours to measure. @returns {number | null} */
  get memoryBytes() {
    return null;
  }

  /** @param {object} request @returns {Promise<any>} */
  async ask(request) {
    const worker = /** @type {Worker} */ (this.worker);
    try {
      return await new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => (data.error === undefined ? resolve(data.result) : reject(new Error(`LiteRT.js: ${data.error}`)));
        worker.onerror = (event) => reject(new Error(`LiteRT.js could not be loaded: ${event.message || "no reason given"}.`));
        worker.postMessage(request);
      });
    } catch (error) {
      worker.terminate();
      this.threads = 0;  // the next request begins anew: a GPU that was lost may be back
      throw error;
    }
  }

  /**
   * LiteRT.js decides on threads when it is loaded, so another number is another worker.
   * @param {number} wanted  of the processor; a GPU is fed by one
   */
  async useThreads(wanted) {
    const threads = this.accelerator === "webgpu" ? 1 : wanted;
    if (this.threads === threads) return;
    this.worker?.terminate();
    this.worker = new Worker(new URL("litert_worker.js", import.meta.url));
    this.kernels = await this.ask({ type: "load", threads, accelerator: this.accelerator, bytes: this.bytes });
    this.threads = threads;
  }

  /** @param {Uint8Array<ArrayBuffer>} pixels */
  setInput(pixels) {
    this.input = pixels;
  }

  /** Milliseconds of one run. */
  async run() {
    const { milliseconds, logits } = await this.ask({ type: "run", input: this.input, shape: this.shape });
    this.outputs = logits;
    return milliseconds;
  }

  logits() {
    return this.outputs;
  }

  /** @returns {{height: number, width: number, values: Float32Array}} */
  classMap() {
    throw new Error("LiteRT.js gives no class activation map.");
  }
}
