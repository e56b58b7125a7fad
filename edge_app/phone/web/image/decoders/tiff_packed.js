/** The strips and tiles of a TIFF -> the bytes of its rows (TIFF 6.0, sections 9, 13, and supplement 1 for deflate). */

import { ImageError } from "../../errors.js";
import { truncated } from "../containers/container.js";
import { TIFF_DEFLATE, TIFF_LZW, TIFF_OLD_DEFLATE, TIFF_PACKBITS, TIFF_RAW } from "../containers/tiff.js";
import { packedSegment, tiffBytes } from "../containers/tiff_segments.js";

const [LZW_CLEAR, LZW_LAST, LZW_FIRST] = [256, 257, 258];
const [LZW_LEAST_BITS, LZW_MOST_BITS] = [9, 12];
const LZW_TABLE = 4096 + 1023; // as libtiff: some writers clear their table late
const EXTRA_MOST = 2; // times the bytes that a strip needs: the last one may be padded to its full height
const EXTRA_BYTES = 65_536;

/**
 * The decompressed rows of a plane: {stride, rows: Uint8Array [rows * stride]}. Tiles reach beyond the image's edges.
 * Throws ImageError: a strip is short or damaged; Error: LZW that makes no sense.
 */
export function tiffRows(bytes, tiff, plane, codecs) {
  const { tiled, width, height, across, down } = tiff.segments;
  const wide = Math.floor((width * Math.floor(tiff.samples / tiff.planes) * tiff.stored + 7) / 8);
  const stride = across * wide;
  const high = tiled ? down * height : tiff.height;
  const rows = new Uint8Array(stride * high);
  const counted = withCounts(tiff);
  for (let number = 0; number < across * down; number++) {
    const index = plane * across * down + number;
    const segment = tiffSegment(bytes, counted, index, codecs);
    const first = (Math.floor(number / across) * height * across + (number % across)) * wide;
    for (let at = 0, to = first; at < segment.length; at += wide, to += stride) rows.set(segment.subarray(at, at + wide), to);
  }
  return { stride, rows };
}

/** Without compression, the counts may be missing. */
function withCounts(tiff) {
  if (tiff.segments.counts.length) return tiff;
  return { ...tiff, segments: { ...tiff.segments, counts: tiff.segments.offsets.map((_, index) => tiffBytes(tiff, index)) } };
}

/** The decompressed bytes of one strip or tile, as many as it needs. */
function tiffSegment(bytes, tiff, index, codecs) {
  const needed = tiffBytes(tiff, index);
  const packed = packedSegment(bytes, tiff, index);
  switch (tiff.compression) {
    case TIFF_RAW:
      return packed.subarray(0, needed);
    case TIFF_LZW:
      return unpackLzw(packed, needed);
    case TIFF_DEFLATE:
    case TIFF_OLD_DEFLATE:
      return inflateSegment(packed, needed, index, codecs);
    case TIFF_PACKBITS:
      return unpackBits(packed, needed);
    default:
      throw new ImageError("E-IMAGE-PHONE", `a TIFF in ${tiff.compression} is not read on a phone: save it as PNG`);
  }
}

/** The whole stream, whose checksum counts; libtiff stops at the last row. */
function inflateSegment(packed, needed, index, codecs) {
  const found = new Uint8Array(needed);
  let length = 0;
  let ended = false;
  try {
    ended = codecs.inflate.parts([packed], (block) => {
      if (length < needed) found.set(block.subarray(0, needed - length), length);
      length += block.length;
      if (length > EXTRA_MOST * needed + EXTRA_BYTES) throw truncated(`strip or tile ${index + 1} of the TIFF`);
    });
  } catch (error) {
    if (error instanceof ImageError) throw error;
    const met = `strip or tile ${index + 1} of the TIFF does not inflate (${error.message})`;
    throw new ImageError("E-IMAGE-BROKEN", `${met}: copy or record it again`);
  }
  if (length < needed || !ended) throw truncated(`strip or tile ${index + 1} of the TIFF`);
  return found;
}

/** Section 9; the container's walk has found that the runs add up. */
function unpackBits(packed, needed) {
  const found = new Uint8Array(needed);
  for (let at = 0, to = 0; to < needed; ) {
    const length = packed[at++];
    if (length < 128) {
      found.set(packed.subarray(at, at + Math.min(length + 1, needed - to)), to);
      at += length + 1;
      to += length + 1;
    } else if (length > 128) {
      found.fill(packed[at++], to, to + 257 - length);
      to += 257 - length;
    }
  }
  return found;
}

/** Section 13: codes of 9 to 12 bits, highest bit first, each a string of bytes; the width grows one code early. */
function unpackLzw(packed, needed) {
  if (packed[0] === 0 && packed[1] & 1) throw new Error("LZW of the old kind, lowest bit first");
  const found = new Uint8Array(needed);
  // Of each code: where its string was written last, and how long it is. Codes below 256 are the bytes themselves.
  const place = new Int32Array(LZW_TABLE + 1);
  const lengths = new Int32Array(LZW_TABLE + 1);
  let next = LZW_FIRST;
  let bits = LZW_LEAST_BITS;
  let [held, count, at, to, last] = [0, 0, 0, 0, -1];
  while (to < needed) {
    while (count < bits) {
      if (at >= packed.length) throw new Error("LZW: not enough data");
      held = ((held << 8) | packed[at++]) & 0xffffff;
      count += 8;
    }
    count -= bits;
    const code = (held >> count) & ((1 << bits) - 1);
    if (code === LZW_LAST) throw new Error("LZW: not enough data");
    if (code === LZW_CLEAR) {
      [next, bits, last] = [LZW_FIRST, LZW_LEAST_BITS, -1];
      continue;
    }
    if (last < 0 ? code > 255 : code > next) throw new Error("LZW: a code that is not in the table");
    const start = to;
    if (code < 256) {
      found[to++] = code;
    } else {
      // A string that is being made ends with its own first byte, which is copied here after it was written.
      const own = code === next;
      const from = own ? last : place[code];
      const end = Math.min(needed, to + (own ? start - last + 1 : lengths[code]));
      for (let each = from; to < end; each++) found[to++] = found[each];
    }
    if (last >= 0) {
      if (next > LZW_TABLE) throw new Error("LZW: a table that is full");
      place[next] = last; // the string before, and one byte more, which stands behind it
      lengths[next] = start - last + 1;
      next++;
      if (next >= (1 << bits) - 1 && bits < LZW_MOST_BITS) bits++;
    }
    last = start;
  }
  return found;
}
