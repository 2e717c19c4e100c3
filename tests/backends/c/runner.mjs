// Runs one image in a WebAssembly library: node runner.mjs NET.wasm IMAGE; prints its kernels and the outputs as JSON.
import fs from "node:fs";

const [, , library, picture] = process.argv;
const module = new WebAssembly.Module(fs.readFileSync(library));
const imports = {};
for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
  if (kind !== "function") throw new Error(`the library wants ${from}.${name}, a ${kind}`);
  (imports[from] ??= {})[name] = () => {
    throw new Error(`the library calls ${from}.${name}`);
  };
}
const net = new WebAssembly.Instance(module, imports).exports;
net._initialize?.();
const image = fs.readFileSync(picture);
const count = net.mobileone_net_num_outputs();
const workspace = Number(net.mobileone_net_workspace());
const pages = Math.ceil((image.length + 4 * count + workspace + 192) / 65536);
const at = net.memory.grow(pages) * 65536;
const logits = (at + image.length + 63) & ~63;
const block = (logits + 4 * count + 63) & ~63;
new Uint8Array(net.memory.buffer).set(image, at);
const error = net.mobileone_net_run(at, logits, block);
if (error) throw new Error(`error ${error}`);
const memory = new Uint8Array(net.memory.buffer);
const name = net.mobileone_net_chosen_kernels();
const kernels = String.fromCharCode(...memory.slice(name, memory.indexOf(0, name)));
console.log(JSON.stringify({ kernels, outputs: Array.from(new Float32Array(net.memory.buffer, logits, count)) }));
