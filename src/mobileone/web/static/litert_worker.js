/**
 * A classic worker, which LiteRT.js needs, that holds one network: {type: "load", threads, accelerator, bytes}, then
 * {type: "run", input, shape} as often as one likes. Answers are {result} or {error}, in order.
 */

/** @type {{library: any, model: any} | null} */
let loaded = null;

const ANSWERS = {
  /** @param {{threads: number, accelerator: string, bytes: Uint8Array}} request */
  async load({ threads, accelerator, bytes }) {
    const library = await import("./litert/index.js");
    await library.loadLiteRt(new URL("litert/", self.location.href).href, { threads: threads > 1 });
    const model = await library.loadAndCompile(bytes, { accelerator, cpuOptions: { numThreads: threads } });
    loaded = { library, model };
    return null;
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

let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ result: await /** @type {any} */ (ANSWERS)[data.type](data) });
    } catch (reason) {
      self.postMessage({ error: reason instanceof Error ? reason.message : String(reason) });
    }
  });
};
