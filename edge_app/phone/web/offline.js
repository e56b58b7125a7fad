/** The page's side of the service worker (sw.js), which keeps a served page for use without a network. */

/**
 * told(state, use): "ready": it opens without a network from now on; "update": a new version was kept, and use() changes to
 * it, which loads the page again; "none": the browser keeps nothing here, as for one file or over plain http.
 */
export async function keepOffline(told) {
  if (!("serviceWorker" in navigator) || !location.protocol.startsWith("http")) return told("none");
  let asked = false;
  const use = waiting => () => {
    asked = true;
    waiting.postMessage("use");
  };
  navigator.serviceWorker.addEventListener("controllerchange", () => asked && location.reload());
  let registered;
  try {
    registered = await navigator.serviceWorker.register("sw.js", { scope: "./", updateViaCache: "none" });
  } catch {
    return told("none"); // private windows; a certificate that the browser does not trust
  }
  const look = () => registered.waiting && registered.active && told("update", use(registered.waiting));
  registered.addEventListener("updatefound", () => registered.installing?.addEventListener("statechange", look));
  await navigator.serviceWorker.ready;
  told("ready");
  return look();
}
