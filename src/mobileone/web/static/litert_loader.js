/** What LiteRT.js takes of its other package: load a script that defines ModuleFactory, make its module, wrap it. */

/**
 * @template T
 * @param {new (module: any, canvas?: any) => T} Wrapper
 * @param {string | URL} script
 * @returns {Promise<T>}
 */
export async function createWasmLib(Wrapper, script) {
  const scope = /** @type {any} */ (self);
  scope.importScripts(String(script));
  const locateFile = (/** @type {string} */ name) => new URL(name, script).href;
  const module = await scope.ModuleFactory({ locateFile, mainScriptUrlOrBlob: String(script) });
  scope.ModuleFactory = undefined;
  return new Wrapper(module);
}
