/** BMP (Microsoft, "Bitmap Storage"): a header that says where the pixels are and, often wrongly, how long the file is. */

import { ImageError } from "../../errors.js";
import { littleNumber } from "./bytes.js";
import { PIXELS_MP, checkEnd, checkPixels, truncated } from "./container.js";

const FILE_HEADER = 14;
const CORE = 12; // OS/2 1.x: sides of 16 bits, a palette of three bytes a colour
const BMP_HEADERS = [CORE, 40, 52, 56, 64, 108, 124]; // OS/2 1.x, Windows 3, 2 and 3 with masks, OS/2 2.x, Windows 4, 5
const BMP_PLAIN = 0;
export const BMP_RLE8 = 1;
export const BMP_RLE4 = 2;
export const BMP_MASKS = 3;
const BMP_DEPTHS = [[1, 4, 8, 16, 24, 32], [8], [4], [16, 24, 32]]; // by compression
const HELD_IN_BMP = { 4: "a JPEG", 5: "a PNG" };

/**
 * Reads sides, depth and palette, and checks that all pixels are there. Throws ImageError.
 *
 * The size field counts only if it is larger than that: many writers leave it 0, or do not count the header.
 *
 * depth: bits a pixel; palette: where it starts; colours: in it; offset: of the pixels; rowBytes: padded to a multiple of
 * four, 0 in run-length coding; end: of the pixels.
 */
export function inspectBmp(bytes) {
  const { header, width, height, topDown, depth, compression, size, used } = bmpHeader(bytes);
  if (width < 1 || height < 1) throw new ImageError("E-IMAGE-BROKEN", `${width}x${height} pixels: write it again`);
  checkPixels("BMP", width, height, PIXELS_MP);
  if (compression in HELD_IN_BMP) {
    const met = `a BMP that contains ${HELD_IN_BMP[compression]}`;
    throw new ImageError("E-IMAGE-FORMAT", `${met}: save that as a file of its own`);
  }
  if (!BMP_DEPTHS[compression]?.includes(depth)) {
    throw new ImageError("E-IMAGE-BROKEN", `a BMP with ${depth} bits and compression ${compression}: write it again`);
  }
  const palette = FILE_HEADER + header + (compression === BMP_MASKS && header === 40 ? 12 : 0);
  const colourBytes = header === CORE ? 3 : 4;
  let colours = depth <= 8 ? Math.min(used || 1 << depth, 1 << depth) : 0;
  let offset = littleNumber(bytes, 10, 4);
  // Careless writers leave out the palette, or write 0.
  if (!offset || (offset === palette && colours)) offset = palette + colours * colourBytes;
  if (offset < palette) {
    const met = `a BMP whose pixels start at byte ${offset}, inside its header`;
    throw new ImageError("E-IMAGE-BROKEN", `${met}: write it again`);
  }
  colours = Math.min(colours, Math.floor((offset - palette) / colourBytes));
  if (depth <= 8 && colours < 1) throw new ImageError("E-IMAGE-BROKEN", "a BMP without its palette: write it again");
  const plain = compression === BMP_PLAIN || compression === BMP_MASKS;
  const rowBytes = plain ? Math.floor((width * depth + 31) / 32) * 4 : 0;
  const end = offset + (rowBytes ? rowBytes * height : size || bytes.length - offset);
  const said = littleNumber(bytes, 2, 4);
  if (Math.max(end, said) > bytes.length) throw truncated("the BMP");
  const profileBytes = header === 124 ? littleNumber(bytes, 130, 4) : 0;
  const profile = profileBytes ? littleNumber(bytes, 126, 4) + profileBytes + FILE_HEADER : 0;
  const trailing = checkEnd(bytes, Math.max(end, said, profile), "BMP");
  return {
    format: "BMP",
    bits: null,
    decoderMp: PIXELS_MP,
    trailing,
    width,
    height,
    topDown,
    depth,
    compression,
    palette,
    colours,
    colourBytes,
    offset,
    rowBytes,
    end,
  };
}

/** The fields of the second header. Throws ImageError. */
function bmpHeader(bytes) {
  if (bytes.length < FILE_HEADER + CORE) throw truncated("the BMP header");
  const header = littleNumber(bytes, 14, 4);
  if (!BMP_HEADERS.includes(header)) {
    throw new ImageError("E-IMAGE-BROKEN", `a BMP with a header of ${header} bytes: write it again`);
  }
  if (bytes.length < FILE_HEADER + header) throw truncated("the BMP header");
  if (header === CORE) {
    const [width, height, depth] = [18, 20, 24].map((at) => littleNumber(bytes, at, 2));
    return { header, width, height, topDown: false, depth, compression: 0, size: 0, used: 0 };
  }
  const [width, height] = [18, 22].map((at) => littleNumber(bytes, at, 4) | 0); // signed
  const [compression, size, used] = [30, 34, 46].map((at) => littleNumber(bytes, at, 4));
  const depth = littleNumber(bytes, 28, 2);
  return { header, width, height: Math.abs(height), topDown: height < 0, depth, compression, size, used };
}
