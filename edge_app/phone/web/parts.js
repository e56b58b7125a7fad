/** The parts of the page, read by name; each is proven by page.json before anyone uses it. */

import { BundleError, LimiarError } from "./errors.js";
import { sha256 } from "./sha256.js";

export const LOAD_AGAIN = "load the page again, or have it made again";

/**
 * listed: the parts of page.json; stored(name) -> Promise<Uint8Array>: a part as it is stored.
 * -> readPart(name) -> Promise<Uint8Array>: "vendor/litert.wasm" is unpacked from vendor/litert.wasm.gz.
 * That throws BundleError E-BUNDLE-HASH for a file of the bundle, and LimiarError E-PHONE-CHECK for any other part.
 */
export function partReader(listed, stored) {
  return async name => {
    const kept = [name, `${name}.gz`].find(one => Object.hasOwn(listed, one));
    if (kept === undefined) {
      throw new LimiarError("E-PHONE-CHECK", `${name} is not a part of this page: ${LOAD_AGAIN}`);
    }
    const bytes = await stored(kept);
    await checkPart(kept, bytes, listed[kept].sha256);
    return kept.endsWith(".gz") ? unpacked(bytes) : bytes;
  };
}

/** Throws, as a readPart does, unless this is the sha256 of the bytes. */
export async function checkPart(name, bytes, wanted) {
  const found = await sha256(bytes);
  if (found !== wanted) {
    const met = `${name} has sha256 ${found.slice(0, 12)}, the page was made with ${wanted.slice(0, 12)}: ${LOAD_AGAIN}`;
    throw name.startsWith("bundle/") ? new BundleError("E-BUNDLE-HASH", met) : new LimiarError("E-PHONE-CHECK", met);
  }
}

/** base: the address of the folder in which the parts lie; options: of fetch -> `stored` for partReader. */
export function fetchedFrom(base, options = {}) {
  return async name => {
    let response;
    try {
      response = await fetch(new URL(name, base), options);
    } catch (error) {
      throw new LimiarError("E-PHONE-CHECK", `${name} cannot be read (${error.message}): ${LOAD_AGAIN}`);
    }
    if (!response.ok) {
      throw new LimiarError("E-PHONE-CHECK", `${name} cannot be read (status ${response.status}): ${LOAD_AGAIN}`);
    }
    return new Uint8Array(await response.arrayBuffer());
  };
}

/** parts: {name: Uint8Array}, as they are stored -> `stored` for partReader. */
export function givenParts(parts) {
  return async name => {
    if (!Object.hasOwn(parts, name)) {
      throw new LimiarError("E-PHONE-CHECK", `${name} is missing: ${LOAD_AGAIN}`);
    }
    return parts[name];
  };
}

/** bytes: Uint8Array, gzip -> Promise<Uint8Array>. Throws TypeError for what is not gzip, or not whole. */
export async function unpacked(bytes) {
  const unpacking = new DecompressionStream("gzip");
  const writer = unpacking.writable.getWriter();
  const written = Promise.all([writer.write(bytes), writer.close()]);
  const [found] = await Promise.all([new Response(unpacking.readable).arrayBuffer(), written]);
  return new Uint8Array(found);
}
