// Answers what worker.js answers, without a network: for tests of the page around it. See protocol.js.
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const answers = {
  async capabilities() {
    return { simd: true, isolated: self.crossOriginIsolated, threads: self.crossOriginIsolated ? 2 : 1, relaxedSimd: false, memoryBytes: null };
  },
  async webgpu() {
    return true;
  },
  async load({ network }) {
    if (network === "lost") throw new Error("lost.bin could not be fetched: is this device online?");
    return { bytes: 1_063_754, milliseconds: 31.25, coldMilliseconds: 9.5, memoryBytes: 4_000_000, kernels: "simd128" };
  },
  async classify({ image, map, top = 5 }) {
    const started = performance.now();
    let bitmap;
    try {
      bitmap = await createImageBitmap(image);
    } catch {
      throw new Error("The file is no picture that this browser can read.");
    }
    const size = { height: bitmap.height, width: bitmap.width };
    bitmap.close();
    await wait(5);
    // A picture wider than high is "unsure".
    const unsure = size.width > size.height;
    const names = ["three", "eight", "a name that is so long that no phone shows all of it in one line", "<b>five</b>", "nine"];
    const shares = unsure ? [0.31, 0.29, 0.2, 0.1, 0.1] : [0.931, 0.042, 0.02, 0.006, 0.001];
    return {
      top: names.slice(0, top).map((name, index) => ({ index, name, probability: shares[index] })),
      unsure,
      times: { decode: performance.now() - started, preprocess: 0.4, network: 7.1 },
      size,
      ...(map ? { map: { height: 2, width: 2, values: [0, 0.3, 0.6, 1], box: { left: 0.1, top: 0, width: 0.8, height: 1 } } } : {}),
    };
  },
  async measure({ network, threads = 1, runs = 100, warmup = 20 }) {
    if (network === "lost") throw new Error("lost.bin could not be fetched: is this device online?");
    await wait(runs > 60 ? 900 : 2);
    return { milliseconds: Array.from({ length: runs }, (_, index) => (7 + ((index * 7919) % 100) / 50 + warmup * 0) / threads), kernels: "simd128" };
  },
  async prove({ network, threads = 1 }) {
    if (network === "lost") throw new Error("lost.bin could not be fetched: is this device online?");
    const differs = network === "odd", rounds = network === "rounding";
    return {
      same: !differs && !rounds,
      differing: differs || rounds ? 3 : 0,
      of: 28,
      greatest: differs ? 0.25 : rounds ? 4.8e-7 : 0,
      scale: 3,
      kernels: "simd128",
      replaced: differs,
      pixels: { same: true, differing: 0, of: 4 },
      decoding: { differing: 120, of: 3072, greatest: 2 },
    };
  },
};

self.onmessage = async ({ data }) => {
  try {
    if (!answers[data.type]) throw new Error(`No ${data.type}.`);
    self.postMessage({ id: data.id, result: await answers[data.type](data) });
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message });
  }
};
