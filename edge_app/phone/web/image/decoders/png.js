/**
 * A PNG (ISO/IEC 15948) whose chunks are whole -> 8 bits: edge_app/image/decoders/png.py and Pillow's PngImagePlugin.py, whose
 * pixels and refusals these are, also where they differ from the standard.
 */

import { ImageError } from "../../errors.js";
import { bigNumber, latin1 } from "../containers/bytes.js";
import { checkPixels } from "../containers/container.js";
import { PNG_GREY, PNG_GREY_ALPHA, PNG_PALETTE, PNG_RGB, PNG_RGBA } from "../containers/png.js";
import { FULL_RANGE, depthLevels, opacityLevels } from "../depth.js";
import { exifOrientation } from "../exif.js";
import { pngRows } from "./png_rows.js";

const PNG_CHANNELS = { [PNG_GREY]: 1, [PNG_RGB]: 3, [PNG_PALETTE]: 1, [PNG_GREY_ALPHA]: 2, [PNG_RGBA]: 4 };
const PNG_BITS = {
  [PNG_GREY]: [1, 2, 4, 8, 16],
  [PNG_RGB]: [8, 16],
  [PNG_PALETTE]: [1, 2, 4, 8],
  [PNG_GREY_ALPHA]: [8, 16],
  [PNG_RGBA]: [8, 16],
};
const PNG_SHOWN = new Set(["tRNS", "eXIf"]); // that change the pixels, though not critical
const LEAST_SIGNIFICANT = 8; // bits, of an sBIT that says more than 8 bits do

/** -> {width, height, channels: 1..4 with alpha last, pixels: Uint8Array, orientation: 1..8}. Throws ImageError. */
export function decodePng(bytes, container, greyMax, codecs) {
  const header = pngHeader(bytes);
  checkPixels("PNG", header.width, header.height, container.decoderMp);
  const shown = shownChunks(bytes);
  if (isKeyed(header) && shown.transparency?.length < 2 * header.channels) throw undecodedPng("Truncated tRNS chunk");
  const raw = pngRows(header, shown.idat, codecs.inflate);
  const orientation = shown.exif ? exifOrientation(shown.exif) : 1;
  return { width: header.width, height: header.height, ...inColours(raw, header, shown, container, greyMax), orientation };
}

function pngHeader(bytes) {
  const [width, height] = [bigNumber(bytes, 16, 4), bigNumber(bytes, 20, 4)];
  const [bits, colour, , filters, interlaced] = bytes.subarray(24, 29);
  if (!width || !height || filters || !PNG_BITS[colour]?.includes(bits)) {
    const met = `${width}x${height} pixels, ${bits} bits, colour type ${colour}, filter method ${filters}`;
    throw undecodedPng(`not identified: ${met}`);
  }
  return { width, height, bits, colour, channels: PNG_CHANNELS[colour], interlaced: interlaced !== 0 };
}

/** {idat: pieces of the deflated pixels, palette, transparency, exif: each a Uint8Array, or null}. The last of a kind counts. */
function shownChunks(bytes) {
  const shown = { idat: [], palette: null, transparency: null, exif: null };
  let [last, odd] = ["", false];
  for (const [kind, data] of pngChunks(bytes)) {
    const after = shown.idat.length > 0;
    if (!/^\w{4}$/.test(kind)) {
      if (!isCritical(kind)) odd ||= after;
      else if (after) break; // Pillow reads no further
      else throw undecodedPng(`broken PNG file (chunk ${JSON.stringify(kind)})`);
    } else if (odd && PNG_SHOWN.has(kind)) {
      // Pillow sees it or not, depending on what else is in the file.
      throw undecodedPng(`${kind} behind a chunk whose name is none`);
    }
    if (kind === "IDAT" && (!after || last === "IDAT")) shown.idat.push(data);
    if (kind === "PLTE" && !after) shown.palette = data;
    if (kind === "tRNS") shown.transparency = data;
    if (kind === "eXIf") shown.exif = data;
    last = kind;
  }
  if (!shown.idat.length) throw undecodedPng("it has no pixels");
  return shown;
}

/** [kind, its data] of each chunk. */
function* pngChunks(bytes) {
  for (let at = 8, kind = ""; kind !== "IEND"; ) {
    const end = at + 8 + bigNumber(bytes, at, 4);
    kind = latin1(bytes, at + 4, 4);
    yield [kind, bytes.subarray(at + 8, end)];
    at = end + 4;
  }
}

/** 5.4: a capital means critical. */
function isCritical(kind) {
  return kind[0] >= "A" && kind[0] <= "Z";
}

