/** The vendored decoders, opened once: their calls are synchronous from then on. */

import { inflateParts, inflateWhole } from "./inflate.js";
import { openJpegCodec } from "./jpeg.js";
import { openWebpCodec } from "./webp.js";

/** -> {inflate: {parts, whole}, jpeg, webp}. readPart(name) -> Promise<Uint8Array>, of the page's parts. */
export async function openCodecs(readPart) {
  const jpeg = await openJpegCodec(await readPart("vendor/jpeg.wasm"));
  const webp = await openWebpCodec(await readPart("vendor/webp.wasm"));
  return { inflate: { parts: inflateParts, whole: inflateWhole }, jpeg, webp };
}
