/** TIFF 6.0: directories that point anywhere in the file, and strips or tiles of pixels. */

import { ImageError } from "../../errors.js";
import { bigNumber, littleNumber } from "./bytes.js";
import { PIXELS_MP_PADDED, PIXELS_MP_TWICE, SIDE_PX, checkEnd, checkPixels, truncated, unreadDepth } from "./container.js";
import { checkSegments, tiffBytes } from "./tiff_segments.js";

// TIFF 6.0, section 2: bytes of a value, by its type
const TIFF_SIZES = [1, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4];
const WHOLE_TYPES = [1, 3, 4, 13]; // those types that are unsigned integers
const PIXEL_TAGS = [
  [273, 279],
  [324, 325],
]; // offsets of strips or tiles, and their byte counts
const SUB_IMAGES = 330; // directories of further images
const DIRECTORY_TAGS = [34665, 34853, 40965]; // directories of EXIF, GPS, interoperability
const LEADING_TAGS = new Set([SUB_IMAGES, ...PIXEL_TAGS.flat(), ...DIRECTORY_TAGS]);
const TAG_VALUES = 4 * SIDE_PX; // at most, of one tag: a strip for every row of every channel
const LAYOUT_TAGS = new Set([256, 257, 258, 259, 262, 266, 274, 277, 278, 281, 284, 317, 322, 323, 338, 339, 341, 530]);

export const TIFF_RAW = 1;
export const TIFF_GROUP4 = 4;
export const TIFF_LZW = 5;
export const TIFF_JPEG = 7;
export const TIFF_DEFLATE = 8;
export const TIFF_PACKBITS = 32773;
export const TIFF_OLD_DEFLATE = 32946;
export const TIFF_LZMA = 34925;
export const TIFF_ZSTD = 50000;
const COMPRESSIONS = [1, 4, 5, 7, 8, 32773, 32946, 34925, 50000];
const OTHER_COMPRESSIONS = {
  2: "CCITT",
  3: "CCITT group 3",
  6: "JPEG of the old kind",
  50001: "WebP",
  34676: "SGILog",
  34712: "JPEG 2000",
};
// PhotometricInterpretation
export const WHITE_IS_ZERO = 0;
export const BLACK_IS_ZERO = 1;
export const TIFF_RGB = 2;
export const TIFF_PALETTE = 3;
export const TIFF_YCBCR = 6;
const SAMPLES_MOST = 8; // per pixel; real images have up to four

/**
 * Checks that the file has all directories, values and pixels, and nothing more (TIFF 6.0, section 2). Throws ImageError.
 *
 * They may be anywhere in the file. Sizes are computed from the tags, and strips are checked as far as possible, before a
 * decoder runs; those of deflate the decoder checks, which inflates them anyway.
 *
 * order: "little" or "big"; width, height: as stored, before orientation; depth: bits a sample; stored: bits that a sample takes
 * up, 16 for 12 or 14 bits that are not packed; samples: of a pixel; extra: for each sample beyond grey or RGB, 0 anything, 1
 * alpha that is multiplied in, 2 alpha; planes: 1, or one for each sample; reversedBits: FillOrder 2; orientation: 1..8;
 * declared: the largest value that a sample may have, if the file says so, or null; subsampling: of YCbCr, across and down;
 * segments: {tiled, width, height, across, down, offsets, counts}, in strips as wide as the image or in tiles, plane by plane,
 * row by row.
 */
export function inspectTiff(bytes) {
  const number = bytes[0] === 0x49 ? littleNumber : bigNumber;
  const directories = [number(bytes, 4, 4)];
  let end = 8;
  let tags = new Map();
  for (let index = 0; index < directories.length; index++) {
    if (index > DIRECTORY_TAGS.length) {
      throw new ImageError("E-IMAGE-BROKEN", "a TIFF whose directories point to each other: write it again");
    }
    const { values, stop, last } = tiffDirectory(bytes, directories[index], number);
    if (index === 0 && (number(bytes, stop - 4, 4) || values.has(SUB_IMAGES))) {
      throw new ImageError("E-IMAGE-FRAMES", "a TIFF with more than one image: save one");
    }
    end = Math.max(end, last);
    for (const [offsets, counts] of PIXEL_TAGS) {
      const [places, lengths] = [values.get(offsets) ?? [], values.get(counts) ?? []];
      for (let i = 0; i < Math.min(places.length, lengths.length); i++) end = Math.max(end, places[i] + lengths[i]);
    }
    for (const tag of DIRECTORY_TAGS) if (values.get(tag)?.length) directories.push(values.get(tag)[0]);
    if (!tags.size) tags = values;
  }
  if (bytes.length === end + 1) end += end % 2; // parts begin at even bytes: one byte may be padding
  const trailing = checkEnd(bytes, end, "TIFF");
  const tiff = { ...tiffLayout(tags, number === littleNumber ? "little" : "big"), trailing };
  checkSegments(bytes, tiff);
  return tiff;
}

