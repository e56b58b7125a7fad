/** Chosen files, answered one after the other. Stopping loses nothing: what was answered is kept by then. */

import { refusedLine, utcNow } from "../answer/line.js";
import { ImageError } from "../errors.js";
import { readJob } from "../intake.js";
import { thumbnailOf } from "./drawing.js";

const PROMPT_MS = 100; // between two drawings of the progress

/** How many files of a choice are not answered. chosen: as chosenPictures gives it. */
export function passedCount({ passed }) {
  return Object.values(passed).reduce((sum, count) => sum + count, 0);
}

/** The files of one choice. jobs: [{path, file: File}]; skipped: how many beside them are not answered. */
export class Batch {
  constructor(page, jobs, skipped) {
    this.page = page;
    this.jobs = jobs;
    this.skipped = skipped;
    this.done = 0; // of them, answered or refused
    this.refused = 0;
    this.known = 0; // of them, whose answer was kept before
    this.name = ""; // of the one that is being answered
    this.running = false;
    this.stopped = false;
    this.error = null; // why it ended early: LimiarError
    this.changed = () => {}; // (entry or null) => void: progress, and the answer that is kept now: {id, line, thumbnail}
    this.drawnMs = 0;
  }

  /** Answers all files, or those until stop(). Never throws: see `error`. */
  async run() {
    this.running = true;
    navigator.storage?.persist?.(); // from now on there is something to lose; some browsers ask the person
    for (const job of this.jobs) {
      if (this.stopped) break;
      this.name = job.path;
      this.progress();
      try {
        await this.answer(job);
      } catch (error) {
        this.error = error;
        break;
      }
    }
    this.running = false;
    this.changed(null);
  }

  /** Ends it after the file that is being answered. */
  stop() {
    this.stopped = true;
    this.changed(null);
  }

  async answer(job) {
    const { keep, files } = this.page;
    const { line, picture } = await this.answered(job);
    const thumbnail = await thumbnailOf(picture);
    const kept = await keep.add(line, thumbnail);
    if (line.sha256) files.set(line.sha256, job.file);
    this.done += 1;
    this.known += kept.stored ? 1 : 0;
    this.refused += line.code ? 1 : 0;
    this.changed({ id: kept.id, line: kept.line, thumbnail });
  }

  async answered(job) {
    const { work, started } = this.page;
    let bytes;
    try {
      bytes = await readJob(job);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      return { line: refusedLine(started, error, utcNow(), { path: job.path, sha256: null }) };
    }
    return work.answer(bytes, job.path, false);
  }

  /** Not for each of many small files. */
  progress() {
    const now = performance.now();
    if (now - this.drawnMs < PROMPT_MS) return;
    this.drawnMs = now;
    this.changed(null);
  }
}
