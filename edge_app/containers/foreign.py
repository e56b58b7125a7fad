"""Pictures of formats that are not read here: each is refused by its true name, with the tool that converts it."""

import msgspec


class Foreign(msgspec.Struct, frozen=True):
    """A format off the list."""

    name: str  # as a message calls it, with its article
    extensions: tuple[str, ...]  # lower case
    cure: str
    code: str = "E-IMAGE-FORMAT"


HEIC = Foreign(
    "a HEIC picture (an iPhone's format)",
    (".heic", ".heif", ".heics", ".heifs", ".hif"),
    "convert it, for instance `heif-convert IN.heic OUT.png`, or set the phone to Most Compatible",
    "E-IMAGE-HEIC",
)
DICOM = Foreign(
    "a DICOM file",
    (".dcm", ".dicom", ".dic"),
    "export it with the window that the model was trained on, for instance `dcm2img --write-png IN.dcm OUT.png`",
    "E-IMAGE-DICOM",
)
AVIF = Foreign("an AVIF picture", (".avif", ".avifs"), "convert it, for instance `avifdec IN.avif OUT.png`")
JPEG_XL = Foreign("a JPEG XL picture", (".jxl",), "convert it, for instance `djxl IN.jxl OUT.png`")
JPEG_2000 = Foreign(
    "a JPEG 2000 picture", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), "convert it, for instance `opj_decompress`"
)
JPEG_LS = Foreign("a JPEG-LS picture", (".jls",), "convert it to PNG")
JPEG_XR = Foreign("a JPEG XR picture", (".jxr", ".wdp", ".hdp"), "convert it to PNG")
GIF = Foreign("a GIF", (".gif",), "save one frame as PNG")
PSD = Foreign("a Photoshop document", (".psd", ".psb"), "export it as PNG")
EXR = Foreign("an OpenEXR picture", (".exr",), "export it as PNG, with the exposure that the model was trained on")
HDR = Foreign("a Radiance HDR picture", (".hdr", ".pic"), "export it as PNG, with the exposure that the model was trained on")
RAW = Foreign(
    "a camera's raw file",
    (".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr"),
    "develop it to PNG or JPEG, for instance with `darktable-cli IN OUT.png`",
)
ICON = Foreign("an icon", (".ico", ".cur", ".icns"), "save it as PNG")
OLD = Foreign("a picture of an old format", (".tga", ".pcx", ".dds", ".sgi", ".ras", ".xbm", ".xpm", ".qoi"), "save it as PNG")
NETPBM = Foreign("a bitmap or map of Netpbm", (".pbm", ".pam", ".pfm"), "save it as PGM, PPM or PNG")
VOLUME = Foreign(
    "a medical volume", (".nii", ".nrrd", ".nhdr", ".mha", ".mhd"), "export its slices as PNG, as the model was trained on"
)

FOREIGN = (HEIC, DICOM, AVIF, JPEG_XL, JPEG_2000, JPEG_LS, JPEG_XR, GIF, PSD, EXR, HDR, RAW, ICON, OLD, NETPBM, VOLUME)
FOREIGN_EXTENSIONS = frozenset(extension for foreign in FOREIGN for extension in foreign.extensions)
