/** A network in LiteRT.js, with what a RunningNetwork has. */

/** @typedef {import("./protocol.js").Network} Network */

export class LiteRtNetwork {
  /** @param {Uint8Array} bytes  a .tflite file, checked @param {Network} network */
  constructor(bytes, network) {
    this.bytes = bytes;
    const { height, width, channels } = network.input;
    this.shape = [1, height, width, channels];
    this.input = new Uint8Array(height * width * channels);
    this.outputs = new Float32Array(network.outputs);
    /** @type {Worker | null} */
    this.worker = null;
    this.threads = 0;
  }

  /** None of the engine's. */
  get kernels() {
    return null;
  }

  /** No part of it is ours to measure. */
  get memoryBytes() {
    return 0;
  }

  /** @param {object} request @returns {Promise<any>} */
  ask(request) {
    const worker = /** @type {Worker} */ (this.worker);
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.error === undefined ? resolve(data.result) : reject(new Error(`LiteRT.js: ${data.error}`)));
      worker.onerror = (event) => reject(new Error(`LiteRT.js could not be loaded: ${event.message || "no reason given"}.`));
      worker.postMessage(request);
    });
  }

  /** LiteRT.js decides on threads when it is loaded, so another number is another worker. @param {number} threads */
  async useThreads(threads) {
    if (this.threads === threads) return;
    this.worker?.terminate();
    this.worker = new Worker(new URL("litert_worker.js", import.meta.url));
    await this.ask({ type: "load", threads, accelerator: "wasm", bytes: this.bytes });
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
