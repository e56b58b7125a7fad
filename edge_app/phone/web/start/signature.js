/** Ed25519 signatures of a bundle by WebCrypto, where the browser has it: bundle/signature.py. */

import { BundleError } from "../errors.js";
import { sha256 } from "../sha256.js";

const SIGNED_CONTEXT = "limiar-bundle-v1\0";
const SIGNATURE_BYTES = 64;

/**
 * "signed by" and 12 digits of the key's fingerprint, "not checked" or "not signed". raw: the bytes of manifest.json;
 * signature: those of manifest.sig or null; keys: raw public keys, in hexadecimal digits. With a key, one of them must have
 * signed: throws BundleError, unless this browser has no Ed25519.
 */
export async function checkSignature(raw, signature, keys) {
  if (!keys.length) return signature ? "not checked" : "not signed";
  if (!signature) {
    const cure = "get the signed bundle, or sign it with `limiar convert --sign KEY`";
    throw new BundleError("E-BUNDLE-SIGNATURE-MISSING", `bundle: there is no manifest.sig: ${cure}`);
  }
  if (signature.length !== SIGNATURE_BYTES) {
    const met = `manifest.sig is not the ${SIGNATURE_BYTES} bytes of a signature`;
    throw new BundleError("E-BUNDLE-SIGNATURE-SIZE", `bundle: ${met}: copy the bundle again`);
  }
  const context = new TextEncoder().encode(SIGNED_CONTEXT);
  const signed = new Uint8Array(context.length + raw.length);
  signed.set(context);
  signed.set(raw, context.length);
  const prints = [];
  for (const digits of keys) {
    const key = Uint8Array.from(digits.match(/../g), byte => Number.parseInt(byte, 16));
    const print = (await sha256(key)).slice(0, 12);
    const found = await hasSigned(key, signature, signed);
    if (found === null) return "not checked";
    if (found) return `signed by ${print}`;
    prints.push(print);
  }
  const met = `no trusted key (${prints.join(", ")}) has signed this manifest.json: it was altered, or signed by someone else`;
  throw new BundleError("E-BUNDLE-SIGNATURE-WRONG", `bundle: ${met}: get it from a source you trust, or give the right --key`);
}

/** Whether a key has signed these bytes; null: this browser has no Ed25519. */
async function hasSigned(raw, signature, signed) {
  let key;
  try {
    key = await crypto.subtle.importKey("raw", raw, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") return null;
    return false; // not a point of the curve
  }
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, signed);
}
