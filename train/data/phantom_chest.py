"""A chest of no patient, seeded, in slices: lungs with vessels, and in them spheres of known place, size and density.

Everything is laid out in millimetres in the patient's coordinates (x to the left, y to the back, z to the head) and then cut
into slices. What could be taken for a sphere in one slice, a vessel across it, is always thinner than the smallest sphere,
so a good model finds the spheres and nothing else.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from limiar.train.data.phantoms import BONE_HU, LUNG_HU, MARROW_HU, TISSUE_HU

SIDE = 512  # px
SLICES = 40
PIXEL_MM = 0.7
STEP_MM = 2.0  # from slice to slice, which is as thick
RADIUS_MM = (4.0, 7.5)
SPHERES = (2, 4)  # in a series, at least and at most
CLEAR_MM = 4.0  # between a sphere and the pleura, or a vessel
APART_MM = 40.0  # between the middles of two spheres
AIR_HU, MUSCLE_HU, FAT_HU = -1000.0, 45.0, -90.0
BODY_MM, SKIN_MM = (165.0, 115.0), 6.0  # half axes, x and y; fat below the skin
LUNG_MM, LUNG_AT_MM = (52.0, 80.0), 78.0  # half axes of each lung, and its distance from the middle
HILUM_MM = 20.0  # where vessels start, from the middle: outside the lungs
ENTRY_MM = 42.0  # from the middle; vessels that come near the pleura further out end there
TREES = 26  # vessels that enter each lung
VESSEL_MM = (1.0, 2.3)  # radius where they start
THIN_MM = 1.4  # radius of a vessel that crosses a slice at a right angle, at most
NOISE_HU = (10.0, 28.0)  # sigma of the reconstruction noise
BLUR_PX = (0.5, 0.9)  # sigma of the scanner's point spread

Field = NDArray[np.float32]  # [SIDE, SIDE], HU
Point = tuple[float, float, float]  # x, y, z in mm
Segments = NDArray[np.float64]  # [N, 7]: both ends x, y, z and the radius, mm


class Sphere(NamedTuple):
    """A sphere."""

    place_mm: Point  # of its middle
    radius_mm: float
    hu: float


class Chest:
    """One of them: its slices are drawn when they are asked for, each depending on (seed, number) and its place alone."""

    def __init__(self, seed: int, number: int, empty: bool = False) -> None:
        """empty: the same chest without spheres."""
        self._key = (seed, number)
        rng = np.random.default_rng([*self._key, 0])
        self._lung_hu, self._tissue_hu = rng.uniform(*LUNG_HU), rng.uniform(*TISSUE_HU)
        self._noise_hu, self._blur_px = rng.uniform(*NOISE_HU), rng.uniform(*BLUR_PX)
        self._outline = rng.normal(0, 0.012, (2, 4)), rng.uniform(0, 2 * math.pi, (2, 4))  # harmonics of each lung
        self._ribs = rng.uniform(0, 2 * math.pi)
        self.spheres = () if empty else self._placed(np.random.default_rng([*self._key, 1]))
        self.vessels = self._grown(np.random.default_rng([*self._key, 2]))

    def slice(self, number: int) -> Field:
        """Slice `number` of SLICES, from the feet up, HU."""
        rng = np.random.default_rng([*self._key, 3, number])
        z = height_mm(number)
        hu = self._chest(z)
        for x0, y0, z0, x1, y1, z1, radius in self.vessels[_crossing(self.vessels, z)]:
            _draw_capsule(hu, (x0, y0, z0), (x1, y1, z1), radius, z, self._tissue_hu)
        for sphere in self.spheres:
            _draw_capsule(hu, sphere.place_mm, sphere.place_mm, sphere.radius_mm, z, sphere.hu)
        grain = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE), np.float32), (0, 0), 0.6)
        scanned: Field = cv2.GaussianBlur(hu, (0, 0), self._blur_px) + np.float32(self._noise_hu) * grain / grain.std()
        return scanned

    def _chest(self, z: float) -> Field:
        hu = np.full((SIDE, SIDE), AIR_HU, np.float32)
        x, y = _GRID_MM
        body = _ellipse(x, y, BODY_MM)
        _lay(hu, -body, FAT_HU)
        _lay(hu, -_ellipse(x, y, (BODY_MM[0] - SKIN_MM, BODY_MM[1] - SKIN_MM)), MUSCLE_HU)
        for angle in self._ribs + 0.02 * z + np.arange(10) * (2 * math.pi / 10):
            _bone(hu, 145.0 * math.cos(angle), 97.0 * math.sin(angle), 5.0)
        _bone(hu, 0.0, 82.0, 14.0)
        for side in (0, 1):
            middle = _lung_middle_mm(side)
            columns = _span(middle - 1.2 * LUNG_MM[0], middle + 1.2 * LUNG_MM[0])
            _lay(hu[:, columns], -self._pleura(x[:, columns], y, z, side), self._lung_hu)
        return hu

    def _pleura(self, x: Field, y: Field, z: float, side: int) -> Field:
        """Distance to the outline of a lung, mm, less than 0 inside; about, as of an ellipse that is bent."""
        middle = _lung_middle_mm(side)
        angle = np.arctan2(y, x - middle)
        size, phase = self._outline[0][side], self._outline[1][side]
        bend = sum(size[k] * np.cos((k + 2) * angle + phase[k] + 0.01 * z) for k in range(4))
        distance: Field = _ellipse(x - middle, y, LUNG_MM) + np.float32(LUNG_MM[0]) * bend.astype(np.float32)
        return distance

    def _depth(self, place: NDArray[np.float64]) -> float:
        """How deep a place lies in a lung, mm; less than 0 outside."""
        x, y = np.float32(place[0]), np.float32(place[1])
        return max(-float(self._pleura(np.array(x), np.array(y), float(place[2]), side)) for side in (0, 1))

    def _placed(self, rng: np.random.Generator) -> tuple[Sphere, ...]:
        spheres: list[Sphere] = []
        count = rng.integers(SPHERES[0], SPHERES[1] + 1)
        while len(spheres) < count:
            radius = rng.uniform(*RADIUS_MM)
            most = height_mm(SLICES - 1) - radius - STEP_MM
            at = rng.uniform([-135, -90, -most], [135, 90, most])
            if self._depth(at) < radius + CLEAR_MM or any(math.dist(at, other.place_mm) < APART_MM for other in spheres):
                continue
            spheres.append(Sphere((float(at[0]), float(at[1]), float(at[2])), float(radius), float(rng.uniform(*TISSUE_HU))))
        return tuple(spheres)

    def _grown(self, rng: np.random.Generator) -> Segments:
        reach = height_mm(SLICES - 1) + 10.0
        segments: list[tuple[float, ...]] = []
        for side in (-1, 1):
            for _ in range(TREES):
                start = np.array([side * HILUM_MM, rng.uniform(-30, 30), rng.uniform(-reach, reach)])
                self._branch(rng, start, np.array([side * 1.0, *rng.normal(0, 0.7, 2)]), rng.uniform(*VESSEL_MM), segments)
        return np.array(segments)

    def _branch(
        self,
        rng: np.random.Generator,
        at: NDArray[np.float64],
        way: NDArray[np.float64],
        radius: float,
        segments: list[tuple[float, ...]],
    ) -> None:
        """Adds the segments of a vessel that winds, thins and divides until it is thin or leaves the lung."""
        for _ in range(rng.integers(3, 8)):
            way = way / np.linalg.norm(way) + rng.normal(0, 0.18, 3)
            way /= np.linalg.norm(way)
            there = at + 5.0 * way
            if radius < 0.5 or (abs(there[0]) > ENTRY_MM and self._depth(there) < radius + 2):
                return
            across = abs(float(way[2]))
            thick = across * min(radius, THIN_MM) + (1 - across) * radius
            middle = (at + there) / 2
            if all(math.dist(middle, ball.place_mm) > ball.radius_mm + CLEAR_MM + 2.5 + thick for ball in self.spheres):
                segments.append((*at, *there, thick))
            at, radius = there, radius * 0.95
        for turn in rng.normal(0, 0.6, (2, 3)):
            self._branch(rng, at, way + turn, radius * rng.uniform(0.65, 0.85), segments)


def height_mm(number: int) -> float:
    """z of a slice; 0 is the middle of the series."""
    return (number - (SLICES - 1) / 2) * STEP_MM


def corner_mm() -> float:
    """x and y of the middle of a slice's first pixel."""
    return -(SIDE - 1) / 2 * PIXEL_MM


