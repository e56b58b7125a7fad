/**
 * Chosen files and folders -> the pictures to answer, by the names that edge_app/image/folder.py takes.
 *
 * A file that was chosen by itself is always tried. In a folder, names of pictures are taken, in name order, and the rest is passed
 * over and counted. The lists of names are those of the Python; tests compare the two.
 */

import { ImageError } from "./errors.js";
import { FOREIGN_EXTENSIONS } from "./image/containers/foreign.js";
import { IMAGE_EXTENSIONS, extensionOf, holdsPicture } from "./image/containers/index.js";

const BYTES_LIMIT = 64_000_000;
const MARK_BYTES = 132; // up to the mark of a DICOM file
// Folders and files that operating systems and shares make. Lower case.
const SYSTEM_NAMES = new Set([
  ...["$recycle.bin", "recycler", "recycled", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"],
  ...["__macosx", "network trash folder", "temporary items", "icon\r"],
  ...["@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb"],
  ...["lost+found", "lost.dir", "~snapshot", "dicomdir"],
]);
const REPAIRED = /^found\.\d{3}$/i; // made when Windows repairs a disk
const UNFINISHED = new Set([".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".opdownload"]);

/**
 * The pictures among chosen files, and what was passed over.
 *
 * files: File[], of <input type="file">; those of a chosen folder have a webkitRelativePath.
 * -> {jobs: [{path, file}], passed: {hidden, system, unfinished, other: counts}, extensions: Map of the others' ".txt" -> count}
 */
export async function chosenPictures(files) {
  return sortedOut([...files].map((file) => ({ path: wellFormed(file.webkitRelativePath || file.name), file })));
}

/** As chosenPictures, of what was dropped on the page: files and folders. items: a DataTransferItemList. */
export async function droppedPictures(items) {
  const entries = [...items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = []; // the entries first: the list is emptied once the event is over
  for (const entry of entries) await gather(entry, found);
  return sortedOut(found);
}

/** The bytes of a job's file. Throws ImageError: E-IMAGE-BYTES, E-IMAGE-READ. */
export async function readJob({ file }) {
  if (file.size > BYTES_LIMIT) {
    throw new ImageError("E-IMAGE-BYTES", `${file.size} bytes, the limit is ${BYTES_LIMIT}: make it smaller`);
  }
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    throw new ImageError("E-IMAGE-READ", `${error.message || error.name}: check the file and its disk`);
  }
}

/** Why a file or folder of this name is passed over: "hidden", "system" or "unfinished"; null if it is not. */
export function unwantedName(name, isFolder) {
  if (name.startsWith(".")) return "hidden";
  if (SYSTEM_NAMES.has(name.toLowerCase()) || REPAIRED.test(name)) return "system";
  const unfinished = name.startsWith("~") || name.endsWith("~") || UNFINISHED.has(extensionOf(name));
  return !isFolder && unfinished ? "unfinished" : null;
}

/** Paths in the order in which edge_app walks folders: by the bytes of each name on the way. */
export function inWalkOrder(paths) {
  const encoder = new TextEncoder();
  const keyed = paths.map((path) => ({ path, names: path.split("/").map((name) => encoder.encode(name)) }));
  return keyed.sort(byNames).map(({ path }) => path);
}

async function sortedOut(found) {
  const alone = found.filter(({ path }) => !path.includes("/"));
  const below = new Map(found.filter(({ path }) => path.includes("/")).map(({ path, file }) => [path, file]));
  const result = { jobs: alone, passed: { hidden: 0, system: 0, unfinished: 0, other: 0 }, extensions: new Map() };
  const closed = new Set(); // folders that are passed over: each counts once
  for (const path of inWalkOrder([...below.keys()])) {
    const folder = closedFolder(path);
    const name = path.slice(path.lastIndexOf("/") + 1);
    const kind = folder ? unwantedName(folder.name, true) : unwantedName(name, false);
    if (folder && closed.has(folder.path)) continue;
    if (folder) closed.add(folder.path);
    if (kind) {
      result.passed[kind] += 1;
    } else if (await isPicture(name, below.get(path))) {
      result.jobs.push({ path, file: below.get(path) });
    } else {
      result.passed.other += 1;
      const extension = extensionOf(name);
      result.extensions.set(extension, (result.extensions.get(extension) ?? 0) + 1);
    }
  }
  return result;
}

/** The first folder on the way to a file that is passed over; none for the chosen folder itself. -> {name, path} or undefined */
function closedFolder(path) {
  const names = path.split("/");
  for (let depth = 1; depth < names.length - 1; depth += 1) {
    if (unwantedName(names[depth], true)) return { name: names[depth], path: names.slice(0, depth + 1).join("/") };
  }
  return undefined;
}

/** By its extension, even one that will be refused; by its first bytes if it has none, or only a number. */
async function isPicture(name, file) {
  const extension = extensionOf(name);
  if (IMAGE_EXTENSIONS.has(extension) || FOREIGN_EXTENSIONS.has(extension)) return true;
  if (!/^[.0-9]*$/.test(extension)) return false;
  try {
    return holdsPicture(new Uint8Array(await file.slice(0, MARK_BYTES).arrayBuffer()));
  } catch {
    return false; // it cannot be read: as a name that is no picture's
  }
}

async function gather(entry, found) {
  if (entry === null) return;
  if (entry instanceof File) {
    found.push({ path: wellFormed(entry.name), file: entry });
  } else if (entry.isFile) {
    const file = await new Promise((resolve, reject) => {
      entry.file(resolve, reject);
    });
    found.push({ path: wellFormed(entry.fullPath.slice(1)), file });
  } else {
    for (const inner of await entriesOf(entry)) await gather(inner, found);
  }
}

async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) { // it gives some at a time
    const some = await new Promise((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (!some.length) return all;
    all.push(...some);
  }
}

function byNames(one, other) {
  for (let depth = 0; depth < Math.min(one.names.length, other.names.length); depth += 1) {
    const order = byBytes(one.names[depth], other.names[depth]);
    if (order) return order;
  }
  return one.names.length - other.names.length;
}

function byBytes(one, other) {
  for (let at = 0; at < Math.min(one.length, other.length); at += 1) {
    if (one[at] !== other[at]) return one[at] - other[at];
  }
  return one.length - other.length;
}

/** A name without lone halves of a character, which no JSON may have. */
function wellFormed(name) {
  return name.replace(/[\ud800-\udfff]/gu, "\ufffd");
}
