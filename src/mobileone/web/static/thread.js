/** One more thread of a network: an instance of its module, in the memory that all share, that takes tasks for ever. */
self.onmessage = ({ data: { module, memory, stack, index } }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  /** @type {any} */ (exports).__stack_pointer.value = stack;
  self.postMessage("ready");
  /** @type {any} */ (exports).help(index);
};
