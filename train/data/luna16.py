"""Patches out of LUNA16's scans; studies/luna16_patches.py is its command line. Needs SimpleITK: `limiar[luna16]`."""

import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.system.files import partial_folder, read_bounded, sync_directory
from limiar.edge_app.text import counted
from limiar.train.record.run_folder import table_csv

SIDE = 50  # pixels
TABLE_LIMIT = 256 << 20  # bytes: candidates_V2.csv, the larger of LUNA16's two, has 755,000 lines of about 90
WINDOW_HU = (-1000.0, 400.0)
COLUMNS = ("file", "label", "split", "group", "luna16_candidate_row", "sha256")


@dataclass(frozen=True)
class Candidate:
    row: int  # 0-based row of the CSV
    scan: str  # series instance uid, which is also the file's name
    point_mm: tuple[float, float, float]  # x, y, z in the scanner's frame
    is_nodule: bool

    @property
    def label(self) -> str:
        return "pos" if self.is_nodule else "neg"


def read_candidates(table: Path, scans: set[str]) -> list[Candidate]:
    """The candidates of the scans that are there. Raises DataError."""
    try:
        text = io.TextIOWrapper(io.BytesIO(read_bounded(table, TABLE_LIMIT, follow=True)), "utf-8-sig", newline="")
        rows = enumerate(csv.DictReader(text))
        found = [
            Candidate(k, row["seriesuid"], _point(row), row["class"] == "1") for k, row in rows if row["seriesuid"] in scans
        ]
    except OSError as error:
        raise _not_candidates(table, str(error.strerror)) from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise _not_candidates(table, f"{type(error).__name__} {error}") from None
    if not any(candidate.is_nodule for candidate in found):
        raise DataError(
            "E-LUNA16-NONE",
            f"{printable(str(table))} has no nodule in {counted(len(scans), 'scan')}: give the folder of the .mhd files",
        )
    return found


def _point(row: dict[str, str]) -> tuple[float, float, float]:
    x, y, z = (float(row[f"coord{axis}"]) for axis in "XYZ")
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"{x}, {y}, {z} is not a point")
    return x, y, z


def _not_candidates(table: Path, met: str) -> DataError:
    cure = "give LUNA16's candidates.csv (seriesuid, coordX, coordY, coordZ, class)"
    return DataError("E-LUNA16-TABLE", f"{printable(str(table))}: {met}: {cure}")


def choose(candidates: Sequence[Candidate], negatives: float, seed: int) -> list[Candidate]:
    """All nodules, and at random as many of the others as asked, in the table's order."""
    nodules = [candidate for candidate in candidates if candidate.is_nodule]
    others = [candidate for candidate in candidates if not candidate.is_nodule]
    count = min(len(others), round(negatives * len(nodules)))
    drawn: Sequence[int] = np.random.default_rng(seed).choice(len(others), count, replace=False).tolist() if count else []
    return sorted(nodules + [others[k] for k in drawn], key=lambda candidate: candidate.row)


def write_patches(
    scans: dict[str, Path],
    chosen: Sequence[Candidate],
    out: Path,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Writes patches and manifest.csv, the whole new folder `out` or none; returns how many. Raises DataError.

    tick: told (patches written, of how many).
    """
    if out.exists():
        raise DataError("E-LUNA16-OUT", f"{printable(str(out))} exists: give another folder, or remove it first")
    lines = []
    with partial_folder(out) as partial:
        for candidate, pixels in patches(scans, chosen):
            data = png(pixels)
            name = f"luna16_{candidate.row:06d}_{candidate.label}.png"
            (partial / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            lines.append((name, candidate.label, "", candidate.scan, candidate.row, digest))
            tick(len(lines), len(chosen))
        (partial / "manifest.csv").write_bytes(table_csv(COLUMNS, sorted(lines)))
        sync_directory(partial)
        partial.rename(out)
    return len(lines)


def patches(scans: dict[str, Path], chosen: Sequence[Candidate]) -> Iterator[tuple[Candidate, NDArray[np.uint8]]]:
    """Each candidate with its patch; a scan (half a gigabyte) is read once and let go."""
    by_scan = defaultdict(list)
    for candidate in chosen:
        by_scan[candidate.scan].append(candidate)
    for scan, own in by_scan.items():
        try:
            image: Any = SimpleITK.ReadImage(str(scans[scan]))
        except RuntimeError as error:
            met = f"{printable(str(scans[scan]))} or its .raw cannot be read whole"
            raise DataError("E-LUNA16-SCAN", f"{met}: copy both again") from error
        volume = SimpleITK.GetArrayViewFromImage(image)  # [z, y, x], HU
        for candidate in own:
            x, y, z = image.TransformPhysicalPointToIndex(candidate.point_mm)
            if not 0 <= z < volume.shape[0]:
                raise DataError(
                    "E-LUNA16-SCAN",
                    f"{printable(str(scans[scan]))} does not reach candidate row {candidate.row}: copy it again",
                )
            yield candidate, windowed(square(volume[z], y, x))


def square(axial: NDArray[np.int16], y: int, x: int) -> NDArray[np.float64]:
    """SIDE x SIDE pixels with (y, x) at [SIDE // 2, SIDE // 2]; air outside the slice."""
    patch = np.full((SIDE, SIDE), WINDOW_HU[0])
    top, left = y - SIDE // 2, x - SIDE // 2
    rows = slice(max(top, 0), min(top + SIDE, axial.shape[0]))
    columns = slice(max(left, 0), min(left + SIDE, axial.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = axial[rows, columns]
    return patch


def windowed(hu: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = WINDOW_HU
    return np.rint((hu.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
