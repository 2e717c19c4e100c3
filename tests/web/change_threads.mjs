// Threads of a page's network that come and go: node change_threads.mjs NET.wasm ROUNDS; ends when all rounds have.
import fs from "node:fs";
import { isMainThread, Worker, workerData } from "node:worker_threads";

const STACK_BYTES = 65536;
const start = (module, memory) => new WebAssembly.Instance(module, { env: { memory } }).exports;
if (!isMainThread) {
  const { module, memory, stack, index } = workerData;
  const call = start(module, memory);
  call.__stack_pointer.value = stack;
  call.help(index);
}
const [, , file, rounds] = process.argv;
const module = new WebAssembly.Module(fs.readFileSync(file));
const memory = new WebAssembly.Memory({ initial: 256, maximum: 4096, shared: true });
const call = start(module, memory);
for (const index of [1, 2]) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { module, memory, stack: call.end(3) + index * STACK_BYTES, index } });
  await new Promise((resolve) => worker.on("online", resolve));
}
for (let round = 0; round < rounds; round++)
  for (const threads of [2, 3]) {
    if (call.run(threads)) throw new Error("the network cannot be run");
    // Somewhere in here the helpers fall asleep.
    await new Promise((resolve) => setTimeout(resolve, 5 * (round % 10)));
  }
process.exit(0);
