// One input through a page's network: node run_network.mjs STATIC NET.wasm PIXELS; logits as JSON, memory shared and not.
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const [, , folder, file, input] = process.argv;
const { RunningNetwork } = await import(pathToFileURL(`${folder}/engine.js`));
const imports = WebAssembly.Module.imports(new WebAssembly.Module(fs.readFileSync(file)));
const found = { imports: imports.map((each) => `${each.module}.${each.name}`) };
for (const [kind, isolated] of [["own", false], ["shared", true]]) {
  globalThis.crossOriginIsolated = isolated;
  const network = new RunningNetwork(new Uint8Array(fs.readFileSync(file)));
  network.setInput(new Uint8Array(fs.readFileSync(input)));
  network.run();
  found[kind] = Array.from(network.logits());
}
console.log(JSON.stringify(found));
