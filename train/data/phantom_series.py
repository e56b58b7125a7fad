"""CT series with spheres of known place as DICOM files, and labelled patches that are cut from such series."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from limiar.edge_app.text import csv_row
from limiar.train.data.ct_file import CtSlice, ct_file, rounded, uid
from limiar.train.data.phantom_chest import BODY_MM, PIXEL_MM, SIDE, SLICES, STEP_MM, Chest, Field, corner_mm, height_mm

Negative = Literal["beside", "vessel", "anywhere"]

TILE = 40  # px: a patch, and a tile of a model that was trained on patches
SEEN_MM = 3.0  # a patch with a cross-section of a sphere of at least this radius is positive
OFF_PX = 9.0  # from the middle of a positive patch to that of the sphere, at most
AWAY_PX = 14.0  # from the middle of a negative patch to that of a sphere, at least
NEGATIVES: tuple[Negative, ...] = ("vessel", "vessel", "beside", "vessel", "anywhere")  # by turns
PATCHES_EACH = 60  # cut from one series
TRUTH, MARKS = "truth.json", "marks.csv"


class TrueSphere(msgspec.Struct, frozen=True):
    """Where a sphere is."""

    place_mm: tuple[float, float, float]  # of its middle, in the patient's coordinates
    radius_mm: float
    hu: float


class TrueSeries(msgspec.Struct, frozen=True):
    """What a series shows."""

    folder: str
    series: str  # its UID
    spheres: tuple[TrueSphere, ...]


class Patch(NamedTuple):
    """A square cut from a slice."""

    hu: Field  # [TILE, TILE]
    positive: bool
    corner: tuple[int, int]  # row and column of its first pixel in the slice
    slice: int  # from 0


def series_files(count: int, seed: int, empty: bool = False) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the files of so many series, and at the end of truth.json and marks.csv. empty: without spheres."""
    truths, marks = [], ["file,x,y,radius,ignore\n"]
    for number in range(count):
        chest, folder = Chest(seed, number, empty), f"series_{number:03d}"
        study, series = uid("study", seed, number), uid("series", seed, number, empty)
        for low in range(SLICES):
            instance = SLICES - low  # as scanners count, from the head down
            ct = _ct(chest.slice(low), f"phantom-series-{seed}-{number}", study, series, instance, low)
            path = f"{folder}/IM{instance:04d}.dcm"
            marks += (csv_row((path, *mark)) for mark in _marks(chest, low))
            yield path, ct_file(ct)
        spheres = tuple(TrueSphere(sphere.place_mm, sphere.radius_mm, sphere.hu) for sphere in chest.spheres)
        truths.append(TrueSeries(folder, str(series), spheres))
    yield TRUTH, msgspec.json.format(msgspec.json.encode(truths)) + b"\n"
    yield MARKS, "".join(marks).encode()


def _marks(chest: Chest, low: int) -> Iterator[tuple[str, str, str, str]]:
    """The spheres that a slice crosses, for `limiar evaluate --marks`: x, y, radius in px, and whether to ignore it.

    A cross-section of less than SEEN_MM is to be ignored: a person could not say.
    """
    for sphere in chest.spheres:
        square = sphere.radius_mm**2 - (height_mm(low) - sphere.place_mm[2]) ** 2
        if square > 0:
            x, y = ((mm - corner_mm()) / PIXEL_MM for mm in sphere.place_mm[:2])
            seen = math.sqrt(square) >= SEEN_MM
            yield f"{x:.2f}", f"{y:.2f}", f"{sphere.radius_mm / PIXEL_MM:.2f}", "no" if seen else "yes"


