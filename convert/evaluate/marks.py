"""Marked positions in pictures: read from a table, and compared with the peaks of tiles."""

import math
import os
from pathlib import Path

import msgspec
import numpy as np

from limiar.convert.evaluate.answering import Answers
from limiar.convert.evaluate.evaluation import MarkFigures, Place
from limiar.convert.evaluate.labelled import Labelled, Positions
from limiar.edge_app.answer import TileMap
from limiar.edge_app.bundle.manifest import TileSpec
from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.image.scores import scores_of
from limiar.edge_app.inference.grid import Grid
from limiar.edge_app.inference.peaks import centroid, peaks, ranked
from limiar.edge_app.output.lines import path_fields
from limiar.train.dataset.csv_table import columns, read_table
from limiar.train.record.froc import Detection, Mark, Matched, at_threshold, froc, matched
from limiar.train.record.resampling import Groups

_FRAMES = 1 << 20  # more than a file can have
_PX, _MM = ("x", "y", "radius"), ("x_mm", "y_mm", "radius_mm")


class Marks(msgspec.Struct, frozen=True):
    """The marks of some pictures."""

    of: dict[tuple[str, int | None], tuple[Mark, ...]]  # file, relative to the data folder, and frame -> its marks
    in_mm: bool  # in the picture's own plane, from the middle of its first pixel; False: px
    where: str  # the table, printable

    def positions(self, sought: str) -> Positions:
        """Which pictures have marks."""
        counting = frozenset(picture for picture, own in self.of.items() if any(mark.counts for mark in own))
        return Positions(counting, frozenset(self.of), sought, self.where)

    def of_picture(self, picture: tuple[str, int | None], refused: bool) -> tuple[Mark, ...]:
        """Those of a picture; of a file that was refused as a whole, those of all its frames."""
        if refused and picture[1] is None:
            return tuple(mark for (file, _), own in self.of.items() for mark in own if file == picture[0])
        return self.of.get(picture, ())


def read_marks(table: Path, tile_px: int) -> Marks:
    """A CSV with a line for each mark: file, x, y and optionally radius, in px; or x_mm, y_mm, radius_mm.

    A column frame, from 1, says in which picture of a DICOM file with several it is; a column ignore may have "yes" for a mark
    that does not count.
    tile_px: without a radius, it is half a tile; in mm there must be one. Raises DataError.
    """
    where = printable(str(table))
    there = columns(table)
    in_mm = _MM[0] in there
    names = _MM if in_mm else _PX
    needed = ["file", *(names if in_mm else names[:2])]
    if missing := [name for name in needed if name not in there]:
        met = f"{where} has no column {' and no '.join(missing)}"
        raise DataError("E-EVALUATE-MARKS", f"{met}: name the columns file, x, y (px), or file, x_mm, y_mm, radius_mm")
    found: dict[tuple[str, int | None], list[Mark]] = {}
    for line, row in enumerate(read_table(table), start=2):
        numbers = [_number(row.get(name)) for name in names]
        if not in_mm and not row.get(names[2]):
            numbers[2] = tile_px / 2
        x, y, radius = numbers
        frame = row.get("frame") or None
        odd_frame = frame is not None and not (frame.isdecimal() and 0 < int(frame) < _FRAMES)
        ignore = row.get("ignore") or "no"
        odd = odd_frame or ignore not in ("yes", "no")
        if not row["file"] or x is None or y is None or radius is None or radius <= 0 or odd:
            met = f"{where} line {line} has no file, or x, y, radius, frame or ignore is none that can be meant"
            raise DataError("E-EVALUATE-MARKS", f"{met}: correct the line")
        found.setdefault((row["file"], frame and int(frame)), []).append(Mark(x, y, radius, ignore == "no"))
    return Marks({picture: tuple(own) for picture, own in found.items()}, in_mm, where)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def mark_figures(
    chosen: Labelled, answered: Answers, groups: Groups | None, marks: Marks, tiles: TileSpec, worst: int
) -> MarkFigures:
    """How well the marks are found. worst: how many missed marks and false peaks to name, of each. Raises DataError.

    A picture that was refused has no peak, and so all of its marks are missed.
    """
    own = [marks.of_picture(picture, row in answered.refused) for row, picture in enumerate(chosen.pictures)]
    counting = [tuple(mark for mark in of_image if mark.counts) for of_image in own]
    if not any(counting):
        met = f"{marks.where}: no mark is in one of the {len(own)} pictures that count"
        raise DataError("E-EVALUATE-MARKS", f"{met}: give paths relative to DATA, or another --split")
    reported: list[Matched] = []
    every: list[Matched] = []
    together = np.arange(len(own)) if groups is None else groups
    false: list[Place] = []
    missed: list[Place] = []
    for row, ((file, frame), of_image) in enumerate(zip(chosen.pictures, own, strict=True)):
        x_scale, y_scale = _scale(file, bool(of_image), marks, answered, row)
        shown = path_fields(os.fsencode(file))[0]
        told = [Detection(one.x * x_scale, one.y * y_scale, one.score) for one in answered.peaks[row]]
        map_ = answered.tiles[row]
        at_any = [Detection(x * x_scale, y * y_scale, score) for x, y, score in candidates(map_)] if map_ else []
        reported.append(matched(of_image, told))
        every.append(matched(of_image, at_any))
        false += [Place(shown, frame, one.x, one.y, one.score) for one in told if matched(of_image, [one]).false]
        missed += [
            Place(shown, frame, mark.x, mark.y, best or 0.0)
            for mark, found, best in zip(counting[row], reported[-1].found, every[-1].found, strict=True)
            if found is None
        ]
    return MarkFigures(
        marks=sum(map(len, counting)),
        pictures=len(own),
        marked_pictures=sum(map(bool, counting)),
        sought=tiles.sought,
        reported=at_threshold(reported, together),
        froc=froc(every, together),
        missed=tuple(sorted(missed, key=lambda one: one.score)[:worst]),
        false=tuple(sorted(false, key=lambda one: -one.score)[:worst]),
    )


def candidates(tiles: TileMap) -> list[tuple[float, float, float]]:
    """x, y (px) and score of the peaks that a map has at any threshold, the strongest first.

    Those of a device are the first of these, since suppression begins with the strongest: those whose label is the sought one.
    """
    grid = Grid(tiles.size, tiles.stride, tiles.rows, tiles.columns, tiles.first)
    scores = scores_of(tiles)
    found = []
    for row, column in peaks(ranked(scores, grid, scores >= 0), grid):
        y, x = centroid(scores, grid, row, column)
        found.append((x, y, float(scores[row, column])))
    return found


def _scale(file: str, marked: bool, marks: Marks, answered: Answers, row: int) -> tuple[float, float]:
    """From px to the unit of the marks, across and down. Raises DataError: it is not known how far pixels are apart."""
    if not marks.in_mm:
        return 1.0, 1.0
    place = answered.places[row]
    spacing = place.spacing_mm if place else None
    if spacing is None and marked and row not in answered.refused:
        met = f"{marks.where} has marks in mm, and {printable(file)} does not say how far its pixels are apart"
        raise DataError("E-EVALUATE-MARKS", f"{met}: give x, y and radius in pixels")
    return (spacing[1], spacing[0]) if spacing else (1.0, 1.0)