/** The values of the tags that are needed, the directory's end, and the last end of it and of its tags' values. */
function tiffDirectory(bytes, at, number) {
  const stop = at + 2 + 12 * number(bytes, at, 2) + 4;
  if (stop > bytes.length) throw truncated("a TIFF directory");
  const places = new Map();
  let last = stop;
  for (let entry = at + 2; entry < stop - 4; entry += 12) {
    const [tag, kind, count] = [number(bytes, entry, 2), number(bytes, entry + 2, 2), number(bytes, entry + 4, 4)];
    const size = TIFF_SIZES[kind] ?? 1;
    const first = size * count <= 4 ? entry + 8 : number(bytes, entry + 8, 4);
    last = Math.max(last, first + size * count);
    const leading = LEADING_TAGS.has(tag);
    if (leading && (count > TAG_VALUES || size > 4)) {
      throw new ImageError("E-IMAGE-BROKEN", `TIFF tag ${tag} with ${count} values: write it again`);
    }
    if (leading || (LAYOUT_TAGS.has(tag) && WHOLE_TYPES.includes(kind) && count <= TAG_VALUES)) {
      places.set(tag, { first, size, count });
    }
  }
  // Read once each: an entry of a tag that repeats is 12 bytes, and may name 262,140 values.
  const values = new Map();
  for (const [tag, { first, size, count }] of places) {
    values.set(tag, Array.from({ length: count }, (_, i) => number(bytes, first + i * size, size)));
  }
  return { values, stop, last };
}

/** What the tags say about the pixels. Throws ImageError: limiar does not read it, or it is too large for memory. */
function tiffLayout(tags, order) {
  const one = (tag, otherwise) => tags.get(tag)?.[0] ?? otherwise;
  const all = (tag, otherwise) => (tags.get(tag)?.length ? tags.get(tag) : otherwise);
  // Without PhotometricInterpretation, some decoders take 0 for white and others for black.
  const missing = [256, 257, 262].find((tag) => one(tag) === undefined);
  if (missing) throw new ImageError("E-IMAGE-BROKEN", `a TIFF without tag ${missing}: write it again`);
  const [width, height, samples] = [one(256), one(257), one(277, 1)];
  if (width < 1 || height < 1) throw new ImageError("E-IMAGE-BROKEN", `${width}x${height} pixels: write it again`);
  checkPixels("TIFF", width, height, PIXELS_MP_TWICE);
  const depth = tiffDepth(all(258, [1]), all(339, [1]));
  if (samples < 1 || samples > SAMPLES_MOST) {
    throw new ImageError("E-IMAGE-COLOUR", `a TIFF with ${samples} samples a pixel: save it as grey or RGB`);
  }
  const [photometric, compression, predictor] = [one(262), one(259, TIFF_RAW), one(317, 1)];
  checkCompression(compression, predictor, photometric === TIFF_PALETTE && one(266) === 2);
  const planes = one(284, 1) === 2 ? samples : 1;
  const subsampling = tags.get(530) ?? [];
  const tiff = {
    format: "TIFF",
    bits: depth,
    decoderMp: PIXELS_MP_TWICE,
    order,
    width,
    height,
    depth,
    stored: depth,
    samples,
    extra: tags.get(338) ?? [],
    photometric,
    compression,
    planes,
    reversedBits: one(266) === 2,
    predictor,
    orientation: one(274, 1) >= 1 && one(274, 1) <= 8 ? one(274, 1) : 1,
    declared: declaredMost(depth, tags),
    subsampling: subsampling.length === 2 && Math.min(...subsampling) > 0 ? subsampling : [2, 2],
    segments: tiffSegments(tags, width, height, planes),
  };
  // Some writers say 12 or 14 bits and use 16 for each sample: only the lengths tell.
  const loose = { ...tiff, stored: 16 };
  const fits = () => tiff.segments.counts.every((count, index) => count === tiffBytes(loose, index));
  return depth > 8 && compression === TIFF_RAW && fits() ? loose : tiff;
}

