/**
 * What was answered, kept in the browser's IndexedDB until a person deletes it.
 *
 * An image's answer is unique per (sha256, bundle, file, runtime), as in the store of a device: another file with the same bytes
 * gets a line of its own that repeats the kept answer. A line may be shown once `add` has returned: it is on the disk then.
 */

import { LimiarError } from "../errors.js";
import { csvHeader, csvLine, isFrame, jsonLine } from "./lines.js";

const KEEP_SCHEMA = 1;
const LINES_STORE = "lines"; // {id, line, image?, named?, source?}
const PICTURES_STORE = "pictures"; // id -> Blob
const READ_AT_ONCE = 500; // lines that an export holds besides its text
const LISTED_AT_ONCE = 50;

/** Opens the results of this page's folder. labels: text[], the bundle's. Throws LimiarError E-STORE-WRITE. */
export async function openKeep(labels, name = keepName(location)) {
  const keep = new Keep(labels, name);
  await keep.opened();
  return keep;
}

/** The name of the database of an address: pages of one site in other folders have others. */
export function keepName(address) {
  return address.protocol === "file:" ? "limiar" : `limiar ${address.pathname.replace(/[^/]*$/, "")}`;
}

class Keep {
  constructor(labels, name) {
    this.labels = labels;
    this.name = name;
    this.database = null;
  }

  /** Keeps a line, and a small picture of it. -> {id, stored: whether the answer was there before, line: as it is kept} */
  async add(line, thumbnail = null) {
    return this.transaction("readwrite", async (lines, pictures) => {
      const before = await earlierRecord(lines, line);
      if (before?.named === namedKey(line)) return { id: before.id, stored: true, line: before.line };
      const kept = before ? { ...before.line, path: line.path, stored: true } : { ...line, stored: false };
      const id = await requested(lines.add(recordOf(kept)));
      if (thumbnail) await requested(pictures.put(thumbnail, id));
      return { id, stored: kept.stored, line: kept };
    });
  }

  /** The newest lines first. before: an id, for older ones. -> [{id, line, thumbnail: Blob|null}] */
  async list({ before = null, count = LISTED_AT_ONCE } = {}) {
    const range = before === null ? null : IDBKeyRange.upperBound(before, true);
    return this.transaction("readonly", async (lines, pictures) => {
      const found = await newestRecords(lines, range, count);
      const thumbnails = await Promise.all(found.map(({ id }) => requested(pictures.get(id))));
      return found.map(({ id, line }, k) => ({ id, line, thumbnail: thumbnails[k] ?? null }));
    });
  }

  /** One of them: {id, line, thumbnail: Blob|null}, or null if it is not there. */
  async get(id) {
    return this.transaction("readonly", async (lines, pictures) => {
      const [found, thumbnail] = await Promise.all([requested(lines.get(id)), requested(pictures.get(id))]);
      return found ? { id, line: found.line, thumbnail: thumbnail ?? null } : null;
    });
  }

  /** How many lines are kept. */
  async count() {
    return this.transaction("readonly", (lines) => requested(lines.count()));
  }

  /** How many of them are of files, and of camera frames. -> {files, frames} */
  async counts() {
    return this.transaction("readonly", async (lines) => {
      const [all, frames] = await Promise.all([requested(lines.count()), requested(lines.index("source").count())]);
      return { files: all - frames, frames };
    });
  }

  /** Deletes all lines and pictures. */
  async clear() {
    await this.transaction("readwrite", (lines, pictures) => Promise.all([requested(lines.clear()), requested(pictures.clear())]));
  }

  /** All lines, the oldest first, as `limiar scan --jsonl` and `limiar camera --jsonl` write them. -> Blob */
  async jsonLines() {
    const parts = [];
    await this.each((line) => parts.push(jsonLine(line)));
    return new Blob(parts, { type: "application/x-ndjson" });
  }

