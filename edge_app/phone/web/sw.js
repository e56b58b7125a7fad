/** The service worker: keeps all parts of one version of the page, each by its sha256, and answers with them alone. */

import { checkPart, fetchedFrom } from "./parts.js";

// What `limiar phone` writes before this: {page, index: sha256 of page.json and of index.html, types: {name: media type}}.
const built = self.built;
const scope = self.registration.scope;
const ours = `limiar ${scope} `;
const cacheName = ours + built.page;
const HEADERS = { "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "frame-ancestors 'none'" };

self.addEventListener("install", event => event.waitUntil(keepAll()));
self.addEventListener("activate", event => event.waitUntil(forgetOthers()));
self.addEventListener("message", event => event.data === "use" && self.skipWaiting());
self.addEventListener("fetch", event => {
  const address = new URL(event.request.url);
  if (event.request.method !== "GET" || !address.href.startsWith(scope)) return;
  const name = decodeURIComponent(address.pathname.slice(new URL(scope).pathname.length)) || "index.html";
  if (Object.hasOwn(built.types, name)) event.respondWith(kept(name, event.request));
});

/** Throws, and then this version is not used, if one part is missing or is not what page.json says. */
async function keepAll() {
  const cache = await caches.open(cacheName);
  const page = await fetched("page.json", built.page);
  await keep(cache, "page.json", page);
  await keep(cache, "index.html", await fetched("index.html", built.index));
  const listed = JSON.parse(new TextDecoder().decode(page)).parts;
  await Promise.all(Object.keys(listed).map(async name => {
    await keep(cache, name, await had(name, listed[name].sha256) ?? await fetched(name, listed[name].sha256));
  }));
}

/** From the version before, most of which is the same: a new bundle need not bring the runtime again. */
async function had(name, sha256) {
  for (const other of (await caches.keys()).filter(one => one.startsWith(ours))) {
    const found = await (await caches.open(other)).match(name);
    const bytes = found && new Uint8Array(await found.arrayBuffer());
    if (bytes && await checkPart(name, bytes, sha256).then(() => true, () => false)) return bytes;
  }
  return null;
}

async function fetched(name, sha256) {
  const bytes = await fetchedFrom(scope, { cache: "no-cache", credentials: "same-origin" })(name);
  await checkPart(name, bytes, sha256);
  return bytes;
}

function keep(cache, name, bytes) {
  return cache.put(name, new Response(bytes, { headers: { ...HEADERS, "Content-Type": built.types[name] } }));
}

async function kept(name, request) {
  const found = await (await caches.open(cacheName)).match(name);
  return found ?? fetch(request); // the browser has taken it away: it does so where space is short
}

async function forgetOthers() {
  const others = (await caches.keys()).filter(name => name.startsWith(ours) && name !== cacheName);
  await Promise.all(others.map(name => caches.delete(name)));
  await self.clients.claim();
}
