"""One pass over a data folder for `limiar check`: what each image is, kept small, so that memory does not grow with the pixels.

It keeps two hashes of an image, eight perceptual hashes, a thumbnail of 16x16 and a few numbers: under 1 KB.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import EXTENSIONS
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import check_assessable, model_input, tensor_sha256
from limiar.train.check import features as check_features
from limiar.train.dataset import reading
from limiar.train.dataset.dicom_facts import DicomFacts
from limiar.train.dataset.dicom_groups import grouped
from limiar.train.dataset.listed import Listed
from limiar.train.dataset.reading import Decoded, Item, read_all

FORMATS = {extension: name for name, extensions in EXTENSIONS.items() for extension in extensions}
TRAITS = ("width", "height", "aspect ratio", "colour", "file size", "brightness", "contrast", *map(str.lower, EXTENSIONS))


@dataclass(frozen=True)
class Unusable:
    """An image that training would refuse, and why."""

    image: Listed
    error: ImageError


@dataclass(frozen=True)
class Survey:
    """What was read; row k of every array belongs to images[k]."""

    images: tuple[Listed, ...]  # DICOM images in groups: dataset/dicom_groups.py
    refused: tuple[Unusable, ...]
    files: tuple[str, ...]  # sha256 of each file
    tensors: tuple[str, ...]  # sha256 of each model input
    traits: NDArray[np.float32]  # [N, len(TRAITS)]
    hashes: NDArray[np.uint64]  # [N, 8], see features.perceptual_hashes
    thumbnails: Pixels  # uint8 [N, 16, 16], grey
    described: NDArray[np.int64]  # [M] rows, in order, whose shape features were kept
    features: NDArray[np.float32]  # [M, F]
    dicom: tuple[DicomFacts | None, ...]
    notes: tuple[str, ...]  # on the groups

    def trait(self, name: str) -> NDArray[np.float32]:
        """One of TRAITS, of every image."""
        return self.traits[:, TRAITS.index(name)]


def read_one(folder: Path, image: Listed, spec: InputSpec) -> Pixels:
    """The model input uint8 [H, W, C] of an image that was read before, as training would take it. Raises ImageError."""
    data = read_file(os.fsencode(folder / image.file))
    picture = decode(data, image.file, spec)
    tensor = model_input(picture, spec)
    check_assessable(picture, tensor)
    image_input: Pixels = tensor[0]
    return image_input


def survey(
    folder: Path, images: Sequence[Listed], spec: InputSpec, described: NDArray[np.int64], tick: Callable[[int, int], None]
) -> Survey:
    """Reads every image once. described: which rows of `images`, in order, get shape features. tick: (read, in all)."""
    count = len(images)
    traits = np.zeros((count, len(TRAITS)), np.float32)
    hashes = np.zeros((count, check_features.TURNS), np.uint64)
    thumbnails = np.zeros((count, check_features.THUMBNAIL, check_features.THUMBNAIL), np.uint8)
    features = np.zeros((len(described), check_features.length(spec)), np.float32)
    place = {int(row): at for at, row in enumerate(described)}
    faults: dict[int, Unusable] = {}
    hexes: dict[int, tuple[str, str]] = {}  # sha256 of file and input
    dicom: dict[int, DicomFacts | None] = {}
    items = [Item(k, os.fsencode(folder / image.file), os.fsencode(image.file)) for k, image in enumerate(images)]
    for done, read in enumerate(read_all(items, spec), start=1):
        tick(done, count)
        k = read.row
        if isinstance(read, reading.RefusedImage):
            faults[k] = Unusable(images[k], read.error)
            continue
        tensor = np.frombuffer(read.tensor or b"", np.uint8).reshape(spec.height, spec.width, spec.channels)
        grey = check_features.grey(tensor)
        traits[k] = _traits(images[k].file, read, grey)
        hashes[k] = check_features.perceptual_hashes(grey)
        thumbnails[k] = check_features.thumbnail(grey)
        if k in place:
            features[place[k]] = check_features.shape_features(tensor)
        hexes[k], dicom[k] = (read.sha256.hex(), tensor_sha256(tensor)), read.dicom
    taken = sorted(hexes)
    refused = [faults[k] for k in sorted(faults)]
    files, tensors = [hexes[k][0] for k in taken], [hexes[k][1] for k in taken]
    kept = np.array(taken, dtype=np.int64)
    row_of = {k: row for row, k in enumerate(taken)}
    usable = [k for k in place if k in row_of]
    told = tuple(dicom[k] for k in taken)
    together, notes = grouped([images[k] for k in taken], told)
    return Survey(
        images=together,
        refused=tuple(refused),
        files=tuple(files),
        tensors=tuple(tensors),
        traits=traits[kept],
        hashes=hashes[kept],
        thumbnails=thumbnails[kept],
        described=np.array([row_of[k] for k in usable], dtype=np.int64),
        features=features[np.array([place[k] for k in usable], dtype=np.int64)],
        dicom=told,
        notes=notes,
    )


def _traits(file: str, read: Decoded, grey: Pixels) -> list[float]:
    """In the order of TRAITS; the last ones are 1 for the file's own format."""
    height, width = read.shape[:2]
    form = "DICOM" if read.dicom else FORMATS.get(PurePosixPath(file).suffix.lower())  # DICOM often has no extension
    formats = [float(name == form) for name in EXTENSIONS]
    return [width, height, width / height, len(read.shape) == 3, read.size, grey.mean(), grey.std(), *formats]
