/**
 * Gives the page its files when there is no network, and the two headers that allow threads, which few servers send.
 *
 * The cache is named by the content of all files, so an older site's files never mix with a newer one's.
 */
/* global self, caches, clients */

// The builder puts VERSION, FILES, LATER and PAIRS here.

const CACHE = `mobileone ${VERSION}`;

/** engine.js's; a service worker imports no modules in every browser. */
const RELAXED_PROBE = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11);
/** Of each network's two modules, the one that this browser does not run. */
const UNFIT = PAIRS.map(([relaxed, exact]) => (WebAssembly.validate(RELAXED_PROBE) ? exact : relaxed));

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll(["./", ...FILES.filter((file) => !UNFIT.includes(file))].map((file) => new Request(file, { cache: "no-cache" })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith("mobileone ") && name !== CACHE) await caches.delete(name);
      }
      await clients.claim();
    })(),
  );
});

/** @param {Response} answer */
function isolated(answer) {
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(
    (async () => {
      const cache = await caches.open(CACHE);
      const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
      if (kept) return isolated(kept);
      const answer = await fetch(request);
      // What is large and not for every visitor, another runtime and its networks, is kept when it was wanted.
      if (answer.ok && LATER.some((file) => new URL(file, self.location.href).href === request.url)) {
        await cache.put(request, answer.clone());
      }
      return isolated(answer);
    })(),
  );
});
