/** Text and numbers of an export: the characters of edge_app/text.py, msgspec's JSON and Python's csv. */

// Characters that act instead of being seen, as in edge_app/text.py.
const ACTS = new RegExp(
  "[\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]",
  "gu", // so that the two halves of an emoji are one character, and only a lone half matches
);
// Python's \s; JavaScript's has U+FEFF too.
const SPACE = "[ \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]";
const STARTS_FORMULA = new RegExp(`(^|;)(${SPACE}*[=+\\-@\\uff1d\\uff0b\\uff0d\\uff20])`, "g");
const DIGITS = 16; // from 1e16 on, both write an exponent
const LEAST_JSON = -5; // the smallest power of ten without one: 0.00001
const LEAST_PYTHON = -4; // 0.0001

/** A text for a cell that no spreadsheet takes for a formula, in one line. */
export function forCsv(text) {
  return text.replace(ACTS, namedCharacter).replace(STARTS_FORMULA, "$1'$2");
}

/** A row of a CSV, ending in a line end. cells: text[]. */
export function csvRow(cells) {
  return `${cells.map((cell) => (/[,"\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")}\n`;
}

/** A text as JSON, with every character visible. */
export function jsonText(text) {
  return JSON.stringify(text).replace(ACTS, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A number with a fraction as msgspec writes it: 1.0, 0.00001, 1.5e-7. */
export function jsonFloat(value) {
  const [digits, exponent] = floatParts(value);
  return plainFloat(value, exponent, LEAST_JSON) ?? `${digits}e${exponent}`;
}

/** A number with a fraction as Python's repr writes it: 1.0, 1e-05. */
export function pythonFloat(value) {
  const [digits, exponent] = floatParts(value);
  const plain = plainFloat(value, exponent, LEAST_PYTHON);
  return plain ?? `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

function floatParts(value) {
  const [digits, exponent] = value.toExponential().split("e");
  return [digits, Number(exponent)];
}

function plainFloat(value, exponent, least) {
  if (exponent < least || exponent >= DIGITS) return null;
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function namedCharacter(character) {
  const code = character.codePointAt(0);
  if (code >= 0xd800 && code <= 0xdfff) return `\\u${code.toString(16)}`;
  return Array.from(new TextEncoder().encode(character), (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}
