/** Files that limiar does not read: other picture formats, and files that are not pictures. Each is refused by its real name. */

import { ImageError } from "../../errors.js";
import { latin1 } from "./bytes.js";

const NOT_READ = "E-IMAGE-FORMAT";
const AS_PNG = "save it as PNG";

/** name: in messages, with its article; extensions: lower case, of pictures only, since someone may expect an answer for one. */
function foreign(name, extensions = [], cure = AS_PNG, code = NOT_READ) {
  return Object.freeze({ name, extensions, cure, code });
}

const RAW_EXTENSIONS =
  ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .raf .pef .srw .3fr .kdc .dcr .mrw .erf .mef .mos .rwl .iiq .x3f .fff .raw";
const SLIDE_EXTENSIONS = ".svs .ndpi .mrxs .scn .bif .vms .vsi .czi .zvi .lsm .lif .nd2 .oib .oif .ims .stk";

/** The formats that are refused by name; those without extensions are not pictures, or share another's. */
export const FOREIGN = Object.freeze({
  heic: foreign(
    "a HEIC picture, the format of an iPhone",
    [".heic", ".heif", ".heics", ".heifs", ".hif"],
    "convert it, for instance `heif-convert IN.heic OUT.png`, or set the phone to Most Compatible",
    "E-IMAGE-HEIC",
  ),
  dicom: foreign(
    "a DICOM file",
    [],
    "train or convert with --dicom-window, or export it with the window that the model was trained on, " +
      "for instance `dcm2img --write-png IN.dcm OUT.png`",
    "E-IMAGE-DICOM",
  ),
  avif: foreign("an AVIF picture", [".avif", ".avifs"], "convert it, for instance `avifdec IN.avif OUT.png`"),
  jpegXl: foreign("a JPEG XL picture", [".jxl"], "convert it, for instance `djxl IN.jxl OUT.png`"),
  jpeg2000: foreign(
    "a JPEG 2000 picture",
    [".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"],
    "convert it, for instance `opj_decompress -i IN.jp2 -o OUT.png`",
  ),
  jpegLs: foreign("a JPEG-LS picture", [".jls"]),
  jpegXr: foreign("a JPEG XR picture", [".jxr", ".wdp", ".hdp"]),
  gif: foreign("a GIF", [".gif"], "save one frame as PNG"),
  psd: foreign("a Photoshop document", [".psd", ".psb"], "export it as PNG"),
  exr: foreign("an OpenEXR picture", [".exr"], "export it as PNG, with the exposure that the model was trained on"),
  hdr: foreign("a Radiance HDR picture", [".hdr", ".pic"], "export it as PNG, with the exposure that the model was trained on"),
  raw: foreign(
    "a camera's raw file",
    RAW_EXTENSIONS.split(" "),
    "develop it to PNG or JPEG, for instance `darktable-cli IN.dng OUT.png`",
  ),
  icon: foreign("an icon", [".ico", ".cur", ".icns"]),
  old: foreign("a picture of an old format", [".tga", ".pcx", ".dds", ".sgi", ".ras", ".xbm", ".xpm", ".qoi"]),
  netpbm: foreign("a Netpbm picture other than PGM and PPM", [".pbm", ".pam", ".pfm"], "save it as PGM, PPM or PNG"),
  volume: foreign(
    "a medical volume",
    [".nii", ".nrrd", ".nhdr", ".mha", ".mhd"],
    "export its slices as PNG, as the model was trained on",
  ),
  slide: foreign(
    "a microscope's or slide scanner's file",
    SLIDE_EXTENSIONS.split(" "),
    "export its picture as TIFF or PNG, as the model was trained on",
  ),
  fits: foreign("a FITS file", [".fits", ".fit", ".fts"], "export it as PNG, with the stretch that the model was trained on"),
  mng: foreign("an MNG or JNG picture", [".mng", ".jng"]),
  bigTiff: foreign("a BigTIFF", [], "save it as TIFF or PNG"),
  svg: foreign("an SVG drawing", [], "draw it as PNG, for instance `rsvg-convert IN.svg -o OUT.png`"),
  video: foreign("a video", [], "give a picture; `limiar camera` reads videos"),
  pdf: foreign("a PDF document", [], "save its picture as PNG, for instance with `pdfimages`"),
  postScript: foreign("a PostScript document", [], "save its picture as PNG"),
  zip: foreign("a ZIP archive", [], "unpack it"),
  archive: foreign("a compressed archive", [], "unpack it"),
  executable: foreign("an executable", [], "give a picture"),
  script: foreign("a script", [], "give a picture"),
  database: foreign("a database", [], "give a picture"),
  html: foreign("a page of HTML or XML", [], "give a picture"),
});