/** Uint8Array [samples], one or two bytes each -> {channels, pixels}: 8 bits, grey or RGB, perhaps with alpha. */
function inColours(raw, header, shown, container, greyMax) {
  const { bits, colour, channels } = header;
  const clear = isKeyed(header) ? shown.transparency : null;
  if (colour === PNG_PALETTE) return ofPalette(raw, shown, container);
  if (bits === 16) return { channels, pixels: of16(raw, channels, container, greyMax) };
  if (clear) {
    // Of the 16 bits of a sample, those of its depth count (11.3.1.1). What is transparent is black.
    if (colour === PNG_RGB) blacken(raw, clear[1], clear[3], clear[5]);
    else levelsOfGrey(raw, bits, clear[1] & ((1 << bits) - 1));
  } else if (bits < 8) {
    levelsOfGrey(raw, bits, null);
  }
  return { channels, pixels: raw };
}

/** Whether its tRNS says one colour that is transparent. */
function isKeyed({ colour }) {
  return colour === PNG_GREY || colour === PNG_RGB;
}

function levelsOfGrey(samples, bits, transparent) {
  const most = (1 << bits) - 1;
  const table = Uint8Array.from({ length: most + 1 }, (_, sample) => (sample === transparent ? 0 : (sample * 255) / most));
  for (let at = 0; at < samples.length; at++) samples[at] = table[samples[at]];
}

function blacken(pixels, red, green, blue) {
  for (let at = 0; at < pixels.length; at += 3) {
    if (pixels[at] === red && pixels[at + 1] === green && pixels[at + 2] === blue) pixels.fill(0, at, at + 3);
  }
}

function ofPalette(indices, shown, container) {
  let largest = 0;
  for (let at = 0; at < indices.length; at++) if (indices[at] > largest) largest = indices[at];
  if (largest >= container.colours) {
    const met = `a colour that its palette of ${container.colours} does not have`;
    throw new ImageError("E-IMAGE-BROKEN", `the PNG uses ${met}: copy or record it again`);
  }
  const colours = paletteOverBlack(shown);
  const pixels = new Uint8Array(indices.length * 3);
  for (let from = 0, to = 0; from < indices.length; from++) {
    const colour = 3 * indices[from];
    pixels[to++] = colours[colour];
    pixels[to++] = colours[colour + 1];
    pixels[to++] = colours[colour + 2];
  }
  return { channels: 3, pixels };
}

/** Of red, green, blue each: Uint8Array. A palette that follows the pixels is of no use to Pillow, and all becomes black. */
function paletteOverBlack(shown) {
  const colours = shown.palette ? shown.palette.slice() : new Uint8Array(3 * 256);
  if (colours.length > 3 * 256) throw undecodedPng("invalid palette size");
  let alpha = shown.transparency ?? new Uint8Array(0);
  // Pillow finds one colour that is transparent by a regular expression, whose $ passes over a line feed.
  if (/^\xff*\0\xff*\n$/.test(latin1(alpha, 0, alpha.length))) alpha = alpha.subarray(0, alpha.length - 1);
  for (let index = 0; index < alpha.length && 3 * index < colours.length; index++) {
    for (let at = 3 * index; at < 3 * index + 3; at++) colours[at] = ((colours[at] * alpha[index] + 127) / 255) | 0;
  }
  return colours;
}

/** 16 bits a sample, most significant byte first -> 8, written over the start of the given array. */
function of16(raw, channels, container, greyMax) {
  const colours = channels - ((channels + 1) % 2);
  const alpha = channels > colours;
  const { counts, mostAlpha } = countColours(raw, channels, colours);
  const declared = declaredBySbit(counts, container.significant);
  const levels = depthLevels(counts, declared, greyMax, { significant: container.significant });
  const opacity = alpha ? opacityLevels(mostAlpha, declared, greyMax) : null;
  const pixels = raw.subarray(0, raw.length / 2);
  for (let to = 0, channel = 0; to < pixels.length; to++) {
    const sample = (raw[2 * to] << 8) | raw[2 * to + 1];
    pixels[to] = channel < colours ? levels[sample] : opacity[sample];
    if (++channel === channels) channel = 0;
  }
  return pixels;
}

function countColours(raw, channels, colours) {
  const counts = new Float64Array(FULL_RANGE + 1);
  let mostAlpha = 0;
  for (let at = 0, channel = 0; at < raw.length; at += 2) {
    const sample = (raw[at] << 8) | raw[at + 1];
    if (channel < colours) counts[sample]++;
    else if (sample > mostAlpha) mostAlpha = sample;
    if (++channel === channels) channel = 0;
  }
  return { counts, mostAlpha };
}

/**
 * The largest value by sBIT, if its bits are the lower ones; null if they are the upper ones of the 16, as in 11.3.2.4.
 *
 * Some writers store them at the lower end all the same: their samples are small and use low bits, as no scaled sample does.
 */
function declaredBySbit(counts, significant) {
  if (!significant || significant < LEAST_SIGNIFICANT || significant >= 16) return null;
  const low = (1 << (16 - significant)) - 1;
  const most = (1 << significant) - 1;
  const small = counts.findLastIndex((count) => count > 0) <= most;
  return small && counts.some((count, value) => count > 0 && (value & low) !== 0) ? most : null;
}

function undecodedPng(reason) {
  return new ImageError("E-IMAGE-BROKEN", `PNG does not decode (${reason}): copy or record it again`);
}
