/** RFC 1950 by pako, which the vendored script leaves in `globalThis.pako`: whole streams only, with their checksum. */

const PIECE_BYTES = 1 << 14; // of deflated data at a time, and
const BLOCK_BYTES = 65535; // of what comes out: as edge_app/image/decoders/png.py takes them
const SYNC_FLUSH = 2; // pako's Z_SYNC_FLUSH: what there is comes out after each piece
const WINDOW_BITS = 15; // given, so that pako takes zlib's format alone

/**
 * Inflates one zlib stream that lies in `parts` (an iterable of Uint8Array). take(Uint8Array) gets the inflated bytes in blocks
 * of 1..65535. Returns true at the stream's end, whose checksum is compared; false if the data end before it. Throws Error.
 */
export function inflateParts(parts, take) {
  const stream = new globalThis.pako.Inflate({ windowBits: WINDOW_BITS, chunkSize: BLOCK_BYTES });
  stream.onData = take;
  for (const part of parts) {
    for (let at = 0; at < part.length && !stream.ended; at += PIECE_BYTES) {
      stream.push(part.subarray(at, at + PIECE_BYTES), SYNC_FLUSH);
      if (stream.err) throw new Error(`inflate: ${stream.msg}`);
    }
  }
  return stream.ended;
}

/** The zlib stream at the start of `data`, at most `most` bytes of it: Uint8Array. Throws Error: damaged, cut, or longer. */
export function inflateWhole(data, most) {
  const whole = new Uint8Array(most);
  let length = 0;
  const ended = inflateParts([data], (block) => {
    if (length + block.length > most) throw new Error(`inflate: more than ${most} bytes`);
    whole.set(block, length);
    length += block.length;
  });
  if (!ended) throw new Error("inflate: truncated data");
  return whole.subarray(0, length);
}
