"""Files that limiar does not read: other picture formats, and files that are not pictures. Each is refused by its real name."""

import re

import msgspec

from limiar.edge_app.errors import ImageError


class Foreign(msgspec.Struct, frozen=True):
    """A format that limiar does not read."""

    name: str  # in messages, with its article
    extensions: tuple[str, ...] = ()  # lower case; for pictures only, since someone may expect an answer for such a file
    cure: str = "save it as PNG"
    code: str = "E-IMAGE-FORMAT"


HEIC = Foreign(
    "a HEIC picture, the format of an iPhone",
    (".heic", ".heif", ".heics", ".heifs", ".hif"),
    "convert it, for instance `heif-convert IN.heic OUT.png`, or set the phone to Most Compatible",
    "E-IMAGE-HEIC",
)
DICOM = Foreign(  # for a bundle without a rule for it
    "a DICOM file",
    cure="train or convert with --dicom-window, or export it with the window that the model was trained on, "
    "for instance `dcm2img --write-png IN.dcm OUT.png`",
    code="E-IMAGE-DICOM",
)
AVIF = Foreign("an AVIF picture", (".avif", ".avifs"), "convert it, for instance `avifdec IN.avif OUT.png`")
JPEG_XL = Foreign("a JPEG XL picture", (".jxl",), "convert it, for instance `djxl IN.jxl OUT.png`")
JPEG_2000 = Foreign(
    "a JPEG 2000 picture",
    (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "convert it, for instance `opj_decompress -i IN.jp2 -o OUT.png`",
)
JPEG_LS = Foreign("a JPEG-LS picture", (".jls",))
JPEG_XR = Foreign("a JPEG XR picture", (".jxr", ".wdp", ".hdp"))
GIF = Foreign("a GIF", (".gif",), "save one frame as PNG")
PSD = Foreign("a Photoshop document", (".psd", ".psb"), "export it as PNG")
EXR = Foreign("an OpenEXR picture", (".exr",), "export it as PNG, with the exposure that the model was trained on")
HDR = Foreign("a Radiance HDR picture", (".hdr", ".pic"), "export it as PNG, with the exposure that the model was trained on")
RAW = Foreign(
    "a camera's raw file",
    (
        *(
            ".dng",
            ".cr2",
            ".cr3",
            ".crw",
            ".nef",
            ".nrw",
            ".arw",
            ".srf",
            ".sr2",
            ".orf",
            ".rw2",
            ".raf",
            ".pef",
            ".srw",
            ".3fr",
        ),
        *(".kdc", ".dcr", ".mrw", ".erf", ".mef", ".mos", ".rwl", ".iiq", ".x3f", ".fff", ".raw"),
    ),
    "develop it to PNG or JPEG, for instance `darktable-cli IN.dng OUT.png`",
)
ICON = Foreign("an icon", (".ico", ".cur", ".icns"))
OLD = Foreign("a picture of an old format", (".tga", ".pcx", ".dds", ".sgi", ".ras", ".xbm", ".xpm", ".qoi"))
NETPBM = Foreign("a Netpbm picture other than PGM and PPM", (".pbm", ".pam", ".pfm"), "save it as PGM, PPM or PNG")
VOLUME = Foreign(
    "a medical volume", (".nii", ".nrrd", ".nhdr", ".mha", ".mhd"), "export its slices as PNG, as the model was trained on"
)
SLIDE = Foreign(
    "a microscope's or slide scanner's file",
    (
        ".svs",
        ".ndpi",
        ".mrxs",
        ".scn",
        ".bif",
        ".vms",
        ".vsi",
        ".czi",
        ".zvi",
        ".lsm",
        ".lif",
        ".nd2",
        ".oib",
        ".oif",
        ".ims",
        ".stk",
    ),
    "export its picture as TIFF or PNG, as the model was trained on",
)
FITS = Foreign("a FITS file", (".fits", ".fit", ".fts"), "export it as PNG, with the stretch that the model was trained on")
MNG = Foreign("an MNG or JNG picture", (".mng", ".jng"))
PICTURES = (
    HEIC,
    AVIF,
    JPEG_XL,
    JPEG_2000,
    JPEG_LS,
    JPEG_XR,
    GIF,
    PSD,
    EXR,
    HDR,
    RAW,
    ICON,
    OLD,
    NETPBM,
    VOLUME,
    SLIDE,
    FITS,
    MNG,
)
FOREIGN_EXTENSIONS = frozenset(extension for foreign in PICTURES for extension in foreign.extensions)

BIG_TIFF = Foreign("a BigTIFF", cure="save it as TIFF or PNG")
SVG = Foreign("an SVG drawing", cure="draw it as PNG, for instance `rsvg-convert IN.svg -o OUT.png`")
VIDEO = Foreign("a video", cure="give a picture; `limiar camera` reads videos")
_PICTURE = "give a picture"
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"heif")

