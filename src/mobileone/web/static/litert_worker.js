/**
 * A classic worker, which LiteRT.js needs, that holds one network: {type: "load", threads, accelerator, bytes}, then
 * {type: "run", input, shape} as often as one likes. Answers are {result} or {error}, in order. That to "load" is what
 * the network really runs on: "wasm", "webgpu", or "webgpu_software" where the browser's adapter has no GPU behind it.
 */

/** @type {{library: any, model: any} | null} */
let loaded = null;
/** What the GPU did, after which nothing it computes counts. @type {Error | null} */
let fault = null;
/** Ends the request that is being answered. @type {(reason: Error) => void} */
let refuse = () => {};

const ANSWERS = {
  /** @param {{threads: number, accelerator: string, bytes: Uint8Array}} request */
  async load({ threads, accelerator, bytes }) {
    const library = await import("./litert/index.js");
    await library.loadLiteRt(new URL("litert/", self.location.href).href, { threads: threads > 1 });
    const device = accelerator === "webgpu" ? library.getWebGpuDevice() : null;
    if (accelerator === "webgpu" && !device) throw new Error("this browser gives no GPU, so the network does not run by WebGPU");
    if (device) watch(device);
    const options = { accelerator, cpuOptions: { numThreads: threads }, gpuOptions: { precision: "fp32" } };
    const model = await library.loadAndCompile(bytes, options);
    // It would go to the processor, with all of a network or with a part, and tell the console alone.
    if (model.options.accelerator !== accelerator || !model.isFullyAccelerated)
      throw new Error(`not all of this network runs by ${accelerator} on this device, so it is not run there`);
    loaded = { library, model };
    return device?.adapterInfo?.isFallbackAdapter ? "webgpu_software" : accelerator;
  },

  /** @param {{input: Uint8Array, shape: number[]}} request */
  async run({ input, shape }) {
    if (loaded === null) throw new Error("no network was loaded");
    const { library, model } = loaded;
    const begin = performance.now();
    const tensor = new library.Tensor(input, shape);
    const outputs = await model.run(tensor);
    const answer = outputs[0].accelerator === "wasm" ? outputs[0] : await outputs[0].moveTo("wasm");
    const logits = answer.toTypedArray().slice();
    const milliseconds = performance.now() - begin;
    answer.delete();
    tensor.delete();
    return { milliseconds, logits };
  },
};

/**
 * What goes wrong on a GPU throws nowhere: outputs are zeros then, or never come.
 * @param {any} device
 */
function watch(device) {
  const end = (/** @type {string} */ what, /** @type {string} */ why) => {
    fault ??= new Error(`${what}: ${why || "no reason given"}`);
    refuse(fault);
  };
  device.addEventListener("uncapturederror", (/** @type {any} */ event) => end("the GPU made an error", event.error.message));
  device.lost.then((/** @type {any} */ { message }) => end("the GPU was lost", message));
}

let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      const answer = /** @type {any} */ (ANSWERS)[data.type](data);
      const result = await new Promise((resolve, reject) => {
        refuse = reject;
        answer.then(() => (fault ? reject(fault) : resolve(answer)), reject);
        if (fault) reject(fault);
      });
      self.postMessage({ result });
    } catch (reason) {
      self.postMessage({ error: reason instanceof Error ? reason.message : String(reason) });
    }
  });
};
