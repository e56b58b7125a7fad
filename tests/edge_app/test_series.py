"""Slices to studies: their order, their findings, and what is refused."""

import math
import random

import pytest
from msgspec.structs import replace

from limiar.edge_app.answer import Peak, SlicePlace
from limiar.edge_app.bundle.manifest import TileSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.output.lines import Line, Origin
from limiar.edge_app.series.findings import findings
from limiar.edge_app.series.order import sliced, stacked
from limiar.edge_app.series.study import study_of

TILES = TileSpec(size=40, stride=8, sought="pos")
ORIGIN = Origin("b" * 64, "tflite_int8", "litert 2.3.0", "bundle", "limiar 0.1.0")
AXIAL = {"across": (1.0, 0.0, 0.0), "down": (0.0, 1.0, 0.0)}
SAGITTAL = {"across": (0.0, 1.0, 0.0), "down": (0.0, 0.0, -1.0)}


def slice_line(z, *peaks, number=1, decision=None, sha256=None, spacing=(0.7, 0.7), frame=None, **turned):
    """An axial slice at this height, mm, with peaks (x, y, score) in px."""
    found = tuple(Peak(x, y, score, "pos") for x, y, score in peaks)
    score = max((peak.score for peak in found), default=0.1)
    label = "pos" if found else "neg"
    place = SlicePlace("study", "series", f"i{z}", number, (10.0, 20.0, float(z)), **{**AXIAL, "spacing_mm": spacing, **turned})
    return Line(
        path=f"IM{number:04d}",
        sha256=sha256 or f"{abs(hash((z, number))):064x}"[:64],
        decision=decision or label,
        label=label,
        confidence=max(score, 1 - score),
        probabilities={"neg": 1 - score, "pos": score},
        bundle=ORIGIN.bundle,
        file=ORIGIN.file,
        runtime=ORIGIN.runtime,
        verified=ORIGIN.verified,
        app=ORIGIN.app,
        time=f"2026-01-01T00:00:{number:02d}Z",
        frame=frame,
        peaks=found,
        dicom=place,
    )


def study(*lines):
    return study_of([sliced(line) for line in lines], TILES, ORIGIN)


def found(*lines):
    return study(*lines).findings


def test_slices_lie_in_the_order_of_their_places_whatever_their_numbers_and_names():
    lines = [slice_line(z, number=number) for number, z in enumerate((6, 2, 0, 4, 8), start=1)]
    random.Random(0).shuffle(lines)
    assert [slice_.along_mm for slice_ in study(*lines).slices] == [0, 2, 4, 6, 8]


def test_the_order_follows_the_normal_of_a_sagittal_series():
    lines = [slice_line(0, number=n, **SAGITTAL) for n in (1, 2, 3)]
    moved = [
        replace(line, dicom=replace(line.dicom, position_mm=(x, 20.0, 0.0)))
        for line, x in zip(lines, (30.0, -5.0, 12.5), strict=True)
    ]
    assert [slice_.path for slice_ in study(*moved).slices] == ["IM0001", "IM0003", "IM0002"]  # across x down is to the right


def test_the_peaks_of_neighbouring_slices_are_one_finding_at_their_weighted_middle():
    one = found(slice_line(0), slice_line(2, (100, 50, 0.5)), slice_line(4, (102, 50, 1.0)), slice_line(6))
    assert len(one) == 1
    x = (100 * 0.5 + 102 * 1.0) / 1.5
    assert one[0].place_mm == pytest.approx((10 + 0.7 * x, 20 + 0.7 * 50, (2 * 0.5 + 4 * 1.0) / 1.5), abs=0.006)
    assert (one[0].first_slice, one[0].last_slice, one[0].slice, one[0].peaks) == (2, 3, 3, 2)
    assert (one[0].x, one[0].y, one[0].score) == (round(x, 1), 50, 1.0)


def test_a_finding_may_be_missed_in_one_slice_and_not_in_two():
    peak = (100, 50, 0.9)
    assert len(found(slice_line(0, peak), slice_line(2), slice_line(4, peak), slice_line(6))) == 1
    assert len(found(slice_line(0, peak), slice_line(2), slice_line(4), slice_line(6, peak))) == 2


