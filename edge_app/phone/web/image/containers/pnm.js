/** PGM and PPM (netpbm): a header in text, then samples as bytes or as text. */

import { ImageError } from "../../errors.js";
import { latin1 } from "./bytes.js";
import { PIXELS_MP, checkEnd, checkPixels, truncated } from "./container.js";

const PNM_HEADER_MOST = 4096; // bytes, with comments
const PNM_SPACE = " \t\n\v\f\r";
const PNM_NUMBER = /[0-9]{1,9}(?![0-9])/y;

/**
 * Reads the header, and checks that as many bytes follow as it says. Throws ImageError.
 *
 * name: PGM or PPM; samples: of a pixel; most: the largest value of a sample, 1..65535; plain: samples are numbers in text;
 * start: of the samples.
 */
export function inspectPnm(bytes) {
  const kind = latin1(bytes, 0, 2);
  const grey = kind === "P2" || kind === "P5";
  const name = grey ? "PGM" : "PPM";
  const head = latin1(bytes, 0, PNM_HEADER_MOST);
  const numbers = [];
  let at = 2;
  for (let count = 0; count < 3; count++) {
    PNM_NUMBER.lastIndex = afterSpaces(head, at);
    const number = PNM_NUMBER.lastIndex > at ? PNM_NUMBER.exec(head) : null;
    if (number === null) throw new ImageError("E-IMAGE-BROKEN", `a ${name} without a readable header: write it again`);
    numbers.push(Number(number[0]));
    at = number.index + number[0].length;
  }
  const [width, height, most] = numbers;
  if (!isPnmSpace(bytes[at]) || most < 1 || most > 65535) {
    throw new ImageError("E-IMAGE-BROKEN", `a ${name} without a readable header, or with 0 levels: write it again`);
  }
  const samples = grey ? 1 : 3;
  const plain = kind === "P2" || kind === "P3";
  const size = width * height * samples * (most < 256 ? 1 : 2);
  let [start, trailing] = [at + 1, ""];
  // Windows may write the one white space after the header as two characters.
  if (bytes[at] === 0x0d && bytes[at + 1] === 0x0a && bytes.length === start + 1 + size) start += 1;
  if (!plain) trailing = checkEnd(bytes, start + size, name);
  // A digit and a space each.
  else if (bytes.length - start < 2 * width * height * samples - 1) throw truncated(`the ${name}'s pixels`);
  if (width < 1 || height < 1) throw new ImageError("E-IMAGE-BROKEN", `${width}x${height} pixels: write it again`);
  checkPixels(name, width, height, PIXELS_MP);
  const bits = 32 - Math.clz32(most);
  return { format: "PPM", bits, decoderMp: PIXELS_MP, trailing, name, width, height, samples, most, plain, start };
}

/** byte: 0..255, or undefined beyond the end -> whether it is white space. */
export function isPnmSpace(byte) {
  return byte !== undefined && PNM_SPACE.includes(String.fromCharCode(byte));
}

/** The place behind white space and comments, each of which ends with its line, from `start` on. */
function afterSpaces(head, start) {
  let at = start;
  while (PNM_SPACE.includes(head[at] ?? "0")) at++;
  while (head[at] === "#") {
    let end = at;
    while (end < head.length && head[end] !== "\n" && head[end] !== "\r") end++;
    if (end === head.length) return at;
    while (PNM_SPACE.includes(head[end] ?? "0")) end++;
    at = end;
  }
  return at;
}
