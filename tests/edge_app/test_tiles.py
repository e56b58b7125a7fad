"""A picture in tiles: each is answered exactly as if it were an image of its own, and the strongest speaks for the picture."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec.structs import replace

from limiar.edge_app.answer import SlicePlace
from limiar.edge_app.bundle.manifest import Assessable, Decision, Envelope, InputSpec, Limit, Range, Threshold, TileSpec
from limiar.edge_app.errors import ImageError, RuntimeUnavailable
from limiar.edge_app.image.assessable import check_limits
from limiar.edge_app.image.measured import of_band, outside_of, within
from limiar.edge_app.image.resize import check_assessable, model_input
from limiar.edge_app.image.scores import scores_of, stored_scores
from limiar.edge_app.image.statistics import noise, outside, statistics
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.inference.grid import TILES_LIMIT, Grid, grid_of
from limiar.edge_app.inference.open_classifier import open_classifier
from limiar.edge_app.inference.peaks import centroid, peaks, ranked
from limiar.edge_app.inference.softmax import softmax
from limiar.edge_app.inference.tile_inputs import row_inputs, whole_input
from limiar.edge_app.inference.tiled import SingleTiles, TiledClassifier

SPEC = InputSpec(height=20, width=20, channels=3)
DECISION = Decision(refer_below=0.6)
TILES = TileSpec(size=20, stride=4, sought="pos")


class Centre:
    """A runtime whose score rises with the brightness of the middle, in steps as a quantized file has them."""

    name, version, kernels = "fake", "1", ""

    def logits(self, image):
        self.calls = getattr(self, "calls", 0) + 1
        bright = float(image[0, 8:12, 8:12].mean())
        return np.array([0, (bright - 150) // 10], np.float32)


def tiled(spec=SPEC, tiles=TILES, decision=DECISION, runtime=None, **rules):
    one = Classifier(runtime or Centre(), ("neg", "pos"), spec, decision, **rules)
    return TiledClassifier(one, tiles, SingleTiles(one)), one


def slice_with(*spots, side=100, seed=0):
    """Grey noise with round bright spots: (x, y, radius)."""
    picture = np.random.default_rng(seed).integers(60, 90, (side, side), dtype=np.uint8)
    for x, y, radius in spots:
        cv2.circle(picture, (x, y), radius, 230, -1)
    return picture


# The grid


@given(st.integers(20, 300), st.integers(20, 300), st.integers(1, 60))
def test_tiles_lie_within_a_picture_and_leave_less_than_a_stride_over_on_both_sides_together(height, width, stride):
    grid = grid_of((height, width), TileSpec(size=20, stride=stride, sought="pos"))
    first, last = grid.corner(0, 0), grid.corner(grid.rows - 1, grid.columns - 1)
    for side, before, start in zip((height, width), first, last, strict=True):
        after = side - (start + 20)
        assert 0 <= before <= after <= before + 1
        assert before + after < stride


def test_a_picture_smaller_than_a_tile_is_refused():
    with pytest.raises(ImageError) as refused:
        grid_of((19, 300, 3), TILES)
    assert refused.value.code == "E-TILES-SMALL"


def test_a_picture_with_more_tiles_than_a_device_can_answer_is_refused():
    side = math.isqrt(TILES_LIMIT) + 20
    with pytest.raises(ImageError) as refused:
        grid_of((side, side), replace(TILES, stride=1))
    assert refused.value.code == "E-TILES-MANY"


def test_a_picture_may_have_fewer_tiles_if_there_are_many_labels():
    assert grid_of((120, 120), replace(TILES, stride=1), labels=300).rows == 101
    with pytest.raises(ImageError, match="the limit for 1000 labels is 4000"):
        grid_of((120, 120), replace(TILES, stride=1), labels=1000)


# What the rules see of a tile


LEVELS = st.sampled_from([0, 3, 7, 8, 9, 90, 91, 246, 247, 248, 255]) | st.integers(0, 255)


def shows(tensor):
    try:
        check_assessable(tensor[0], tensor)
    except ImageError:
        return False
    return True


@given(
    arrays(np.uint8, st.tuples(st.integers(4, 12), st.integers(16, 40)), elements=LEVELS), st.integers(1, 12), st.integers(0, 4)
)
def test_what_is_measured_in_a_band_is_what_is_measured_of_each_tile_to_the_last_bit(band, stride, first):
    side, width = band.shape
    count = (width - first - side) // stride + 1
    found = of_band(band, first, stride, count, measure=True, noisy=True)
    for number in range(count):
        tensor = band[None, :, first + number * stride :, None][:, :, :side]
        assert {name: values[number] for name, values in found.values.items()} == {**statistics(tensor), "noise": noise(tensor)}
        assert found.shows[number] == shows(tensor)


@pytest.mark.parametrize("side", [40, 1024])
def test_sums_of_large_tiles_do_not_overflow(side):
    band = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (side, side + 8))
    found = of_band(band, 0, 8, 2, measure=True, noisy=True)
    for number in range(2):
        tensor = band[None, :, 8 * number : 8 * number + side, None]
        assert {name: values[number] for name, values in found.values.items()} == {**statistics(tensor), "noise": noise(tensor)}


ENDS = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=8), ENDS, ENDS)
def test_envelopes_and_limits_hold_for_many_as_for_one(found, low, high):
    ranges = {"mean": Range(low, high, 0, 0), "colour": Range(low, high, 0, 0)}
    envelope = Envelope(images=1, quantiles=(0.0, 1.0), ranges=ranges)
    limits = Assessable(0.0, {"mean": Limit(at_least=low), "colour": Limit(at_most=high)})
    values = {"mean": np.array([one for one, _ in found]), "colour": np.array([other for _, other in found])}
    for number, (mean, colour) in enumerate(found):
        one = {"mean": mean, "colour": colour}
        assert outside_of(envelope, values)[number] == bool(outside(envelope, one))
        try:
            check_limits(limits, one)
            kept = True
        except ImageError:
            kept = False
        assert within(limits, values)[number] == kept


@given(
    arrays(np.float32, (3, 2, 2), elements=st.integers(-3, 3)),
    st.sampled_from(["neg", "pos"]),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_the_sought_tiles_are_those_with_its_label(logits, label, at_least):
    for decision in (Decision(), Decision(threshold=Threshold(label=label, at_least=at_least))):
        shares = softmax(logits)
        found = tiled(decision=decision)[0]._sought(shares)
        for tile in np.ndindex(3, 2):
            assert found[tile] == (decision.label(dict(zip(("neg", "pos"), shares[tile].tolist(), strict=True))) == "pos")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("side", [20, 12])
def test_the_inputs_of_a_row_of_tiles_are_those_of_each_tile(channels, colour, side):
    shape = (64, 71, 3) if colour else (64, 71)
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    spec = InputSpec(height=side, width=side, channels=channels)
    grid = grid_of(shape, TILES)
    for row in range(grid.rows):
        for column, tensor in enumerate(row_inputs(picture, grid, row, spec)):
            assert np.array_equal(whole_input(tensor, spec), model_input(grid.tile(picture, row, column), spec))


def test_a_tile_has_the_score_that_it_has_as_an_image(tiny_path):
    picture = slice_with((40, 50, 9))
    with open_classifier(tiny_path, tiles=(40, 12)) as by_tiles, open_classifier(tiny_path) as single:
        answer = by_tiles(picture)
        grid = grid_of(picture.shape, TileSpec(size=40, stride=12, sought="pos"))
        alone = [single(grid.tile(picture, *place)) for place in grid.places()]
    wanted = [one.probabilities["pos"] for one in alone]
    assert scores_of(answer.tiles).ravel() == pytest.approx(wanted, abs=1 / 65_534)
    assert answer.probabilities == max(alone, key=lambda one: one.probabilities["pos"]).probabilities


def test_the_strongest_tile_speaks_for_the_picture():
    picture = slice_with((30, 30, 4), (70, 60, 8))
    classifier, one = tiled()
    answer = classifier.answer(picture)
    strongest = np.unravel_index(np.nanargmax(scores_of(answer.tiles)), (answer.tiles.rows, answer.tiles.columns))
    alone = one.answer(grid_of(picture.shape, TILES).tile(picture, *map(int, strongest)))
    assert (answer.decision, answer.label, answer.probabilities) == (alone.decision, alone.label, alone.probabilities)
    assert answer.decision == "pos"
    assert classifier.answer(slice_with()).decision == "neg"


def test_a_tile_that_would_be_refused_is_not_assessed_and_not_inferred():
    picture = slice_with((70, 50, 6))
    picture[:, :40] = 0
    classifier, one = tiled()
    answer = classifier.answer(picture)
    scores = scores_of(answer.tiles)
    assert np.isnan(scores[:, :6]).all()
    assert not np.isnan(scores[:, 8:]).any()
    assert one.runtime.calls == answer.tiles.assessed == np.count_nonzero(~np.isnan(scores))


def test_a_picture_with_no_tile_that_can_be_assessed_is_refused():
    classifier, _ = tiled()
    with pytest.raises(ImageError, match="E-IMAGE-UNIFORM") as refused:
        classifier.answer(np.full((100, 100), 90, np.uint8))
    assert refused.value.code == "E-TILES-NONE"


def test_tiles_unlike_the_training_images_are_counted_and_a_strongest_one_is_referred():
    level = Range(low=0, high=100, least=0, most=100)
    envelope = Envelope(images=1, quantiles=(0.0, 1.0), ranges={"mean": level})
    picture = slice_with((50, 50, 12))
    classifier, _ = tiled(envelope=envelope)
    answer = classifier.answer(picture)
    assert answer.decision == "refer"
    assert answer.outside == ("mean",)
    assert answer.tiles.outside > 0
    refusing, _ = tiled(envelope=envelope, outside="refuse")
    refused = refusing.answer(picture)
    assert refused.tiles.outside == 0
    assert refused.tiles.assessed == answer.tiles.assessed - answer.tiles.outside


def test_logits_that_are_not_finite_are_an_error_and_no_score():
    class Broken(Centre):
        def logits(self, image):
            return np.array([0, np.nan], np.float32)

    classifier, _ = tiled(runtime=Broken())
    with pytest.raises(RuntimeUnavailable) as refused:
        classifier.answer(slice_with())
    assert refused.value.code == "E-RUNTIME-FINITE"


def test_whoever_waits_hears_of_every_row_and_every_inference():
    heard = []
    one = Classifier(Centre(), ("neg", "pos"), SPEC, Decision())
    answer = TiledClassifier(one, TILES, SingleTiles(one), lambda: heard.append(1)).answer(slice_with())
    assert len(heard) == answer.tiles.rows + answer.tiles.assessed


def test_scores_are_stored_to_within_half_a_part():
    scores = np.array([[0.0, 1.0], [np.nan, 1 / 3]])
    answer = tiled()[0].answer(slice_with())
    back = scores_of(replace(answer.tiles, rows=2, columns=2, scores=stored_scores(scores)))
    assert np.isnan(back[1, 0])
    assert back[0].tolist() == [0.0, 1.0]
    assert abs(back[1, 1] - 1 / 3) <= 0.5 / 65_534


# Peaks


def test_each_spot_is_a_peak_at_its_place():
    spots = [(30, 34, 6), (72, 30, 6), (50, 75, 6)]
    answer = tiled()[0].answer(slice_with(*spots))
    found = sorted((peak.x, peak.y) for peak in answer.peaks)
    assert len(found) == 3
    for (x, y), (wanted_x, wanted_y, _) in zip(found, sorted(spots), strict=True):
        assert math.hypot(x - wanted_x, y - wanted_y) < 2


def test_a_picture_without_a_spot_has_no_peak():
    assert tiled()[0].answer(slice_with()).peaks == ()


def test_a_peak_needs_the_sought_label_by_the_decision_rule():
    picture = slice_with((50, 50, 6))
    strict = Decision(refer_below=0.5, threshold=Threshold(label="pos", at_least=0.9999))
    assert tiled()[0].answer(picture).peaks
    assert tiled(decision=strict)[0].answer(picture).peaks == ()


def test_a_peak_says_whether_it_is_decided_or_referred():
    picture = slice_with((50, 50, 6))
    assert {peak.decision for peak in tiled()[0].answer(picture).peaks} == {"pos"}
    assert {peak.decision for peak in tiled(decision=Decision(refer_below=1.0))[0].answer(picture).peaks} == {"refer"}


def test_places_are_in_millimetres_too_if_the_spacing_is_known():
    class Slice(np.ndarray):
        place = SlicePlace("s", "t", "u", spacing_mm=(0.5, 2.0))

    peak = tiled()[0].answer(slice_with((50, 60, 6)).view(Slice)).peaks[0]
    assert (peak.x_mm, peak.y_mm) == pytest.approx((peak.x * 2.0, peak.y * 0.5), abs=5e-4)


@given(arrays(np.float64, (12, 15), elements=st.sampled_from([0.1, 0.4, 0.6, 0.9, 1.0, math.nan])), st.integers(1, 6))
def test_no_peak_is_within_half_a_tile_of_a_stronger_one_and_every_sought_tile_is_near_a_peak(scores, stride):
    grid = Grid(size=20, stride=stride, rows=12, columns=15, first=(0, 0))
    found = peaks(ranked(scores, grid, scores > 0.5), grid)
    for index, one in enumerate(found):
        assert all(math.dist(one, other) * stride > 10 for other in found[:index])
    for place in np.argwhere(scores > 0.5).tolist():
        assert any(math.dist(place, peak) * stride <= 10 for peak in found) or len(found) == 100
    assert [scores[peak] for peak in found] == sorted((scores[peak] for peak in found), reverse=True)


def test_of_a_plateau_the_middle_is_the_peak():
    scores = np.full((11, 11), 0.1)
    scores[3:8, 3:8] = 1.0
    grid = Grid(size=40, stride=8, rows=11, columns=11, first=(0, 0))
    found = peaks(ranked(scores, grid, scores > 0.5), grid)
    assert found[0] == (5, 5)
    assert centroid(scores, grid, 5, 5) == pytest.approx((5 * 8 + 19.5, 5 * 8 + 19.5))


def test_there_are_a_hundred_peaks_at_most():
    grid = Grid(size=4, stride=4, rows=20, columns=20, first=(0, 0))
    scores = np.ones((20, 20))
    assert len(peaks(ranked(scores, grid, scores > 0), grid)) == 100
