"""Golden images: a device decodes, resizes and answers them to prove that it does what the desktop did.

Drawn from a seed, never the user's images unless asked for. Many sizes, depths and formats, because the decoder and the resize
are proven along with the model; coloured ones, because nothing else shows swapped channels.
"""

import hashlib
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec
from limiar.edge_app.errors import ConvertError, ImageError, printable
from limiar.edge_app.image.containers import IMAGE_EXTENSIONS
from limiar.edge_app.image.depth import FULL
from limiar.edge_app.image.folder import unwanted
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import model_input, tensor_sha256
from limiar.edge_app.inference.golden import Golden, GoldenImage
from limiar.edge_app.text import counted
from limiar.train.dataset.reading import Item, RefusedImage, read_all

AT_LEAST = 64
DRAWN = 72  # 4 patterns x 18 encodings
_DICOM_PATTERNS = 2  # of those below
SIDES_PX = (20, 33, 40, 50, 64, 81, 96, 120, 130)  # up- and down-scaling, with and without a box mean, odd and even


class GoldenFile(msgspec.Struct, frozen=True):
    """One golden image."""

    path: str  # in the bundle: golden/07.png
    data: bytes
    tensor: Pixels  # uint8 [1, H, W, C]


def golden_json(files: Sequence[GoldenFile], logits: Mapping[str, np.ndarray]) -> bytes:
    """golden.json. logits: model file -> float64 [images, K]."""
    golden = Golden(
        images=tuple(GoldenImage(file.path, tensor_sha256(file.tensor)) for file in files),
        logits={name: tuple(map(tuple, rows.tolist())) for name, rows in logits.items()},
    )
    return msgspec.json.encode(golden) + b"\n"


class Encoding(msgspec.Struct, frozen=True):
    """How a drawn image is saved."""

    extension: str
    mode: str  # of Pillow: RGB, L, 1 or I;16
    options: dict[str, int | str | bool] = {}


ENCODINGS = (
    Encoding("png", "RGB"),
    Encoding("png", "L"),
    Encoding("jpg", "RGB", {"quality": 90, "subsampling": 0}),
    Encoding("png", "I;16"),
    Encoding("webp", "RGB", {"lossless": True}),
    Encoding("png", "1"),
    Encoding("tif", "RGB", {"compression": "tiff_deflate"}),
    Encoding("bmp", "L"),
    Encoding("webp", "RGB", {"quality": 80}),
    Encoding("tif", "I;16"),
    Encoding("ppm", "RGB"),
    Encoding("pgm", "L"),
    Encoding("png", "P"),
    Encoding("jpg", "L", {"quality": 85}),
    Encoding("bmp", "RGB"),
    Encoding("pgm", "I;16"),
    Encoding("png", "RGBA"),
    Encoding("tif", "L"),
)
_COLOURED = frozenset({"RGB", "RGBA", "P"})
_DEEP_SPAN = 0.27  # of 16 bits: a device refuses what fills much less, since another depth might be meant
_UNCOMPRESSED = frozenset({"bmp", "ppm", "pgm", "tif"})