def patch_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(name, DICOM) of patches, positive and negative by turns. Those of one chest share their study, which splits respect."""
    for number in range(math.ceil(count / PATCHES_EACH)):
        study, series = uid("patches", seed, number), uid("patches of one series", seed, number)
        rng = np.random.default_rng([seed, number, 4])
        these = patches(Chest(seed, number), min(PATCHES_EACH, count - number * PATCHES_EACH), rng)
        for instance, patch in enumerate(these, start=1):
            patient = f"phantom-patches-{seed}-{number}"
            name = f"patch_{number * PATCHES_EACH + instance - 1:06d}_{'pos' if patch.positive else 'neg'}.dcm"
            yield name, ct_file(_ct(patch.hu, patient, study, series, instance, patch.slice, patch.corner))


def patches(chest: Chest, count: int, rng: np.random.Generator) -> Iterator[Patch]:
    """Patches of a chest that has spheres, positive and negative by turns.

    In a positive one the middle of a sphere is at most OFF_PX away. Negatives are beside a sphere, along a vessel, or anywhere
    in the body: air alone cannot be assessed.
    """
    slices: dict[int, Field] = {}
    for number in range(count):
        while True:
            x, y, z = (
                _near_sphere(chest, rng) if number % 2 == 0 else _elsewhere(chest, rng, NEGATIVES[number // 2 % len(NEGATIVES)])
            )
            low = round(z / STEP_MM + (SLICES - 1) / 2)
            row, column = (round((mm - corner_mm()) / PIXEL_MM - (TILE - 1) / 2) for mm in (y, x))
            inside = 0 <= low < SLICES and min(row, column) >= 0 and max(row, column) <= SIDE - TILE
            if inside and _label(chest, row, column, low) is (number % 2 == 0):
                break
        if low not in slices:
            slices[low] = chest.slice(low)
        yield Patch(slices[low][row : row + TILE, column : column + TILE], number % 2 == 0, (row, column), low)


def _near_sphere(chest: Chest, rng: np.random.Generator) -> tuple[float, float, float]:
    """x, y, z in mm."""
    sphere = chest.spheres[rng.integers(len(chest.spheres))]
    most = math.sqrt(sphere.radius_mm**2 - SEEN_MM**2)
    angle, off = rng.uniform(0, 2 * math.pi), PIXEL_MM * OFF_PX * math.sqrt(rng.uniform())
    x, y, z = sphere.place_mm
    return x + off * math.cos(angle), y + off * math.sin(angle), z + rng.uniform(-most, most)


def _elsewhere(chest: Chest, rng: np.random.Generator, kind: Negative) -> tuple[float, float, float]:
    """x, y, z in mm."""
    if kind == "beside":
        x, y, z = chest.spheres[rng.integers(len(chest.spheres))].place_mm
        angle, off = rng.uniform(0, 2 * math.pi), PIXEL_MM * rng.uniform(AWAY_PX, AWAY_PX + 16)
        return x + off * math.cos(angle), y + off * math.sin(angle), z + rng.uniform(-10, 10)
    if kind == "vessel":
        areas = chest.vessels[:, 6] ** 2  # wide vessels are what is mistaken for spheres
        x, y, z = chest.vessels[rng.choice(len(areas), p=areas / areas.sum()), :3] + rng.normal(0, 3, 3)
        return x, y, z
    off, angle, z = math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi), rng.uniform(-1, 1) * height_mm(SLICES - 1)
    return BODY_MM[0] * off * math.cos(angle), BODY_MM[1] * off * math.sin(angle), z


def _label(chest: Chest, row: int, column: int, low: int) -> bool | None:
    """Whether the patch with this first pixel shows a sphere in its middle; None: a person could not say."""
    middle = [corner_mm() + (px + (TILE - 1) / 2) * PIXEL_MM for px in (column, row)]
    label: bool | None = False
    for sphere in chest.spheres:
        away_mm = abs(height_mm(low) - sphere.place_mm[2])
        off_px = math.dist(middle, sphere.place_mm[:2]) / PIXEL_MM
        if off_px <= OFF_PX and math.sqrt(max(0.0, sphere.radius_mm**2 - away_mm**2)) >= SEEN_MM:
            return True
        if off_px < AWAY_PX and away_mm < sphere.radius_mm + 1:
            label = None
    return label


def _ct(hu: Field, patient: str, study: str, series: str, instance: int, low: int, corner: tuple[int, int] = (0, 0)) -> CtSlice:
    """Slice `low` (from the feet, from 0), or a part of it whose first pixel is in this row and column."""
    x, y = (corner_mm() + px * PIXEL_MM for px in (corner[1], corner[0]))
    position = (x, y, height_mm(low))
    return CtSlice(rounded(hu.astype(np.float64)), patient, study, series, instance, position, (PIXEL_MM, PIXEL_MM), STEP_MM)
