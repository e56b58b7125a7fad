/** Kept lines as the JSON lines and the spreadsheet of `limiar scan` and `limiar camera`: edge_app/output. */

import { LINE_KEYS } from "../answer/line.js";
import { csvRow, forCsv, jsonFloat, jsonText, pythonFloat } from "./text.js";

const FLOAT_KEYS = new Set(["confidence", "spread"]);
const SHARES = "probabilities"; // stands for one column per label
const FILE_COLUMNS = [
  ...["path", "sha256", "decision", "label", "confidence", SHARES, "stored", "verified", "code", "message"],
  ...["outside", "trailing", "bundle", "file", "runtime", "app", "time", "frame", "peaks"],
];
const FRAME_COLUMNS = [
  ...["source", "sequence", "taken", "dropped", "decision", "label", "confidence", "bundle", "file", "runtime", "verified"],
  ...["app", "time", "outside", "frame", "video_s", "doubtful", SHARES, "code", "message"],
  ...["frames", "agreeing", "spread"],
];

/** One JSON object and a line end. line: as the worker gives it. */
export function jsonLine(line) {
  const keys = LINE_KEYS.filter((key) => line[key] != null || (key === "sha256" && line[key] === null));
  return `{${keys.map((key) => `"${key}":${jsonValue(key, line[key])}`).join(",")}}\n`;
}

/** The first line of a spreadsheet. labels: text[]; frames: whether it is of camera frames. */
export function csvHeader(labels, frames) {
  const shares = labels.map((label) => `probability_${label}`);
  return csvRow(lineColumns(frames).flatMap((column) => (column === SHARES ? shares : [column])).map(forCsv));
}

/** A line's row of that spreadsheet. */
export function csvLine(line, labels, frames) {
  return csvRow(lineColumns(frames).flatMap((column) => cellsOf(line, column, labels)));
}

/** Whether a line is of a camera frame. */
export function isFrame(line) {
  return line.source != null;
}

function lineColumns(frames) {
  return frames ? FRAME_COLUMNS : FILE_COLUMNS;
}

function jsonValue(key, value) {
  if (FLOAT_KEYS.has(key)) return jsonFloat(value);
  if (typeof value === "string") return jsonText(value);
  if (Array.isArray(value)) return `[${value.map(jsonText).join(",")}]`;
  if (value !== null && typeof value === "object") { // probabilities and ms: numbers by name
    return `{${Object.entries(value).map(([name, one]) => `${jsonText(name)}:${jsonFloat(one)}`).join(",")}}`;
  }
  return String(value);
}

function cellsOf(line, column, labels) {
  if (column === SHARES) {
    return labels.map((label) => {
      const share = Object.hasOwn(line.probabilities ?? {}, label) ? line.probabilities[label] : null;
      return share === null ? "" : pythonFloat(share);
    });
  }
  const value = line[column];
  if (value == null) return [""];
  if (FLOAT_KEYS.has(column)) return [pythonFloat(value)];
  if (typeof value === "boolean") return [value ? "True" : "False"];
  return [typeof value === "number" ? String(value) : forCsv(Array.isArray(value) ? value.join(" ") : value)];
}