/** Lower case, with their dot. */
export const FOREIGN_EXTENSIONS = new Set(Object.values(FOREIGN).flatMap((kind) => kind.extensions));

// How each format starts; the first match counts. The ftyp box of an ISO file names its kind in bytes 8 to 12.
// White space is that of Python's bytes: JavaScript's \s is more.
const FOREIGN_STARTS = [
  [/^....ftypcrx /s, FOREIGN.raw],
  [/^....ftyp(?:avif|avis)/s, FOREIGN.avif],
  [/^....ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|mif2|msf1|heif)/s, FOREIGN.heic],
  [/^(?:....ftyp|\x1aE\xdf\xa3|RIFF....AVI |....moov|\x00\x00\x01\xba)/s, FOREIGN.video],
  [/^.{128}DICM/s, FOREIGN.dicom],
  [/^(?:\xff\x0a|\x00\x00\x00\x0cJXL )/, FOREIGN.jpegXl],
  [/^(?:\x00\x00\x00\x0cjP {2}|\xff\x4f\xff\x51)/, FOREIGN.jpeg2000],
  [/^II\xbc\x01/, FOREIGN.jpegXr],
  [/^GIF8/, FOREIGN.gif],
  [/^8BPS/, FOREIGN.psd],
  [/^\x76\x2f\x31\x01/, FOREIGN.exr],
  [/^#\?(?:RADIANCE|RGBE)/, FOREIGN.hdr],
  [/^(?:II\*\x00....CR|FUJIFILMCCD-RAW|II..\x00\x00HEAPCCDR|IIR[OS]|MMOR|IIU\x00)/s, FOREIGN.raw],
  [/^(?:II\+\x00|MM\x00\+)/, FOREIGN.bigTiff],
  [/^(?:\x00\x00[\x01\x02]\x00[^\x00]\x00|icns)/, FOREIGN.icon],
  [
    /^(?:DDS |\x0a[\x00-\x05]\x01[\x01\x02\x04\x08]|qoif|\x01\xda[\x00\x01][\x01\x02]|\x59\xa6\x6a\x95|\/\* XPM)/,
    FOREIGN.old,
  ],
  [/^(?:P[147][ \t\n\r\f\v#]|P[Ff][ \t\n\r\f\v])/, FOREIGN.netpbm],
  [/^(?:ZISRAWFILE|\x70\x00\x00\x00.{4}\x2a|\xda\xce\xbe\x0a)/s, FOREIGN.slide],
  [/^SIMPLE {2}=/, FOREIGN.fits],
  [/^(?:\x8a[MJ]NG\r\n\x1a\n|\x8bJNG\r\n\x1a\n)/, FOREIGN.mng],
  [/^(?:\x5c\x01\x00\x00|NRRD|ObjectType|NDims)/, FOREIGN.volume],
  [/^(?:\xef\xbb\xbf)?[ \t\n\r\f\v]{0,64}(?:<\?xml[^>]{0,200}>[ \t\n\r\f\v]{0,64})?<svg/, FOREIGN.svg],
  [/^%PDF/, FOREIGN.pdf],
  [/^%!PS/, FOREIGN.postScript],
  [/^PK[\x03\x05]/, FOREIGN.zip],
  [/^(?:\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!)/, FOREIGN.archive],
  [/^(?:\x7fELF|MZ|\xca\xfe\xba\xbe|\xcf\xfa\xed\xfe)/, FOREIGN.executable],
  [/^(?:#!|<\?php)/, FOREIGN.script],
  [/^SQLite format 3/, FOREIGN.database],
  [/^(?:\xef\xbb\xbf)?[ \t\n\r\f\v]{0,64}<(?:!doctype|html|head|body|script|\?xml)/i, FOREIGN.html],
];
const FOREIGN_HEAD = 512; // bytes: the longest of these takes 344

/** The foreign format that starts at byte `at`, if it is known: one of FOREIGN, or null. */
export function recognise(bytes, at = 0) {
  const head = latin1(bytes, at, FOREIGN_HEAD);
  return FOREIGN_STARTS.find(([start]) => start.test(head))?.[1] ?? null;
}

/** kind: one of FOREIGN. */
export function refusal(kind) {
  return new ImageError(kind.code, `${kind.name}, which is not read here: ${kind.cure}`);
}
