/** Hashes. */

import { LimiarError } from "./errors.js";

/** bytes: Uint8Array -> its SHA-256, 64 hexadecimal digits. Throws E-PHONE-SECURE where the browser has no crypto.subtle. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    const met = "this browser checks nothing on a page that came over plain http";
    throw new LimiarError("E-PHONE-SECURE", `${met}: open the page over https, or on the machine itself as localhost`);
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, byte => byte.toString(16).padStart(2, "0")).join("");
}