def test_peaks_that_are_more_than_half_a_tile_apart_are_two_findings_unless_a_third_joins_them():
    apart = [slice_line(0, (100, 50, 0.9)), slice_line(2, (121, 50, 0.8))]
    assert [finding.score for finding in found(*apart)] == [0.9, 0.8]
    assert len(found(*apart, slice_line(4, (110, 50, 0.7)))) == 1


def test_findings_agree_with_every_pair_compared():
    rng = random.Random(1)
    lines = [
        slice_line(2 * n, *((rng.uniform(0, 400), rng.uniform(0, 400), rng.random()) for _ in range(12))) for n in range(12)
    ]
    stack = stacked([sliced(line) for line in lines])
    marks = [(n, slice_.at(peak.x, peak.y)) for n, slice_ in enumerate(stack.slices) for peak in slice_.line.peaks]
    group = list(range(len(marks)))
    for a, (slice_a, place_a) in enumerate(marks):
        for b, (slice_b, place_b) in enumerate(marks):
            if abs(slice_a - slice_b) <= 2 and math.dist(place_a[:2], place_b[:2]) <= 14.0 and group[a] != group[b]:
                group = [group[a] if one == group[b] else one for one in group]
    assert len(findings(stack, 14.0)) == len(set(group))


def test_the_strongest_slice_speaks_for_the_study():
    strongest = slice_line(2, (9, 9, 0.8), decision="refer")
    told = study(slice_line(0), strongest, slice_line(4))
    assert (told.decision, told.label, told.confidence) == ("refer", "pos", 0.8)


def test_a_gap_is_noted_and_a_study_in_which_nothing_was_found_is_then_referred():
    whole, gap = [slice_line(z) for z in (0, 2, 4, 6, 8)], [slice_line(z) for z in (0, 2, 6, 8, 10)]
    assert study(*whole).decision == "neg"
    assert study(*whole).notes is None
    told = study(*gap)
    assert told.decision == "refer"
    assert [note.code for note in told.notes] == ["E-SERIES-GAP"]
    assert study(*gap[:-1], slice_line(10, (1, 1, 0.9))).decision == "pos"


def test_a_slice_that_is_given_twice_is_taken_once():
    twice = slice_line(2, (5, 5, 0.9), sha256="a" * 64)
    told = study(slice_line(0), twice, replace(twice, path="copy"))
    assert len(told.slices) == 2
    assert [note.code for note in told.notes] == ["E-SERIES-COPY"]


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"z": 0, "number": 2}, "E-SERIES-TWICE"),
        ({"z": 2, "spacing": (0.7, 0.8)}, "E-SERIES-MIXED"),
        ({"z": 2, **SAGITTAL}, "E-SERIES-MIXED"),
    ],
)
def test_what_is_not_one_stack_is_refused(other, code):
    told = study(slice_line(0), slice_line(**other))
    assert (told.decision, told.code, told.findings) == ("refused", code, None)
    assert len(told.slices) == 2


def test_a_picture_that_does_not_say_where_it_lies_is_refused_by_the_name_of_what_is_missing():
    line = slice_line(0)
    with pytest.raises(ImageError, match="ImagePositionPatient") as refusal:
        sliced(replace(line, dicom=replace(line.dicom, position_mm=None)))
    assert refusal.value.code == "E-SERIES-PLACE"
    with pytest.raises(ImageError, match="PixelSpacing"):
        sliced(slice_line(0, spacing=(1e-300, 0.7)))  # it would make places in px overflow
    with pytest.raises(ImageError, match="not DICOM"):
        sliced(replace(line, dicom=None))


def test_one_slice_is_a_study():
    told = study(slice_line(0, (7, 8, 0.9)))
    assert told.step_mm is None
    assert [(finding.slice, finding.first_slice, finding.last_slice) for finding in told.findings] == [(1, 1, 1)]
