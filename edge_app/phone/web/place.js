/** Where the page lies: in a folder that is served, or in one file that has all parts within it. */

import { LimiarError } from "./errors.js";
import { LOAD_AGAIN, checkPart, fetchedFrom, partReader, unpacked } from "./parts.js";

/**
 * -> {page, pageText, readPart, startWorker, workerParts, oneFile}, all of it proven from the page that the browser shows:
 * page: page.json, pageText: its text; readPart as partReader makes it; startWorker() -> Promise<Worker>;
 * workerParts() -> Promise of what the worker is given as `parts`, as they are stored: {name: Uint8Array}.
 * Throws LimiarError E-PHONE-CHECK, E-PHONE-SECURE.
 */
export async function openPlace() {
  const oneFile = embeddedPart("page.json") !== null;
  const stored = oneFile ? storedWithin : fetchedFrom(document.baseURI);
  const bytes = await stored("page.json");
  await checkPart("page.json", bytes, document.querySelector("meta[name=limiar-page]").content);
  const pageText = new TextDecoder().decode(bytes);
  const page = JSON.parse(pageText);
  const readPart = partReader(page.parts, stored);
  const startWorker = async () => startedWorker(await readPart("worker.js"));
  const workerParts = () => bundled(page.parts, stored);
  return { page, pageText, readPart, startWorker, workerParts, oneFile };
}

/** code: Uint8Array, checked: these bytes run, and nothing is fetched once more. Such a worker also has the page's policy. */
function startedWorker(code) {
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  return worker;
}

async function bundled(listed, stored) {
  const names = Object.keys(listed).filter(name => name.startsWith("bundle/") || name.startsWith("vendor/"));
  return Object.fromEntries(await Promise.all(names.map(async name => [name, await stored(name)])));
}

/** A part is base64 of gzip in the file; what is stored as gzip is not packed twice. */
async function storedWithin(name) {
  try {
    const text = embeddedPart(name).textContent;
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : decodedBase64(text);
    return name.endsWith(".gz") ? bytes : await unpacked(bytes);
  } catch (error) { // not there, not base64, not gzip: this file was altered, or is not whole
    throw new LimiarError("E-PHONE-CHECK", `${name} cannot be read from this file (${error.message}): ${LOAD_AGAIN}`);
  }
}

function decodedBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

function embeddedPart(name) {
  return document.querySelector(`script[data-part="${CSS.escape(name)}"]`);
}
