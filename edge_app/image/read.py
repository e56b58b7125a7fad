"""Bytes of an image file -> pixels: the only decoder in the project, rule id `pillow-v1`.

Pillow decodes files that image/containers has found whole; image/decoders has decoders for those that Pillow reads wrongly.
EXIF orientation is applied; more than 8 bits become 8 by the declared range (image/depth.py); palettes become RGB; images with
alpha are laid over black; CMYK, animations and every other format are refused.
"""

import errno
import importlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
from msgspec import UNSET, UnsetType
from PIL import Image

from limiar.edge_app.answer import SlicePlace
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image import containers, decoders
from limiar.edge_app.image.containers import png, tiff
from limiar.edge_app.image.containers.bmp import Bmp
from limiar.edge_app.image.containers.container import BYTES_LIMIT, Container, check_pixels
from limiar.edge_app.image.containers.jpeg import Jpeg
from limiar.edge_app.image.containers.png import Png
from limiar.edge_app.image.containers.pnm import Pnm
from limiar.edge_app.image.containers.tiff import Tiff
from limiar.edge_app.system.stderr import without_stderr

_PLUGINS = {  # imported when needed: PIL.Image.open would load them all, 10 ms of every start
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16"})
_ORIENTATION = 0x0112  # EXIF 2.32, tag 274
_COLOR_MAP = 320  # TIFF 6.0, section 5
_JPEG_TABLES = 347  # TIFF 6.0, supplement 2
_PLAIN = "save it as grey or RGB"

# Pillow's warnings are about files that are refused here, or harmless (odd EXIF): they do not belong in a device's log.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_file(path: bytes | str, follow: bool = False) -> bytes:
    """All bytes of a plain file, opened once, so that nothing can be swapped between check and read. Raises ImageError.

    follow: accept a link to a plain file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        raise _unopened(error) from None
    except ValueError:  # NUL in the name
        raise ImageError("E-IMAGE-MISSING", "NUL in its name: if NUL separates the paths, give -0") from None
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            kind = "a folder" if stat.S_ISDIR(before.st_mode) else "a FIFO, socket or device"
            raise ImageError("E-IMAGE-NOT-FILE", f"{kind}, not a file: give an image file")
        if before.st_size > BYTES_LIMIT:
            raise ImageError("E-IMAGE-BYTES", f"{before.st_size} bytes, the limit is {BYTES_LIMIT}: make it smaller")
        data = _read_all(descriptor, before.st_size + 1)
        after = os.fstat(descriptor)
        if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise ImageError("E-IMAGE-CHANGED", "changed while it was read: wait until it is complete")
        return data
    except OSError as error:
        raise ImageError("E-IMAGE-READ", f"{error.strerror}: check the file and its disk") from None
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, limit: int) -> bytes:
    data = os.read(descriptor, limit)
    if len(data) in (0, limit - 1):  # usually one read gives the whole file
        return data
    chunks = [data]
    while data and sum(map(len, chunks)) < limit:
        data = os.read(descriptor, limit - sum(map(len, chunks)))
        chunks.append(data)
    return b"".join(chunks)


def _unopened(error: OSError) -> ImageError:
    if error.errno == errno.ELOOP:
        return ImageError("E-IMAGE-LINK", "a symbolic link: give the file itself, or scan with --follow")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return ImageError("E-IMAGE-NOT-FILE", "a FIFO, socket or device, not a file: give an image file")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return ImageError("E-IMAGE-MISSING", f"{error.strerror}: check the path")
    return ImageError("E-IMAGE-READ", f"{error.strerror}: check the file and its disk")


class Picture:
    """A decoded image that slices like an array: `picture[top:bottom]` is uint8 [rows, W] (grey) or [rows, W, 3] (RGB).

    Rows are converted on demand: a 50-megapixel RGB image takes 200 MB inside Pillow, with no room for a second whole copy.
    """

    def __init__(
        self,
        stored: Image.Image | Pixels,
        orientation: int,
        trailing: str = "",
        place: SlicePlace | None = None,
        frame: int | None = None,
    ) -> None:
        self._stored = stored
        self._orientation = orientation
        self.trailing = trailing  # the understood data after the picture: "", "padding", "a video (motion photo)"
        self.place = place  # of a DICOM file's
        self.frame = frame  # from 1, of a file with several; None: it has one
        if isinstance(stored, Image.Image):
            self._size, grey = stored.size, stored.mode in ("1", "L", "LA")
        else:
            self._size, grey = (stored.shape[1], stored.shape[0]), stored.ndim == 2
        width, height = self._size if orientation < 5 else self._size[::-1]
        self.shape: tuple[int, ...] = (height, width) if grey else (height, width, 3)

    def __getitem__(self, rows: slice) -> Pixels:
        top, bottom, _ = rows.indices(self.shape[0])
        if self._orientation == 1:
            return self._cut(0, top, self.shape[1], bottom)
        return _oriented(self._cut(*self._stored_box(top, bottom)), self._orientation)

    def _cut(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A part of the stored image."""
        if not isinstance(self._stored, Image.Image):
            return self._stored[top:bottom, left:right]
        whole = (left, top, right, bottom) == (0, 0, *self._size)
        return _pixels(self._stored if whole else self._stored.crop((left, top, right, bottom)))

    def _stored_box(self, top: int, bottom: int) -> tuple[int, int, int, int]:
        """The rows top..bottom of the upright image, in the stored one: left, top, right, bottom."""
        width, height = self._size
        if self._orientation in (1, 2):
            return 0, top, width, bottom
        if self._orientation in (3, 4):
            return 0, height - bottom, width, height - top
        if self._orientation in (5, 6):
            return top, 0, bottom, height
        return width - bottom, 0, width - top, height

    def pixels(self) -> Pixels:
        """The whole image, uint8 [H, W, 3], RGB."""
        whole = self[: self.shape[0]]
        return whole if whole.ndim == 3 else np.repeat(whole[:, :, None], 3, axis=2)


def decode(
    data: bytes, name: str = "", spec: InputSpec | None = None, frame: int | None = None, *, plain_uids: bool = False
) -> Picture:
    """The bytes of an image file -> its picture. A `name` with an image extension must fit the content. Raises ImageError.

    spec: has the rules that are a bundle's own, for 16-bit grey and for DICOM; None: there are none. frame: of a DICOM file,
    from 0; None: it must have one alone. plain_uids: of a DICOM file, not hashed.
    """
    return decode_opened(data, opened(data, name, spec), spec, frame, plain_uids=plain_uids)


def opened(data: bytes, name: str = "", spec: InputSpec | None = None) -> Container:
    """The first half of `decode`: what a file is, by its header, and how many frames it has. Raises ImageError."""
    if len(data) > BYTES_LIMIT:
        raise ImageError("E-IMAGE-BYTES", f"{len(data)} bytes, the limit is {BYTES_LIMIT}: make it smaller")
    if not (spec and spec.dicom) and containers.is_dicom(data):
        raise containers.refusal(containers.DICOM)
    return containers.inspect_named(data, name)


def decode_opened(
    data: bytes, container: Container, spec: InputSpec | None, frame: int | None, *, plain_uids: bool = False
) -> Picture:
    """The second half, of a file with many frames done for each. Raises ImageError."""
    try:
        if spec and spec.dicom and container.format == "DICOM":
            # Loaded when needed, as most devices never see such a file.
            read_dicom = importlib.import_module("limiar.edge_app.image.read_dicom")
            picture: Picture = read_dicom.picture(container, spec.dicom, frame, plain_uids)
            return picture
        return _decoded(data, container, UNSET if spec is None else spec.grey_max)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("E-IMAGE-MEMORY", "does not fit into this device's memory: make it smaller") from None
    except Exception as error:  # a decoder fed with hostile bytes raises anything: OSError, struct.error, IndexError, …
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        code = "E-IMAGE-TRUNCATED" if "truncated" in reason else "E-IMAGE-BROKEN"
        raise ImageError(code, f"{container.format} does not decode ({reason}): copy or record it again") from None


def _decoded(data: bytes, container: Container, grey_max: int | UnsetType) -> Picture:
    match container:
        case Pnm():
            return Picture(decoders.pnm.decode(data, container, grey_max), 1, container.trailing)
        case Bmp() if decoders.bmp.decodes(container):
            return Picture(decoders.bmp.decode(data, container), 1, container.trailing)
        case Bmp() if masks := decoders.bmp_masks.masks(data, container):
            return Picture(_seen(decoders.bmp_masks.decode(data, container, masks)), 1, container.trailing)
        case Tiff() if decoders.tiff.decodes(container):
            return Picture(decoders.tiff.decode(data, container, grey_max), container.orientation, container.trailing)
        case Png() if plain := decoders.png.small(data, container):
            return Picture(plain, 1, container.trailing)
        case Png(has_text=True):
            data = png.without_notes(data)
    image = _open(data, container)
    orientation = _orientation(image, container.format)
    match container:
        case Png():
            image = decoders.png.load(data, image)
            orientation = _orientation(image, "PNG")  # again: EXIF may come after the pixels
            image = decoders.png.in_8_bits(data, image, container, grey_max)
        case Jpeg():
            pixels = _jpeg().decode(data)
            if pixels is not None:
                return Picture(pixels, orientation, container.trailing)
            image.load()
        case Tiff():
            if container.compression == tiff.JPEG:
                tables = getattr(image, "tag_v2", {}).get(_JPEG_TABLES, b"")
                for start, count in zip(container.segments.offsets, container.segments.counts, strict=True):
                    _jpeg().check_strip(tables, data[start : start + count])
            elif container.photometric == tiff.YCBCR:
                decoders.tiff.check_ycbcr(data, container)
            with without_stderr():
                image.load()
            _check_colour_map(image)
        case Bmp():
            image.load()
            image = _seen(image)
        case _:
            if container.format == "WEBP":
                importlib.import_module("limiar.edge_app.image.decoders.webp").check_pixels(data)
            image.load()
    return Picture(image, orientation, container.trailing)


def _seen(image: Image.Image) -> Image.Image:
    """The image, without alpha if that is 0 everywhere: an invisible BMP is not meant."""
    hidden = image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
    return image.convert("RGB") if hidden else image


def _jpeg() -> ModuleType:
    """The module, loaded when needed: 2 ms."""
    return importlib.import_module("limiar.edge_app.image.decoders.jpeg")


def _open(data: bytes, container: Container) -> Image.Image:
    """Reads the header and refuses what the image rules exclude, before a pixel is decoded. Raises ImageError."""
    try:
        image = _opened(data, container.format)
    except SyntaxError as error:
        if "unknown pixel mode" not in str(error):
            raise
        met = f"the colours of this {container.format} are not in the image rules"
        raise ImageError("E-IMAGE-COLOUR", f"{met}: {_PLAIN}") from None
    width, height = image.size
    check_pixels(container.format, width, height, container.decoder_mp)
    if width < 1 or height < 1:
        raise ImageError("E-IMAGE-BROKEN", f"{width}x{height} pixels: write it again")
    if getattr(image, "n_frames", 1) != 1:
        raise ImageError("E-IMAGE-FRAMES", f"{getattr(image, 'n_frames', 0)} frames: save one")
    if image.mode not in _MODES:
        raise ImageError("E-IMAGE-COLOUR", f"colour mode {image.mode} is not in the image rules: {_PLAIN}")
    return image


def _opened(data: bytes, container_format: str) -> Image.Image:
    module, name = _PLUGINS[container_format]
    plugin: Callable[[io.BytesIO], Image.Image] = getattr(importlib.import_module(module), name)
    try:
        return plugin(io.BytesIO(data))
    except Exception:  # perhaps only notes are damaged, or larger than Pillow accepts
        match container_format:
            case "JPEG":
                return plugin(io.BytesIO(_jpeg().without_notes(data)))
            case "PNG":
                return plugin(io.BytesIO(png.without_notes(data)))
        raise


def _check_colour_map(image: Image.Image) -> None:
    """Repairs a TIFF's palette of 0..255 in 16 bits, as many writers store it: Pillow takes the upper 8 bits, all black."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "P" and (colours := tags.get(_COLOR_MAP)) and max(colours) < 256:
        image.putpalette(bytes(colours), "RGB;L")


def _orientation(image: Image.Image, container_format: str) -> int:
    """EXIF orientation, 1..8. Pillow turns a TIFF itself while loading."""
    if container_format == "TIFF" or "exif" not in image.info:
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises anything, but the pixels are good: shown as stored, as other viewers do
        return 1
    return orientation if orientation in range(1, 9) else 1


def _pixels(image: Image.Image) -> Pixels:
    """A loaded Pillow image of a declared mode -> uint8 [H, W] or [H, W, 3]."""
    if image.mode == "L" and "transparency" not in image.info:  # the usual case needs no copy
        return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width)
    if image.mode in ("1", "L"):
        image = image.convert("LA" if "transparency" in image.info else "L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode == "RGBX" or (image.mode == "RGB" and "transparency" in image.info):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    array = np.asarray(image)
    return _over_black(array) if image.mode in ("LA", "RGBA") else array


def _over_black(array: Pixels) -> Pixels:
    """[H, W, 2 or 4] with alpha last -> [H, W] or [H, W, 3]: value * alpha / 255, rounded to the nearest."""
    alpha = array[:, :, -1:].astype(np.uint16)
    over = ((array[:, :, :-1] * alpha + 127) // 255).astype(np.uint8)
    return over[:, :, 0] if over.shape[2] == 1 else over


def _oriented(stored: Pixels, orientation: int) -> Pixels:
    """EXIF 2.32, tag 274: which side of the stored array is the upright image's top and left."""
    if orientation in (5, 6, 7, 8):
        stored = np.swapaxes(stored, 0, 1)
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return np.ascontiguousarray(stored)