/** Bits a sample. Throws ImageError: not all the same, not whole numbers, or too many. */
function tiffDepth(depths, formats) {
  if (new Set(depths).size > 1) {
    const met = `a TIFF whose samples have ${depths.slice(0, SAMPLES_MOST).join(", ")} bits`;
    throw new ImageError("E-IMAGE-DEPTH", `${met}: save it with 8 bits for each`);
  }
  if (formats.some((format) => format !== 1) || depths[0] < 1 || depths[0] > 16) {
    const kind = { 2: "signed ", 3: "floating-point " }[formats[0]] ?? "";
    throw unreadDepth(`a TIFF with ${depths[0]} ${kind}bits a sample`);
  }
  return depths[0];
}

/** Throws ImageError: a compression, or what goes with it, that is not read, or that decoders read differently. */
function checkCompression(compression, predictor, reversedPalette) {
  const refuse = (met, cure) => new ImageError("E-IMAGE-FORMAT", `${met}: ${cure}`);
  if (!COMPRESSIONS.includes(compression)) {
    const name = OTHER_COMPRESSIONS[compression] ?? `compression ${compression}`;
    throw refuse(`a TIFF in ${name}, which is not in the image rules`, "save it uncompressed, or in deflate");
  }
  if (predictor !== 1 && (compression === TIFF_RAW || compression === TIFF_PACKBITS)) {
    const met = `a TIFF with predictor ${predictor} and compression ${compression}, which decoders read differently`;
    throw refuse(met, "save it without a predictor, or in deflate");
  }
  if (reversedPalette && compression === TIFF_RAW) {
    throw refuse("a TIFF with a palette whose bits are stored in reverse", "save it in LZW or deflate");
  }
}

/**
 * The largest value of a sample, or null: by BitsPerSample, or by MaxSampleValue or SMaxSampleValue if that is 2^n - 1.
 *
 * Other values declare nothing: many writers put the image's own largest value there (TIFF 6.0, section 8).
 */
function declaredMost(depth, tags) {
  const named = [281, 341].filter((tag) => tags.get(tag)?.length).map((tag) => tags.get(tag).reduce((a, b) => Math.max(a, b)));
  const ranges = named.filter((most) => {
    const bits = most < 2 ** 31 ? 32 - Math.clz32(most) : 32;
    return bits >= 8 && bits < depth && most + 1 === 2 ** bits;
  });
  return ranges.length ? Math.min(...ranges) : depth < 16 ? (1 << depth) - 1 : null;
}

function tiffSegments(tags, width, height, planes) {
  const tiled = tags.has(324);
  const one = (tag, otherwise) => tags.get(tag)?.[0] ?? otherwise;
  const wide = tiled ? one(322, 0) : width;
  const high = tiled ? one(323, 0) : Math.min(height, one(278, height));
  if (wide < 1 || high < 1) {
    throw new ImageError("E-IMAGE-BROKEN", `a TIFF with strips or tiles of ${wide}x${high} pixels: write it again`);
  }
  const [across, down] = [Math.ceil(width / wide), Math.ceil(height / high)];
  if (tiled) {
    // a decoder allocates whole tiles
    checkPixels("TIFF's tile", wide, high, PIXELS_MP_TWICE);
    checkPixels("TIFF with its tiles", across * wide, down * high, PIXELS_MP_PADDED);
  }
  const [offsets, counts] = (tiled ? [324, 325] : [273, 279]).map((tag) => tags.get(tag) ?? []);
  const needed = across * down * planes;
  if (!offsets.length) throw new ImageError("E-IMAGE-BROKEN", "a TIFF without pixels: write it again");
  if (offsets.length < needed || ![0, offsets.length].includes(counts.length)) {
    const met = `a TIFF with ${offsets.length} offsets and ${counts.length} byte counts for ${needed} strips or tiles`;
    throw new ImageError("E-IMAGE-TRUNCATED", `${met}: copy or record it again`);
  }
  return { tiled, width: wide, height: high, across, down, offsets: offsets.slice(0, needed), counts: counts.slice(0, needed) };
}
