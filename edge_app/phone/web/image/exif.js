/** The orientation in EXIF, where and as Pillow finds it (Image.Exif, ImageFileDirectory_v2): damaged EXIF turns nothing. */

const ORIENTATION_TAG = 0x0112; // EXIF 2.32, tag 274
const EXIF_PREFIX = [0x45, 0x78, 0x69, 0x66, 0, 0]; // "Exif", NUL, NUL: up to twice
const EXIF_HEAD_BYTES = 8;
const EXIF_HEADS = new Set(["77,77,0,42", "73,73,42,0", "77,77,42,0", "73,73,0,42", "77,77,0,43"]);
// TIFF 6.0, section 2: type -> bytes of a value; 13 is a directory, 16 has 64 bits
const EXIF_SIZES = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8 };
const EXIF_NUMBERS = {
  3: (view, at, little) => view.getUint16(at, little),
  4: (view, at, little) => view.getUint32(at, little),
  5: (view, at, little) => view.getUint32(at, little) / view.getUint32(at + 4, little),
  6: (view, at) => view.getInt8(at),
  8: (view, at, little) => view.getInt16(at, little),
  9: (view, at, little) => view.getInt32(at, little),
  10: (view, at, little) => view.getInt32(at, little) / view.getInt32(at + 4, little),
  11: (view, at, little) => view.getFloat32(at, little),
  12: (view, at, little) => view.getFloat64(at, little),
  13: (view, at, little) => view.getUint32(at, little),
  16: (view, at, little) => Number(view.getBigUint64(at, little)),
};

/** EXIF, a TIFF with or without "Exif" in front (Uint8Array) -> 1..8; 1 if it is damaged or says nothing. */
export function exifOrientation(exif) {
  let start = 0;
  const prefixed = () => EXIF_PREFIX.every((byte, at) => exif[start + at] === byte);
  while (start < 2 * EXIF_PREFIX.length && prefixed()) start += EXIF_PREFIX.length;
  const tiff = exif.subarray(start);
  if (tiff.length < EXIF_HEAD_BYTES || !EXIF_HEADS.has(tiff.subarray(0, 4).join())) return 1;
  const value = orientationIn(new DataView(tiff.buffer, tiff.byteOffset, tiff.length), tiff[0] === 0x49);
  return Number.isInteger(value) && value >= 1 && value <= 8 ? value : 1;
}

/** The first value of the first entry with that tag that can be read, or null. A cut ends the directory. */
function orientationIn(view, little) {
  const directory = view.getUint32(4, little);
  if (directory + 2 > view.byteLength) return null;
  const count = view.getUint16(directory, little);
  const known = new Set();
  let elsewhere = 0; // bytes of values outside the directory, at most as many as the whole
  for (let entry = directory + 2, end = entry + 12 * count; entry < end && entry + 12 <= view.byteLength; entry += 12) {
    const tag = view.getUint16(entry, little);
    const kind = view.getUint16(entry + 2, little);
    const size = view.getUint32(entry + 4, little) * (EXIF_SIZES[kind] ?? 0);
    if (size === 0 || known.has(tag)) continue;
    let place = entry + 8;
    if (size > 4) {
      place = view.getUint32(entry + 8, little);
      elsewhere += size;
      if (elsewhere > view.byteLength) continue;
      if (place + size > view.byteLength) return null;
    }
    known.add(tag);
    if (tag === ORIENTATION_TAG) return EXIF_NUMBERS[kind]?.(view, place, little) ?? null;
  }
  return null;
}
