/**
 * What the page, the worker and site.json say to one another, as types; and the page's end of the conversation.
 *
 * @typedef {object} Site  site.json, beside index.html. All paths are relative to it.
 * @property {"mobileone.site/1"} format
 * @property {string} made  the package and version that built it
 * @property {Network[]} networks  at least one; the first is shown first
 * @property {Licence[]} licences  of weights that are not the site owner's; may be empty
 * @property {{file: string, sha256: string}} pixels  the module that resizes
 * @property {Decoding | null} decoding  a photo as Python decodes it, to see what the browser makes of it
 * @property {{files: string, version: string} | null} litert  where LiteRT.js lies, if a network needs it
 *
 * @typedef {object} Network
 * @property {string} id  unique in the site; a file name's characters
 * @property {string} title  for people
 * @property {"engine" | "litert"} runtime
 * @property {"int8" | "fp32"} precision
 * @property {"singlelabel" | "multilabel"} task  of several labels each has a probability of its own
 * @property {string} file
 * @property {string} sha256  of the file, hexadecimal
 * @property {number} bytes  of the file, not compressed
 * @property {{file: string, sha256: string, bytes: number} | null} relaxed  the same network for browsers with relaxed SIMD
 * @property {Input} input
 * @property {number} outputs  length of the logits
 * @property {string[] | null} classes  a name an output
 * @property {Decision | null} decision  null: nothing was calibrated, so nothing is "unsure"
 * @property {Golden[]} golden
 * @property {boolean} map  whether classify can give a class activation map
 * @property {string | null} licence  file with the licence of the weights
 * @property {string} source  what it was made from
 * @property {"webgpu"} [accelerator]  what runs it in place of the processor; not in site.json, withWebGpu says it
 *
 * @typedef {object} Input  how a picture becomes the network's input; see EvalTransform
 * @property {number} height
 * @property {number} width
 * @property {number} channels  3, or 1 for grey
 * @property {"crop" | "letterbox"} fit
 * @property {[number, number]} resize  height and width that the cut is made from
 * @property {"bilinear" | "bicubic"} interpolation
 * @property {boolean} exif  whether photos are turned as their metadata say
 * @property {boolean} down_first  whether Pillow, where the site was built, resizes tall pictures from top to bottom first
 * @property {[number, number, number]} border  colour around a letterboxed picture
 *
 * @typedef {object} Decision  how logits become probabilities, and when the answer is none: decision.py's. A list of one
 *   stands for all classes.
 * @property {number[]} temperatures  logits are divided by them
 * @property {number[]} biases  added then
 * @property {number[]} thresholds  least probability of the likeliest class
 * @property {"energy" | "max_logit" | null} novelty
 * @property {number | null} novelty_limit  least score
 *
 * @typedef {object} Golden  a made-up picture and what Python computes for it
 * @property {number} height
 * @property {number} width
 * @property {number} seed
 * @property {string} pixels  SHA-256 of the network's input
 * @property {string} logits  base64 of float32, little-endian
 *
 * @typedef {object} Decoding
 * @property {string} file  a JPEG
 * @property {number} height
 * @property {number} width
 * @property {string} pixels  base64 of RGB bytes
 *
 * @typedef {{name: string, file: string, networks: string[]}} Licence  its networks by their titles
 *
 * Requests, `{id, type, …}`; each is answered by `{id, result}` or `{id, error: "one sentence"}`. They are answered in
 * the order in which they were sent. A network is named by its id, and loaded by the first request that needs it.
 *
 * @typedef {object} Load  type "load"
 * @property {string} network
 * @property {number} [threads]  1
 *
 * @typedef {object} Loaded
 * @property {number} bytes  fetched
 * @property {number} milliseconds  fetching, checking, compiling
 * @property {number} coldMilliseconds  the first run
 * @property {number | null} memoryBytes  of the network's memory, where known
 * @property {string | null} kernels  that compute it, as found out: the engine's relaxed, relaxed_signed, relaxed_pairs, simd128;
 *   LiteRT.js's wasm, webgpu, webgpu_software (an adapter without a GPU behind it)
 *
 * @typedef {object} Classify  type "classify"
 * @property {string} network
 * @property {ImageBitmap | ImageData | Blob} image  a bitmap is closed
 * @property {number} [threads]  1
 * @property {number} [top]  5
 * @property {boolean} [map]  false
 *
 * @typedef {object} Answer
 * @property {{index: number, name: string, probability: number}[]} top  most probable first
 * @property {boolean} unsure  whether it is no sure answer by the decision, see decision.py
 * @property {{decode: number, preprocess: number, network: number}} times  milliseconds
 * @property {{height: number, width: number}} size  of the picture
 * @property {ClassMap} [map]  of the first class
 *
 * @typedef {object} ClassMap
 * @property {number} height
 * @property {number} width
 * @property {number[]} values  0 to 1, row by row
 * @property {{left: number, top: number, width: number, height: number}} box  what of the picture the network saw, as
 *   shares of it; beyond 0 to 1 where a letterbox has its border
 *
 * @typedef {object} Measure  type "measure"
 * @property {string} network
 * @property {number} [threads]  1
 * @property {number} [runs]  100; what is left out is warm-up
 * @property {number} [warmup]  20
 *
 * @typedef {{milliseconds: number[], kernels: string | null}} Measured  a run each, and the kernels after them; a sustained run asks again and again
 *
 * @typedef {{network: string, threads?: number}} Prove  type "prove"
 *
 * @typedef {object} Proof
 * @property {boolean} same  all numbers, to the last bit
 * @property {number} differing  logits that differ
 * @property {number} of  logits that were compared
 * @property {number} greatest  difference of a logit; 0 where they are the same
 * @property {number} scale  the greatest of Python's logits
 * @property {string | null} kernels  that gave these numbers
 * @property {boolean} replaced  whether the kernels before them gave others, and are not used any more
 * @property {{same: boolean, differing: number, of: number}} pixels  pictures whose pre-processing differs
 * @property {{differing: number, of: number, greatest: number} | null} decoding  colour values of the site's photo that
 *   this browser's JPEG decoder makes otherwise; that is allowed
 *
 * @typedef {object} Capabilities  answers type "capabilities"
 * @property {boolean} simd  without it nothing runs
 * @property {boolean} isolated  whether threads may share memory
 * @property {number} threads  the most that may be asked for: 1 where not isolated
 * @property {boolean} relaxedSimd  whether the browser has it; the answer to load says what the engine uses
 * @property {number | null} memoryBytes  of the page, where the browser tells
 *
 * Type "webgpu" is answered by whether workers get a WebGPU adapter here. Looking for one may take a moment.
 */

