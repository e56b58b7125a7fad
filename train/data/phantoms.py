"""CT-like patches for trying limiar without data: seeded, with exact labels, of no patient.

A patch is built in Hounsfield units, as the anatomy is: aerated lung, vessels that branch, sometimes the chest wall with a
rib, and in the middle either a nodule (solid, part-solid or spiculated) or a decoy. A decoy is made of **as much tissue of
the same density** as a nodule would be, drawn out into vessels, so that neither brightness nor a histogram gives the label
away: shape does. Blur, reconstruction noise and the window of the `lung` data set (-1000..400 HU to 0..255) come last.
studies/phantom_difficulty.py measures how hard they are, studies/contact_sheet.py shows them.
"""

import io
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.arrays import Pixels

SIDE = 50  # pixels, as in the lung data set; about 35 mm
KINDS = ("solid", "part_solid", "spiculated")  # positives take turns
WINDOW_HU = (-1000.0, 400.0)  # mapped to 0..255, as in the lung data set
LUNG_HU = (-900.0, -800.0)  # aerated parenchyma
TISSUE_HU = (-20.0, 90.0)  # vessels, solid nodules, muscle
GROUND_GLASS_HU = (-620.0, -420.0)
FAT_HU, BONE_HU, MARROW_HU = -90.0, (350.0, 800.0), 150.0
NODULE_RADIUS_PX = (2.6, 9.0)
BLUR_PX = (0.45, 0.95)  # sigma of the scanner's point spread
NOISE_HU = (12.0, 60.0)  # sigma of the reconstruction noise, low dose at the upper end

Field = NDArray[np.float64]  # [SIDE, SIDE]: Hounsfield units, a distance in pixels, or a coverage 0..1
Points = NDArray[np.float64]  # [N, 2]: y, x in pixels

_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)  # pixel centres
_Y32, _X32 = _Y.astype(np.float32), _X.astype(np.float32)
_CENTRE = (SIDE - 1) / 2


