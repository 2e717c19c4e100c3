// Pre-processing outside a browser: node transform.mjs STATIC PIXELS.wasm CASES.json, SHA-256 of each case's input as JSON.
// A case is {input, rgba: a file, height, width}, or {input, golden: {height, width, seed}}.
import crypto from "node:crypto";
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const [, , folder, module, list] = process.argv;
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const { Pixels, pixelSource } = await load("pixels.js");
const { goldenPicture } = await load("golden.js");
const pixels = new Pixels(new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(module))));
const answers = [];
for (const { input, golden, rgba, height, width } of JSON.parse(fs.readFileSync(list))) {
  const picture = golden ? goldenPicture(golden) : { height, width, data: new Uint8Array(fs.readFileSync(rgba)) };
  const done = await pixels.transform(pixelSource(picture), input);
  answers.push({ sha256: crypto.createHash("sha256").update(done.pixels).digest("hex"), box: done.box });
}
console.log(JSON.stringify(answers));