export const FORMAT = "mobileone.site/1";

/**
 * What a site's networks run on where there is WebGPU: those of LiteRT.js in fp32 a second time, by names of their own.
 * Those in int8 do not, as a GPU would compute them in floating point.
 *
 * @param {Network[]} networks  of site.json
 * @returns {Network[]}
 */
export function withWebGpu(networks) {
  return networks.flatMap((each) => {
    if (each.runtime !== "litert" || each.precision !== "fp32") return [each];
    return [each, { ...each, id: `${each.id}-webgpu`, title: `${each.title}, WebGPU`, accelerator: "webgpu" }];
  });
}

/** The worker, as promises. */
export class Engine {
  /** @param {Worker} worker  running worker.js */
  constructor(worker) {
    this.worker = worker;
    this.next = 0;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (reason: Error) => void}>} */
    this.waiting = new Map();
    worker.addEventListener("message", ({ data }) => {
      const asked = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error === undefined) asked?.resolve(data.result);
      else asked?.reject(new Error(data.error));
    });
    worker.addEventListener("error", (event) => this.fail(event.message || "The worker could not be started."));
  }

  /** @param {string} reason */
  fail(reason) {
    for (const { reject } of this.waiting.values()) reject(new Error(reason));
    this.waiting.clear();
  }

  /**
   * @param {"load" | "classify" | "measure" | "prove" | "capabilities" | "webgpu"} type
   * @param {object} [request]  its other fields
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>} what answers it; rejected with one sentence
   */
  ask(type, request = {}, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, type, ...request }, transfer);
    });
  }
}

/**
 * @returns {Engine}
 * @throws {Error} where there are no module workers
 */
export function startEngine() {
  return new Engine(new Worker(new URL("worker.js", import.meta.url), { type: "module" }));
}