  /** The lines of files, or of camera frames, as `--csv` writes them. -> Blob */
  async csv({ frames = false } = {}) {
    const kept = [];
    const labels = new Set(this.labels); // and then those of other bundles that were here before
    await this.each((line) => {
      if (isFrame(line) !== frames) return;
      kept.push(line);
      for (const label of Object.keys(line.probabilities ?? {})) labels.add(label);
    });
    const columns = [...labels];
    return new Blob([csvHeader(columns, frames), ...kept.map((line) => csvLine(line, columns, frames))], { type: "text/csv" });
  }

  /** Calls see(line) for each line, the oldest first. */
  async each(see) {
    let found = [];
    do {
      const range = IDBKeyRange.lowerBound(found.at(-1)?.id ?? 0, true);
      found = await this.transaction("readonly", (lines) => requested(lines.getAll(range, READ_AT_ONCE)));
      for (const { line } of found) see(line);
    } while (found.length === READ_AT_ONCE);
  }

  /** The open database. */
  async opened() {
    if (this.database) return this.database;
    try {
      const asking = indexedDB.open(this.name, KEEP_SCHEMA);
      asking.onupgradeneeded = () => makeStores(asking.result);
      const database = await requested(asking);
      database.onversionchange = () => database.close(); // a newer page in another tab
      database.onclose = () => { // the system may take it from a page in the background
        this.database = null;
      };
      this.database = database;
      return database;
    } catch (error) {
      const met = `this browser keeps no results (${error.name}: ${error.message})`;
      throw new LimiarError("E-STORE-WRITE", `${met}: leave private browsing, or allow this page to keep data`);
    }
  }

  /** Does work(lines, pictures) in a transaction; returns what it gives once that is on the disk. Throws LimiarError. */
  async transaction(mode, work) {
    try {
      return await transacted(await this.opened(), mode, work);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw storeError(error);
    }
    this.database = null; // it was closed under us: once more
    try {
      return await transacted(await this.opened(), mode, work);
    } catch (error) {
      throw storeError(error);
    }
  }
}

function makeStores(database) {
  const lines = database.createObjectStore(LINES_STORE, { keyPath: "id", autoIncrement: true });
  lines.createIndex("image", "image"); // what answers of one image share
  lines.createIndex("named", "named", { unique: true });
  lines.createIndex("source", "source"); // frames alone have it
  database.createObjectStore(PICTURES_STORE);
}

async function transacted(database, mode, work) {
  const transaction = database.transaction([LINES_STORE, PICTURES_STORE], mode, { durability: "strict" });
  const ended = new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new DOMException("the browser stopped it", "AbortError"));
  });
  const [found] = await Promise.all([work(transaction.objectStore(LINES_STORE), transaction.objectStore(PICTURES_STORE)), ended]);
  return found;
}

function requested(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function newestRecords(lines, range, count) {
  return new Promise((resolve, reject) => {
    const found = [];
    const request = lines.openCursor(range, "prev");
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const cursor = request.result;
      if (cursor && found.length < count) {
        found.push(cursor.value);
        cursor.continue();
      } else {
        resolve(found);
      }
    };
  });
}

/** The record that this line repeats: of the same file, or else of another file with the same bytes. */
async function earlierRecord(lines, line) {
  const named = namedKey(line);
  const same = named && await requested(lines.index("named").get(named));
  const image = !same && imageKey(line);
  return same || (image && await requested(lines.index("image").get(image))) || null;
}

function recordOf(line) {
  const image = imageKey(line);
  const named = namedKey(line);
  return { line, ...(image && { image }), ...(named && { named }), ...(isFrame(line) && { source: line.source }) };
}

function imageKey(line) {
  if (isFrame(line) || line.code != null) return null;
  return [line.sha256, line.bundle, line.file, line.runtime].join("\n");
}

function namedKey(line) {
  if (isFrame(line)) return null;
  return [line.sha256, line.bundle, line.file, line.runtime, line.code ?? "", line.path].join("\n");
}

function storeError(error) {
  if (error instanceof LimiarError) return error;
  if (error.name === "QuotaExceededError") {
    return new LimiarError("E-STORE-FULL", "this browser has no space left for results: export them and delete them here");
  }
  return new LimiarError("E-STORE-WRITE", `a result cannot be kept (${error.name}: ${error.message}): load the page again`);
}
