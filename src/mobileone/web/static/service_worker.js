/**
 * Gives the page its files when there is no network, and the two headers that allow threads, which few servers send.
 *
 * The cache is named by the content of all files, so an older site's files never mix with a newer one's.
 */
/* global self, caches, clients */

// The builder puts VERSION and FILES here.

const CACHE = `mobileone ${VERSION}`;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll(["./", ...FILES].map((file) => new Request(file, { cache: "no-cache" })));
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
      const kept = await (await caches.open(CACHE)).match(request, { ignoreSearch: request.mode === "navigate" });
      return isolated(kept ?? (await fetch(request)));
    })(),
  );
});