_AXIS_MM = ((np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM).astype(np.float32)
_GRID_MM = (_AXIS_MM[None, :], _AXIS_MM[:, None])  # x and y of each pixel, to be broadcast


def _lung_middle_mm(side: int) -> float:
    return LUNG_AT_MM * (2 * side - 1)


def _ellipse(x: Field, y: Field, half: tuple[float, float]) -> Field:
    """Distance to an ellipse around the middle, mm, less than 0 inside; exact on its outline alone."""
    scaled: Field = np.sqrt((x / np.float32(half[0])) ** 2 + (y / np.float32(half[1])) ** 2)
    return (scaled - 1) * np.float32(min(half))


def _lay(hu: Field, depth: Field, value: float) -> None:
    """`value` where depth (mm) is more than 0, with an edge of one pixel."""
    share = np.clip(depth / np.float32(PIXEL_MM) + np.float32(0.5), 0, 1)
    hu += share * (np.float32(value) - hu)


def _bone(hu: Field, x: float, y: float, radius: float) -> None:
    """A bone across the slice, with its marrow."""
    at = (x, y, 0.0)
    _draw_capsule(hu, at, at, radius, 0.0, BONE_HU[0])
    _draw_capsule(hu, at, at, radius - 2, 0.0, MARROW_HU)


def _crossing(segments: Segments, z: float) -> NDArray[np.bool_]:
    low, high = np.minimum(segments[:, 2], segments[:, 5]), np.maximum(segments[:, 2], segments[:, 5])
    reach = segments[:, 6] + PIXEL_MM
    crossing: NDArray[np.bool_] = (low - reach < z) & (z < high + reach)
    return crossing


def _draw_capsule(hu: Field, one: Point, other: Point, radius: float, z: float, value: float) -> None:
    """Lays all that is at most `radius` (mm) from the line between two points over the slice at z."""
    reach = radius + 2 * PIXEL_MM
    columns, rows = (_span(min(one[axis], other[axis]) - reach, max(one[axis], other[axis]) + reach) for axis in (0, 1))
    x, y = _AXIS_MM[columns][None, :] - one[0], _AXIS_MM[rows][:, None] - one[1]
    along = np.subtract(other, one)
    t = np.clip((x * along[0] + y * along[1] + (z - one[2]) * along[2]) / max(float(along @ along), 1e-9), 0, 1)
    distance = np.sqrt((x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - one[2] - t * along[2]) ** 2)
    _lay(hu[rows, columns], (radius - distance).astype(np.float32), value)


def _span(low: float, high: float) -> slice:
    """The pixels between two places on an axis, mm."""
    first, last = ((mm - corner_mm()) / PIXEL_MM for mm in (low, high))
    return slice(max(0, math.floor(first)), max(0, math.ceil(last) + 1))
