/** Bytes of a file, read as edge_app reads them: beyond the end there is nothing, and numbers of missing bytes are shorter. */

/** bytes: Uint8Array; at, size: of an unsigned integer, lowest byte first -> number; exact up to 2^53. */
export function littleNumber(bytes, at, size) {
  let value = 0;
  for (let i = Math.min(at + size, bytes.length) - 1; i >= at; i--) value = value * 256 + bytes[i];
  return value;
}

/** As `littleNumber`, highest byte first. */
export function bigNumber(bytes, at, size) {
  let value = 0;
  for (let i = at; i < Math.min(at + size, bytes.length); i++) value = value * 256 + bytes[i];
  return value;
}

/** `most` bytes from `at` on as text, one character of U+0000..U+00FF each: fewer at the end. */
export function latin1(bytes, at, most) {
  return String.fromCharCode(...bytes.subarray(Math.min(at, bytes.length), Math.min(at + most, bytes.length)));
}

/** Whether the characters of `mark`, U+0000..U+00FF, stand at byte `at`. */
export function holdsAt(bytes, mark, at) {
  if (at + mark.length > bytes.length) return false;
  for (let i = 0; i < mark.length; i++) if (bytes[at + i] !== mark.charCodeAt(i)) return false;
  return true;
}

/** The first place of `mark` within bytes `start` to `end`; -1: there is none. */
export function findMark(bytes, mark, start, end) {
  const last = Math.min(end, bytes.length) - mark.length;
  const first = mark.charCodeAt(0);
  for (let at = bytes.indexOf(first, start); at >= 0 && at <= last; at = bytes.indexOf(first, at + 1)) {
    if (holdsAt(bytes, mark, at)) return at;
  }
  return -1;
}

/** The first place from `at` on that is not NUL: the length of the file if there is none. */
export function afterNul(bytes, at) {
  let found = at;
  while (bytes[found] === 0) found++;
  return Math.min(found, bytes.length);
}

/** `most` bytes from `at` on as Python writes them, for messages: b'\x89PNG\r\n'. */
export function shownBytes(bytes, at, most) {
  const text = latin1(bytes, at, most);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named = { "\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\", [quote]: `\\${quote}` };
  const shown = [...text].map((c) => {
    const hex = c.charCodeAt(0).toString(16).padStart(2, "0");
    return named[c] ?? (c < " " || c > "~" ? `\\x${hex}` : c);
  });
  return `b${quote}${shown.join("")}${quote}`;
}