def draw_golden_images(spec: InputSpec, seed: int) -> list[GoldenFile]:
    """DRAWN images: each pattern in each encoding, and DICOM files if the bundle reads them. The same seed draws the same.

    Raises ConvertError: what encodes DICOM is not installed.
    """
    rng = np.random.default_rng(seed)
    files = []
    for index in range(DRAWN):
        encoding = ENCODINGS[index % len(ENCODINGS)]
        pattern = PATTERNS[index // len(ENCODINGS) % len(PATTERNS)]
        sides = SIDES_PX[:4] if encoding.extension in _UNCOMPRESSED or pattern is _noise else SIDES_PX
        height, width = (int(side) for side in rng.choice(sides, 2))
        pixels = _with_colour(pattern(rng, height, width), rng) if encoding.mode in _COLOURED else pattern(rng, height, width)
        data = _encoded(pixels, encoding, FULL if spec.grey_max is msgspec.UNSET else spec.grey_max)
        path = f"golden/{index:02}.{encoding.extension}"
        files.append(GoldenFile(path, data, model_input(decode(data, path, spec), spec)))
    return files + (_draw_dicom(spec, spec.dicom, rng) if spec.dicom else [])


def _draw_dicom(spec: InputSpec, rule: DicomSpec, rng: np.random.Generator) -> list[GoldenFile]:
    """Each DICOM encoding with two patterns."""
    try:
        from limiar.convert.run.golden_dicom import COLOURED, ENCODINGS, SIDE_MIN_PX, golden_dicom
    except ModuleNotFoundError as error:
        met = f"golden DICOM files need {error.name}"
        raise ConvertError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[dicom-write]'") from None
    files = []
    for index, (pattern, encoding) in enumerate(itertools.product(PATTERNS[:_DICOM_PATTERNS], ENCODINGS), DRAWN):
        height, width = (int(side) for side in rng.choice([side for side in SIDES_PX[:5] if side >= SIDE_MIN_PX], 2))
        image = _full_range(pattern(rng, height, width))
        if encoding.photometric in COLOURED:
            image = _with_colour(image, rng)
        path = f"golden/{index:02}.dcm"
        data = golden_dicom(image, encoding, rule)
        files.append(GoldenFile(path, data, model_input(decode(data, path, spec), spec)))
    return files


def take_golden_images(folder: Path, spec: InputSpec) -> list[GoldenFile]:
    """The images of a folder, in name order, under numbers as names. Raises ConvertError: too few, or one is refused."""
    try:
        named = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS)
        paths = sorted(path for path in named if not unwanted(path.name, is_folder=False))
    except OSError as error:
        where = printable(str(folder))
        raise ConvertError("E-CONVERT-GOLDEN", f"{where}: {error.strerror}: give --golden a folder of images") from None
    if len(paths) < AT_LEAST:
        met = f"{printable(str(folder))} has {counted(len(paths), 'image')}, at least {AT_LEAST} golden images are needed"
        raise ConvertError("E-CONVERT-GOLDEN", f"{met}: add some, or leave --golden out")
    files: dict[int, GoldenFile] = {}
    for outcome in read_all([Item(k, os.fsencode(path), os.fsencode(path.name)) for k, path in enumerate(paths)], spec):
        source = paths[outcome.row]
        try:
            if isinstance(outcome, RefusedImage):
                raise outcome.error
            data = read_file(str(source))
        except ImageError as error:
            met = f"{printable(str(source))}: {error.message} ({error.code})"
            raise ConvertError("E-CONVERT-GOLDEN", f"{met}; every golden image must be readable") from None
        if hashlib.sha256(data).digest() != outcome.sha256:
            met = f"{printable(str(source))} changed while limiar read it"
            raise ConvertError("E-CONVERT-GOLDEN", f"{met}: convert again when nothing writes to that folder")
        assert outcome.tensor is not None  # no item's pixels were known before
        tensor = np.frombuffer(outcome.tensor, np.uint8).reshape(1, spec.height, spec.width, spec.channels)
        files[outcome.row] = GoldenFile(f"golden/{outcome.row:02}{source.suffix.lower()}", data, tensor)
    return [files[k] for k in range(len(paths))]


# A pattern is float [H, W], 0..1, by (rng, height, width).


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.random((height, width))


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    rows, columns = _axes(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    return _full_range(np.cos(angle) * rows + np.sin(angle) * columns)


def _edges(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Stripes: what a resize with another phase or filter shows first."""
    rows, columns = _axes(height, width)
    angle, stripes = rng.uniform(0, 2 * np.pi), rng.uniform(1, 6)
    wave = np.sin(2 * np.pi * stripes * (np.cos(angle) * rows + np.sin(angle) * columns))
    return np.where(wave > 0, rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.4))


def _blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Round bright spots on a dim ground with a little noise: closest to what a lesion model sees."""
    rows, columns = _axes(height, width)
    image = 0.2 + 0.05 * rng.standard_normal((height, width))
    for _ in range(int(rng.integers(1, 5))):
        row, column, radius = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.25)
        image += rng.uniform(0.3, 0.8) * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * radius**2))
    return np.clip(image, 0, 1)


PATTERNS = (_blobs, _gradient, _edges, _noise)


def _axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(0, 1, height)[:, np.newaxis], np.linspace(0, 1, width)[np.newaxis, :]


def _full_range(image: np.ndarray) -> np.ndarray:
    return np.asarray((image - image.min()) / (image.max() - image.min()))


def _with_colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float [H, W] -> [H, W, 3]: red strong, blue weak and upside down, so that swapped channels give another image."""
    return np.stack([image, 0.7 * image, rng.uniform(0.2, 0.4) * image[::-1]], axis=-1)


def _encoded(image: np.ndarray, encoding: Encoding, grey_max: int) -> bytes:
    if encoding.mode == "I;16":
        if np.ptp(image) < _DEEP_SPAN:
            image = _full_range(image)
        picture = Image.fromarray(np.rint(image * grey_max).astype(np.uint16))
    else:
        picture = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    if encoding.mode == "P":
        picture = picture.quantize(64)
    elif encoding.mode == "1":
        picture = picture.point(lambda value: 255 * (value > 127), mode="1")
    elif encoding.mode == "RGBA":
        picture.putalpha(Image.fromarray(np.rint(128 + 127 * image[..., 0]).astype(np.uint8)))
    file = io.BytesIO()
    picture.save(
        file,
        format={"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(encoding.extension, encoding.extension),
        **encoding.options,
    )
    return file.getvalue()
