/** The vendored decoders, opened once: their calls are synchronous from then on. */

import { inflateParts, inflateWhole } from "./inflate.js";

/** -> {inflate: {parts, whole}}. readPart(name) -> Promise<Uint8Array>, of the page's parts. */
export async function openCodecs(readPart) {
  return { inflate: { parts: inflateParts, whole: inflateWhole } };
}
