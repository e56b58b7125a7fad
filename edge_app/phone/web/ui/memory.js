/** What was answered, where the browser keeps nothing: in memory, until the page is closed. */

import { csvHeader, csvLine, isFrame, jsonLine } from "../keep/lines.js";

/** As Keep of keep/keep.js. labels: text[]. */
export class MemoryKeep {
  constructor(labels) {
    this.labels = labels;
    this.entries = []; // the oldest first
  }

  async add(line, thumbnail = null) {
    const id = (this.entries.at(-1)?.id ?? 0) + 1;
    const kept = { ...line, stored: false };
    this.entries.push({ id, line: kept, thumbnail });
    return { id, stored: false, line: kept };
  }

  async list({ before = null, count = 50 } = {}) {
    return this.entries.filter(({ id }) => before === null || id < before).slice(-count).reverse();
  }

  async count() {
    return this.entries.length;
  }

  async counts() {
    const frames = this.entries.filter(({ line }) => isFrame(line)).length;
    return { files: this.entries.length - frames, frames };
  }

  async clear() {
    this.entries = [];
  }

  async jsonLines() {
    return new Blob(this.entries.map(({ line }) => jsonLine(line)), { type: "application/x-ndjson" });
  }

  async csv({ frames = false } = {}) {
    const lines = this.entries.map(({ line }) => line).filter((line) => isFrame(line) === frames);
    return new Blob([csvHeader(this.labels, frames), ...lines.map((line) => csvLine(line, this.labels, frames))], { type: "text/csv" });
  }
}
