/**
 * Checks that an image file is whole, of one format, one image, and nothing more: edge_app/image/containers, once more.
 *
 * Decoders are lenient, so each container is walked here before a decoder sees it. Formats: PNG, JPEG, BMP, WebP, TIFF, PGM
 * and PPM; DICOM is refused by name, since no rule for it runs on a phone.
 */

import { ImageError } from "../../errors.js";
import { inspectBmp } from "./bmp.js";
import { holdsAt, latin1, shownBytes } from "./bytes.js";
import { FOREIGN, FOREIGN_EXTENSIONS, recognise, refusal } from "./foreign.js";
import { inspectJpeg } from "./jpeg.js";
import { inspectPng } from "./png.js";
import { inspectPnm } from "./pnm.js";
import { inspectTiff } from "./tiff.js";
import { inspectWebp } from "./webp.js";

const EXTENSIONS = {
  PNG: [".png"],
  JPEG: [".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"],
  BMP: [".bmp", ".dib"],
  WEBP: [".webp"],
  TIFF: [".tif", ".tiff"],
  PPM: [".pgm", ".ppm", ".pnm"],
  DICOM: [".dcm", ".dicom", ".dic"],
};
const HEAD_BYTES = 512; // a sector
const PREAMBLE = 128; // bytes
const FORMAT_STARTS = {
  PNG: ["\x89PNG\r\n\x1a\n"],
  JPEG: ["\xff\xd8\xff"],
  WEBP: ["RIFF"],
  TIFF: ["II*\x00", "MM\x00*"],
  PPM: ["P2", "P3", "P5", "P6"],
  BMP: ["BM"],
};
const INSPECT = {
  PNG: inspectPng,
  JPEG: inspectJpeg,
  WEBP: inspectWebp,
  TIFF: inspectTiff,
  PPM: inspectPnm,
  BMP: inspectBmp,
};
const CERTAIN = ["PNG", "JPEG", "WEBP", "TIFF", "DICOM"];

/** Lower case, with their dot. */
export const IMAGE_EXTENSIONS = new Set(Object.values(EXTENSIONS).flat());

/** Walks the container of a file: if it has the extension of a picture, that must fit the content. Throws ImageError. */
export function inspectNamed(bytes, name) {
  const held = heldFormat(bytes);
  if (held === "DICOM") throw refusal(FOREIGN.dicom);
  checkRaw(bytes, name);
  const extension = extensionOf(name);
  if (EXTENSIONS.DICOM.includes(extension) && !isNul(bytes) && !held && !recognise(bytes)) {
    const met = `named ${extension}, but without the mark DICM of a DICOM file`;
    throw new ImageError("E-IMAGE-FORMAT", `${met}: write it again as a file, for instance \`dcmconv IN.dcm OUT.dcm\``);
  }
  const container = inspectContainer(bytes, held);
  checkName(bytes, name);
  return container;
}

/** Checks the name of an image that was read before, perhaps under another name. Throws ImageError. */
export function checkName(bytes, name) {
  checkRaw(bytes, name);
  const [extension, held] = [extensionOf(name), heldFormat(bytes)];
  const named = IMAGE_EXTENSIONS.has(extension) || FOREIGN_EXTENSIONS.has(extension);
  if (held && named && !EXTENSIONS[held].includes(extension)) {
    throw new ImageError("E-IMAGE-EXTENSION", `named ${extension}, but it is ${held}: name it for what it is`);
  }
}

/** Whether a file is a picture by its first bytes. BMP and PGM do not count: text can begin with their two letters. */
export function holdsPicture(head) {
  return CERTAIN.includes(heldFormat(head)) || [FOREIGN.heic, FOREIGN.avif, FOREIGN.gif].includes(recognise(head));
}

/** The extension of a path or name, lower case and with its dot, or "": dots at the start of a name do not count. */
export function extensionOf(name) {
  const last = name.slice(name.lastIndexOf("/") + 1);
  const bare = last.replace(/^\.+/, "");
  const dot = bare.lastIndexOf(".");
  return dot < 0 ? "" : bare.slice(dot).toLowerCase();
}

/** A decoder would read the thumbnail of a raw file. */
function checkRaw(bytes, name) {
  if (!FORMAT_STARTS.TIFF.some((start) => holdsAt(bytes, start, 0))) return;
  for (const kind of [FOREIGN.raw, FOREIGN.slide]) if (kind.extensions.includes(extensionOf(name))) throw refusal(kind);
}

/** A key of EXTENSIONS, or null. */
function heldFormat(bytes) {
  if (holdsAt(bytes, "DICM", PREAMBLE)) return "DICOM"; // first: a preamble may be the head of a TIFF (PS3.10, 7.1)
  const starts = Object.entries(FORMAT_STARTS).find(([, marks]) => marks.some((mark) => holdsAt(bytes, mark, 0)));
  if (!starts || (starts[0] === "WEBP" && !holdsAt(bytes, "WEBP", 8))) return null;
  return starts[0];
}

/** Throws ImageError: another format, truncated, broken, more than one image. */
function inspectContainer(bytes, held) {
  if (!bytes.length) throw new ImageError("E-IMAGE-EMPTY", "the file has 0 bytes: write it again");
  const foreign = recognise(bytes);
  if (held === "TIFF" && foreign === FOREIGN.raw) throw refusal(FOREIGN.raw);
  if (held) return INSPECT[held](bytes);
  if (foreign) throw refusal(foreign);
  if (isNul(bytes)) {
    // what a card returns for a file that it has lost
    throw new ImageError("E-IMAGE-FORMAT", "starts with nothing but NUL bytes: copy or record it again");
  }
  if (holdsAt(bytes, "\x89PNG", 0)) {
    // PNG 5.2: the signature was designed to show this
    const met = "a PNG whose first bytes were changed, as by a transfer in text mode";
    throw new ImageError("E-IMAGE-FORMAT", `${met}: copy it again`);
  }
  const met = `starts with ${shownBytes(bytes, 0, 8)}: not PNG, JPEG, BMP, WebP, TIFF, PGM or PPM`;
  throw new ImageError("E-IMAGE-FORMAT", `${met}: save it as one of these`);
}

function isNul(bytes) {
  return !/[^\x00]/.test(latin1(bytes, 0, HEAD_BYTES));
}