def phantoms(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(file name, PNG) of `count` patches, positives and negatives by turns.

    A patch depends on (seed, its number) alone: a longer series begins with the shorter one.
    """
    for number in range(count):
        yield phantom_name(number, "png"), _png(phantom(*drawn_from(seed, number)))


def phantom_name(number: int, extension: str) -> str:
    """The name of a patch's file, which says its label."""
    return f"phantom_{number:06d}_{'neg' if number % 2 else 'pos'}.{extension}"


def drawn_from(seed: int, number: int) -> tuple[np.random.Generator, str | None]:
    """What `phantom` draws the patch of that number from."""
    return np.random.default_rng([seed, number]), None if number % 2 else KINDS[number // 2 % len(KINDS)]


def phantom(rng: np.random.Generator, kind: str | None) -> Pixels:
    """One patch, uint8 [SIDE, SIDE]. kind: one of KINDS, or None for a patch without a nodule."""
    return _windowed(phantom_hu(rng, kind))


def phantom_hu(rng: np.random.Generator, kind: str | None) -> Field:
    """The same patch in Hounsfield units."""
    hu = _parenchyma(rng)
    hu = _background_vessels(rng, hu)
    if rng.random() < 0.5:
        hu = _chest_wall(rng, hu)
    radius = math.exp(rng.uniform(*np.log(NODULE_RADIUS_PX)))  # small ones are more frequent, as in LUNA16
    at = _CENTRE + rng.uniform(-4.0, 4.0, 2)
    hu = _nodule(rng, hu, kind, at, radius) if kind else _decoy(rng, hu, at, radius)
    return _scanned(rng, hu)


def _parenchyma(rng: np.random.Generator) -> Field:
    """Aerated lung: a base density, darker on one side (gravity), with soft mottle."""
    slope = rng.uniform(-2.0, 2.0, 2)
    base = rng.uniform(*LUNG_HU) + slope[0] * (_Y - _CENTRE) + slope[1] * (_X - _CENTRE)
    layer: Field = base + rng.uniform(10.0, 35.0) * _smooth_noise(rng, 2.0)
    return layer


def _background_vessels(rng: np.random.Generator, hu: Field) -> Field:
    """Thin branching vessels along the slice, and dots where vessels cross it."""
    for _ in range(rng.integers(1, 4)):
        tree = _tree(rng, rng.uniform(0.0, SIDE, 2), rng.uniform(0, 2 * math.pi), rng.uniform(0.45, 1.2), 16.0)
        tree[:, 5] *= rng.uniform(0.5, 1.0)  # many only graze the slice
        hu = _with_vessel(rng, hu, tree)
    dots = rng.integers(2, 12)
    at = rng.uniform(0.0, SIDE, (dots, 2))
    return _with_vessel(rng, hu, np.hstack([at, at, rng.uniform(0.35, 1.3, (dots, 1)), rng.uniform(0.4, 1.0, (dots, 1))]))


def _decoy(rng: np.random.Generator, hu: Field, at: Points, radius: float) -> Field:
    """Vessels of the area and density that a nodule of this radius would have, drawn out so that no part is round."""
    area = math.pi * radius * radius * rng.uniform(0.8, 1.3)
    width = min(math.sqrt(area / rng.uniform(4.5, 9.0)), 6.0)  # area = elongation x width^2
    length = area / width
    angle = rng.uniform(0, 2 * math.pi)
    shape = rng.choice(["passing", "fork", "bundle", "haze", "airway"])
    if shape == "passing":
        segments = _passing(rng, at, angle, width / 2, length)
    elif shape == "fork":
        segments = _fork(rng, at, angle, width / 2, length)
    elif shape == "bundle":
        segments = _bundle(rng, at, angle, width / 2, length)
    elif shape == "haze":
        hu = _haze(rng, hu, area)
        segments = _passing(rng, at, angle, 0.7 * width / 2, 0.7 * length)
    else:
        hu = _airway(rng, hu, at + rng.uniform(4.0, 7.0) * _direction(angle + math.pi / 2), radius)
        segments = _passing(rng, at, angle, 0.8 * width / 2, 0.8 * length)
    return _with_vessel(rng, hu, segments)


def _passing(rng: np.random.Generator, at: Points, angle: float, radius: float, length: float) -> Points:
    """One vessel through `at` that rises into the slice and leaves it again: both ends thin out."""
    there = rng.uniform(0.35, 0.65) * length
    one = _branch(rng, at, angle, radius, there, end=0.35)
    other = _branch(rng, at, angle + math.pi, radius, length - there, end=0.35)
    return np.concatenate([one, other])


def _fork(rng: np.random.Generator, at: Points, angle: float, radius: float, length: float) -> Points:
    """A stem that divides at `at`, each part a third of the length."""
    spread = rng.uniform(0.4, 0.9)
    stem = _branch(rng, at, angle + math.pi, radius, length / 3, end=0.8)
    arms = [_branch(rng, at, angle + side * spread, 0.85 * radius, length / 2.5, end=0.3) for side in (-1, 1)]
    return np.concatenate([stem, *arms])


def _bundle(rng: np.random.Generator, at: Points, angle: float, radius: float, length: float) -> Points:
    """Two or three thinner vessels side by side, a gap of air between them."""
    parts = int(rng.integers(2, 4))
    thin, long = max(radius / math.sqrt(parts), 0.5), length / math.sqrt(parts)
    across = _direction(angle + math.pi / 2)
    vessels = []
    for part in range(parts):
        offset = (part - (parts - 1) / 2) * (2 * thin + rng.uniform(2.0, 7.0))
        middle = at + offset * across + rng.uniform(-3, 3) * _direction(angle)
        vessels.append(_passing(rng, middle, angle + rng.normal(0, 0.3), thin * rng.uniform(0.8, 1.2), long))
    return np.concatenate(vessels)


def _airway(rng: np.random.Generator, hu: Field, at: Points, radius: float) -> Field:
    """A bronchus cut across: a thin bright ring with air inside."""
    hole = min(max(0.6 * radius, 1.5), 4.0)
    hu = _blend(hu, _blob(rng, at, hole + rng.uniform(0.8, 1.4), 0.05, softness=1.0), rng.uniform(*TISSUE_HU) - 150.0)
    return _blend(hu, _blob(rng, at, hole, 0.05, softness=1.0), -970.0)


def _haze(rng: np.random.Generator, hu: Field, area: float) -> Field:
    """Ground glass without a nodule's outline: a band right across the patch, as dependent density is."""
    angle = rng.uniform(0, 2 * math.pi)
    along = (_Y - _CENTRE) * math.sin(angle) + (_X - _CENTRE) * math.cos(angle)
    width = max(area / SIDE, 2.0)
    share = 1 / (1 + np.exp(-(width - np.abs(along - rng.uniform(-10, 10))) / 2.0))
    layer: Field = hu + share * rng.uniform(0.4, 1.0) * (rng.uniform(*GROUND_GLASS_HU) - hu).clip(0)
    return layer


def _nodule(rng: np.random.Generator, hu: Field, kind: str, at: Points, radius: float) -> Field:
    """A round body with a lobed outline; `kind` says what surrounds or fills it."""
    tissue = rng.uniform(*TISSUE_HU)
    if kind == "part_solid":
        wide = max(radius, 4.0)
        glass = _blob(rng, at, wide, 0.10, softness=2.0) * rng.uniform(0.7, 1.0)
        hu = hu + glass * (rng.uniform(*GROUND_GLASS_HU) - hu).clip(0)
        hu = hu + glass * rng.uniform(30.0, 80.0) * _smooth_noise(rng, 1.0)
        core = at + rng.uniform(-0.25, 0.25, 2) * wide
        return _blend(hu, _blob(rng, core, rng.uniform(0.45, 0.7) * wide, 0.15, softness=1.8), tissue - 100.0)
    if kind == "spiculated":
        radius = max(radius, 3.5)
        count = int(rng.integers(6, 13))
        angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * (2 * math.pi / count)
        spikes = [_spike(rng, at, angle, radius) for angle in angles]
        hu = hu + _coverage(np.concatenate(spikes)) * (tissue - 60.0 - hu).clip(0)
        return _blend(hu, _blob(rng, at, 0.9 * radius, 0.18, softness=rng.uniform(1.0, 2.5)), tissue)
    return _blend(hu, _blob(rng, at, radius, rng.uniform(0.03, 0.14), softness=rng.uniform(1.0, 2.5)), tissue)


def _spike(rng: np.random.Generator, at: Points, angle: float, radius: float) -> Points:
    """A strand from the rim outwards, broad at its foot."""
    foot = at + 0.7 * radius * _direction(angle)
    return _branch(rng, foot, angle, rng.uniform(0.5, 1.2), radius * rng.uniform(0.5, 1.4), end=0.25)


def _blob(rng: np.random.Generator, at: Points, radius: float, lobes: float, softness: float) -> Field:
    """Coverage of an ellipse whose outline is bent by harmonics 2 to 5; `lobes` is their relative size, edge in pixels."""
    dy, dx = _Y - at[0], _X - at[1]
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(angle)
    for harmonic in range(2, 6):
        outline += lobes * rng.normal(0, 1) / harmonic * 1.5 * np.cos(harmonic * angle + rng.uniform(0, 2 * math.pi))
    layer: Field = np.clip(0.5 + (radius * outline - np.hypot(dy, dx)) / softness, 0.0, 1.0)
    return layer


def _chest_wall(rng: np.random.Generator, hu: Field) -> Field:
    """Muscle outside a curved pleura, often a layer of fat and a rib with marrow."""
    angle = rng.uniform(0, 2 * math.pi)
    bend = rng.choice([-1.0, 1.0], p=[0.3, 0.7]) * rng.uniform(30.0, 90.0)  # px, radius of the pleura; - bulges inwards
    depth = rng.uniform(8.0, 23.0)  # px from the middle of the patch to the pleura
    middle = _CENTRE + (depth - bend) * _direction(angle)
    distance = np.copysign(1.0, bend) * (np.hypot(_Y - middle[0], _X - middle[1]) - abs(bend))  # > 0 in the wall
    hu = _blend(hu, np.clip(0.5 + distance / 1.5, 0, 1), rng.uniform(*TISSUE_HU))
    if rng.random() < 0.5:
        fat = np.clip(distance - rng.uniform(2, 6), 0, 1) * np.clip(rng.uniform(8, 14) - distance, 0, 1)
        hu = _blend(hu, fat, FAT_HU)
    if rng.random() < 0.6:
        along = rng.uniform(-12.0, 12.0) * _direction(angle + math.pi / 2)
        hu = _rib(rng, hu, _CENTRE + (depth + rng.uniform(4.0, 9.0)) * _direction(angle) + along, angle)
    return hu


def _rib(rng: np.random.Generator, hu: Field, at: Points, angle: float) -> Field:
    """An ellipse of cortical bone along the pleura with marrow inside."""
    dy, dx = _Y - at[0], _X - at[1]
    across, along = dy * math.sin(angle) + dx * math.cos(angle), dy * math.cos(angle) - dx * math.sin(angle)
    thickness = rng.uniform(2.5, 4.5)
    distance = np.hypot(across, along / rng.uniform(2.0, 5.0)) - thickness  # px, < 0 inside
    hu = _blend(hu, np.clip(0.5 - distance, 0, 1), rng.uniform(*BONE_HU))
    return _blend(hu, np.clip(-0.9 - distance, 0, 1), MARROW_HU)


def _tree(rng: np.random.Generator, start: Points, angle: float, radius: float, length: float) -> Points:
    """Segments of a vessel that tapers and divides until it is thinner than a pixel."""
    stem = _branch(rng, start, angle, radius, length * rng.uniform(0.6, 1.3), end=0.8)
    if radius < 0.6:
        return stem
    sides = (-1, 1) if rng.random() < 0.7 else (rng.choice([-1, 1]),)
    arms = [
        _tree(rng, stem[-1, 2:4], angle + side * rng.uniform(0.2, 0.9), rng.uniform(0.55, 0.8) * radius, 0.7 * length)
        for side in sides
    ]
    return np.concatenate([stem, *arms])


def _branch(rng: np.random.Generator, start: Points, angle: float, radius: float, length: float, end: float) -> Points:
    """Segments [N, 6] (y0, x0, y1, x1, radius, strength) of one vessel that winds, and thins out to `end` of its radius."""
    steps = max(3, round(length / 3.0))
    angles = angle + np.cumsum(rng.normal(0, 0.16, steps))
    points = np.vstack([start, start + np.cumsum(length / steps * np.stack([np.sin(angles), np.cos(angles)], 1), 0)])
    taper = 1.0 - (1.0 - end) * np.linspace(0, 1, steps)[:, None] ** 2
    # A vessel that dips out of the slice is not only thinner but also fainter (partial volume).
    strength = np.clip(taper * 1.4, 0, 1) * np.clip(1.0 - 0.12 * np.abs(rng.normal(size=(steps, 1)).cumsum(0)), 0.5, 1)
    return np.hstack([points[:-1], points[1:], radius * taper, strength])


def _with_vessel(rng: np.random.Generator, hu: Field, segments: Points) -> Field:
    share = _coverage(segments)
    layer: Field = hu + share * (rng.uniform(*TISSUE_HU) - hu).clip(0)
    return layer


def _coverage(segments: Points) -> Field:
    """Share 0..1 of each pixel that lies in any of the capsules [N, 6] (see _branch); an edge of one pixel."""
    y0, x0, y1, x1, radius, strength = segments.astype(np.float32).T[:, :, None, None]  # twice as fast as float64
    dy, dx = y1 - y0, x1 - x0
    square = np.maximum(dy * dy + dx * dx, 1e-9)  # a dot is a segment of length 0
    ry, rx = _Y32 - y0, _X32 - x0
    t = np.clip((ry * dy + rx * dx) / square, 0, 1)
    ry, rx = ry - t * dy, rx - t * dx
    share = np.clip(0.5 + radius - np.sqrt(ry * ry + rx * rx), 0, 1) * (strength * np.minimum(1.0, 2 * radius))
    return np.asarray(share.max(axis=0), dtype=np.float64)


def _blend(hu: Field, share: Field, value: float) -> Field:
    """`value` if share is 1, a mixture if it is less."""
    return hu + share * (value - hu)


def _scanned(rng: np.random.Generator, hu: Field) -> Field:
    """Point spread, then noise with the grain of a soft or a sharp reconstruction kernel."""
    sharp = _blurred(hu, rng.uniform(*BLUR_PX))
    grain = _smooth_noise(rng, rng.uniform(0.4, 0.9))
    if rng.random() < 0.3:
        grain = _normalised(grain - _blurred(grain, 1.5))  # a sharp kernel takes the low frequencies out
    return sharp + math.exp(rng.uniform(*np.log(NOISE_HU))) * grain


def _windowed(hu: Field) -> Pixels:
    low, high = WINDOW_HU
    return np.rint((hu.clip(low, high) - low) * (255.0 / (high - low))).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, sigma: float) -> Field:
    """Gaussian noise of standard deviation 1 with a grain of `sigma` pixels."""
    return _normalised(_blurred(rng.normal(size=(SIDE, SIDE)), sigma))


def _normalised(field: Field) -> Field:
    layer: Field = (field - field.mean()) / field.std()
    return layer


def _blurred(field: Field, sigma: float) -> Field:
    """Separable Gaussian, the edges reflected."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(field, [(reach, reach) if axis == a else (0, 0) for a in (0, 1)], mode="reflect")
        field = sum(w * padded.take(range(k, k + SIDE), axis) for k, w in enumerate(weights))
    return field


def _direction(angle: float) -> Points:
    return np.array([math.sin(angle), math.cos(angle)])


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
