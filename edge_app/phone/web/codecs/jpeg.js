/**
 * libjpeg-turbo, by the vendored script's `globalThis.libjpegturbowasm_decode`: JPEG -> pixels, and an error for every warning.
 *
 * Its wrapper takes the fancy upsampling and the accurate DCT, as Pillow and simplejpeg do, and throws if libjpeg warns.
 */

import { ImageError } from "../errors.js";
import { latin1 } from "../image/containers/bytes.js";

const KEPT_BYTES = 64 << 20; // memory never shrinks: an instance with more of it is given up after its image
const SAID_BYTES = 4096; // behind the stream: there lies the message of an instance that has decoded nothing before
const MESSAGE = /[ -~]{8,}(?=\0)/;
const FAILED = ["error reading header\n", "~~decompressing JPEG image\n"]; // what the wrapper throws

/**
 * wasm: the bytes of jpeg.wasm -> Promise of a function: a JPEG without APPn that could cause a warning ->
 * {width, height, channels: 1 | 3, pixels: Uint8Array}. That throws Error with libjpeg's words, or ImageError E-IMAGE-MEMORY.
 */
export async function openJpegCodec(wasm) {
  const compiled = await WebAssembly.compile(wasm);
  let turbo = turboOf(compiled); // now: a script that is missing must not look like a damaged image
  return (stream) => {
    turbo ??= turboOf(compiled);
    const used = turbo.decoded++;
    let found = turboDecoded(turbo, stream);
    if (!found.pixels) {
      // Once more from the start, where the message can be found: the wrapper does not hand it over.
      if (used) found = turboDecoded(turboOf(compiled), stream);
      turbo = null;
      if (found.fault === null) {
        throw new ImageError("E-IMAGE-MEMORY", "does not fit into this device's memory: make it smaller");
      }
      if (!found.pixels) throw new Error(found.fault);
    }
    if (turbo && turbo.HEAPU8.length > KEPT_BYTES) turbo = null;
    return found;
  };
}

/** A fresh instance: emscripten's factory fills the object before it returns, since the module is compiled already. */
function turboOf(compiled) {
  const turbo = {
    decoded: 0, // images
    instantiateWasm: (imports, received) => received(new WebAssembly.Instance(compiled, imports)),
    printErr: () => {},
  };
  globalThis.libjpegturbowasm_decode(turbo);
  return turbo;
}

/** -> {width, height, channels, pixels}, or {fault}: libjpeg's message, "" if it is not found, null if memory was short. */
function turboDecoded(turbo, stream) {
  let decoder = null;
  let end = 0;
  try {
    decoder = new turbo.JPEGDecoder();
    const place = decoder.getEncodedBuffer(stream.length);
    place.set(stream);
    end = place.byteOffset + stream.length;
    decoder.decode();
    const { width, height, componentCount: channels } = decoder.getFrameInfo();
    return { width, height, channels, pixels: new Uint8Array(decoder.getDecodedBuffer()) };
  } catch (error) {
    return { fault: turboFault(turbo, error, end) };
  } finally {
    decoder?.delete();
  }
}

function turboFault(turbo, error, end) {
  const bytes = turbo.HEAPU8;
  if (typeof error !== "number") return error.message; // it trapped
  const text = turbo.HEAPU32[error >> 2]; // C++ threw a const char *, or an object of its own
  if (!FAILED.some((words) => latin1(bytes, text, words.length) === words)) return null;
  return latin1(bytes, end, SAID_BYTES).match(MESSAGE)?.[0] ?? "";
}