# How each format starts; the first match counts. The ftyp box of an ISO file names its kind in bytes 8 to 12.
_STARTS: tuple[tuple[bytes, Foreign], ...] = (
    (rb"....ftypcrx ", RAW),
    (rb"....ftyp(?:avif|avis)", AVIF),
    (rb"....ftyp(?:" + b"|".join(_HEIF) + rb")", HEIC),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI |....moov|\0\0\x01\xba", VIDEO),
    (rb".{128}DICM", DICOM),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", JPEG_XL),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", JPEG_2000),
    (rb"II\xbc\x01", JPEG_XR),
    (rb"GIF8", GIF),
    (rb"8BPS", PSD),
    (rb"\x76\x2f\x31\x01", EXR),
    (rb"#\?(?:RADIANCE|RGBE)", HDR),
    (rb"II\*\0....CR|FUJIFILMCCD-RAW|II..\0\0HEAPCCDR|IIR[OS]|MMOR|IIU\0", RAW),
    (rb"II\+\0|MM\0\+", BIG_TIFF),
    (rb"\0\0[\x01\x02]\0[^\0]\0|icns", ICON),
    (rb"DDS |\x0a[\0-\x05]\x01[\x01\x02\x04\x08]|qoif|\x01\xda[\0\x01][\x01\x02]|\x59\xa6\x6a\x95|/\* XPM", OLD),
    (rb"P[147][\s#]|P[Ff]\s", NETPBM),
    (rb"ZISRAWFILE|\x70\0\0\0.{4}\x2a|\xda\xce\xbe\x0a", SLIDE),
    (rb"SIMPLE  =", FITS),
    (rb"\x8a[MJ]NG\r\n\x1a\n|\x8bJNG\r\n\x1a\n", MNG),
    (rb"\x5c\x01\0\0|NRRD|ObjectType|NDims", VOLUME),
    (rb"(?:\xef\xbb\xbf)?\s{0,64}(?:<\?xml[^>]{0,200}>\s{0,64})?<svg", SVG),
    (rb"%PDF", Foreign("a PDF document", cure="save its picture as PNG, for instance with `pdfimages`")),
    (rb"%!PS", Foreign("a PostScript document", cure="save its picture as PNG")),
    (rb"PK[\x03\x05]", Foreign("a ZIP archive", cure="unpack it")),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", Foreign("a compressed archive", cure="unpack it")),
    (rb"\x7fELF|MZ|\xca\xfe\xba\xbe|\xcf\xfa\xed\xfe", Foreign("an executable", cure=_PICTURE)),
    (rb"#!|<\?php", Foreign("a script", cure=_PICTURE)),
    (rb"SQLite format 3", Foreign("a database", cure=_PICTURE)),
    (rb"(?:\xef\xbb\xbf)?\s{0,64}<(?i:!doctype|html|head|body|script|\?xml)", Foreign("a page of HTML or XML", cure=_PICTURE)),
)
_RECOGNISED = tuple((re.compile(start, re.DOTALL), foreign) for start, foreign in _STARTS)


def recognise(data: bytes, at: int = 0) -> Foreign | None:
    """The foreign format that starts at byte `at`, if it is known."""
    return next((foreign for start, foreign in _RECOGNISED if start.match(data, at)), None)


def refusal(foreign: Foreign) -> ImageError:
    return ImageError(foreign.code, f"{foreign.name}, which is not read here: {foreign.cure}")
