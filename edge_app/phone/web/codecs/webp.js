/** libwebp, by the vendored script's `globalThis.WebpDecoder`: one still WebP -> RGBA. */

const KEPT_WEBP_BYTES = 64 << 20; // memory never shrinks: an instance with more of it is given up after its image

/**
 * wasm: the bytes of webp.wasm -> Promise of a function: a WebP -> {width, height, pixels: Uint8Array [height * width * 4]},
 * RGBA, or null if it does not decode.
 */
export async function openWebpCodec(wasm) {
  const compiled = await WebAssembly.compile(wasm);
  let webp = webpOf(compiled); // now: a script that is missing must not look like a damaged image
  return (file) => {
    webp ??= webpOf(compiled);
    let found = null;
    try {
      found = webp.decode(file);
    } catch (error) {
      webp = null; // it trapped, and its memory is no longer sound
      throw new Error(`libwebp: ${error.message ?? error}`);
    }
    if (webp.HEAPU8.length > KEPT_WEBP_BYTES) webp = null;
    return found && { width: found.width, height: found.height, pixels: new Uint8Array(found.data.buffer) };
  };
}

/** A fresh instance: emscripten's factory fills the object before it returns, since the module is compiled already. */
function webpOf(compiled) {
  const webp = {
    instantiateWasm: (imports, received) => received(new WebAssembly.Instance(compiled, imports)),
    printErr: () => {},
  };
  globalThis.WebpDecoder(webp);
  return webp;
}
