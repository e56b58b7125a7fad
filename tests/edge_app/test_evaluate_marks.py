"""`limiar evaluate --marks`: positions that the peaks of tiles should find."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limiar as api
from limiar.convert.evaluate.evaluation import Place
from limiar.convert.evaluate.marks import candidates, read_marks
from limiar.edge_app.errors import DataError
from limiar.train.record.froc import Mark

TILES = (40, 8)


def picture(path: Path, *dark: tuple[int, int], seed: int = 0) -> None:
    """Noise with dark squares as large as a tile, which the tiny model takes for pos; dark: x, y of their middles."""
    pixels = np.random.default_rng(seed).integers(0, 256, (120, 160), dtype=np.uint8)
    for x, y in dark:
        pixels[y - 20 : y + 20, x - 20 : x + 20] //= 2
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a has two dark places, b one, c and d none."""
    folder = tmp_path_factory.mktemp("marks") / "pictures"
    for number, (name, dark) in enumerate({"a": [(40, 40), (120, 80)], "b": [(80, 60)], "c": [], "d": []}.items()):
        picture(folder / f"{name}.png", *dark, seed=number)
    return folder


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))


@pytest.fixture
def table(tmp_path: Path):
    """table("a.png,40,40,8", …, head="file,x,y,radius")."""

    def write(*lines: str, head: str = "file,x,y,radius") -> Path:
        path = tmp_path / "marks.csv"
        path.write_text("\n".join((head, *lines)) + "\n")
        return path

    return write


MARKS = ("a.png,40,40,8", "a.png,120,80,8", "d.png,50,50,8")


def test_marks_that_a_peak_is_on_are_found_and_peaks_on_no_mark_are_false(tiny_path, pictures, table):
    found = api.evaluate(tiny_path, pictures, tiles=TILES, marks=table(*MARKS)).marks
    assert (found.marks, found.pictures, found.marked_pictures, found.sought) == (3, 4, 2, "pos")
    assert found.reported.sensitivity.value == pytest.approx(2 / 3)
    assert found.reported.false_positives.value == 1 / 4
    assert [(one.file, one.x, one.y) for one in found.missed] == [("d.png", 50.0, 50.0)]
    (false,) = found.false
    assert false.file == "b.png"
    assert (false.x, false.y) == (pytest.approx(80, abs=8), pytest.approx(60, abs=8))


def test_the_curve_goes_on_beyond_what_a_device_reports(tiny_path, pictures, table):
    found = api.evaluate(tiny_path, pictures, tiles=TILES, marks=table(*MARKS)).marks
    # The false peak of b is stronger than those on the marks of a; the mark of d is found if every tile counts.
    assert found.froc.curve[:4] == ((0, 0), (0.25, 0), (0.25, 1 / 3), (0.25, 2 / 3))
    assert found.froc.curve[-1][1] == 1.0
    assert found.froc.cpm.value == pytest.approx(2 / 3 * 6 / 7)


@pytest.mark.parametrize(("x", "share"), [(55, 1.0), (65, 0.5)])
def test_without_a_radius_a_peak_may_be_half_a_tile_away(tiny_path, pictures, table, x, share):
    marks = table(f"a.png,{x},40", "a.png,120,80", head="file,x,y")  # the peak is at 40,40, about
    assert read_marks(marks, 40).of == {("a.png", None): (Mark(x, 40, 20), Mark(120, 80, 20))}
    assert api.evaluate(tiny_path, pictures, tiles=TILES, marks=marks).marks.reported.sensitivity.value == share


def test_pictures_with_a_mark_have_the_sought_label_and_the_others_not(tiny_path, pictures, table):
    found = api.evaluate(tiny_path, pictures, tiles=TILES, marks=table(*MARKS))
    assert {name: own.images for name, own in found.labels.items()} == {"pos": 2, "neg": 2}


def test_a_table_gives_labels_and_splits_and_must_agree_with_the_marks(tiny_path, pictures, table, tmp_path):
    listed = tmp_path / "labels.csv"
    listed.write_text("file,label,split\na.png,pos,test\nb.png,neg,test\nc.png,neg,val\nd.png,pos,val\n")
    found = api.evaluate(tiny_path, pictures, csv=listed, tiles=TILES, marks=table(*MARKS))
    assert (found.marks.pictures, found.marks.marks) == (2, 2)
    with pytest.raises(DataError, match=r"E-EVALUATE-MARKS.*d\.png has the label pos, and has no mark"):
        api.evaluate(tiny_path, pictures, csv=listed, tiles=TILES, marks=table(*MARKS[:2]))


def test_a_refused_picture_has_missed_marks_and_no_peak(tiny_path, pictures, table, tmp_path):
    picture(tmp_path / "own" / "a.png", (40, 40), (120, 80))
    whole = (tmp_path / "own" / "a.png").read_bytes()
    (tmp_path / "own" / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = api.evaluate(tiny_path, tmp_path / "own", tiles=TILES, marks=table("a.png,40,40", "cut.png,40,40", head="file,x,y"))
    assert found.refused_images == 1
    assert found.marks.reported.sensitivity.value == 0.5
    assert found.marks.missed == (Place("cut.png", None, 40.0, 40.0, 0.0),)


def test_marks_to_be_ignored_are_not_looked_for_and_peaks_there_are_not_false(tiny_path, pictures, table):
    marks = table(*(f"{mark}," for mark in MARKS), "b.png,80,60,8,yes", head="file,x,y,radius,ignore")
    found = api.evaluate(tiny_path, pictures, tiles=TILES, marks=marks)
    assert (found.marks.marks, found.marks.marked_pictures) == (3, 2)
    assert found.marks.reported.false_positives.value == 0.0
    assert found.labels["pos"].images == 2  # b counts as a picture without a mark


@pytest.mark.parametrize(
    ("head", "line", "met"),
    [
        ("file,x", "a.png,1", "has no column y"),
        ("name,x,y", "a.png,1,1", "has no column file"),
        ("file,x_mm,y_mm", "a.png,1,1", "has no column radius_mm"),
        ("file,x,y", "a.png,left,1", "line 2 has"),
        ("file,x,y", "a.png,nan,1", "line 2 has"),
        ("file,x,y,radius", "a.png,1,1,0", "line 2 has"),
        ("file,x,y,ignore", "a.png,1,1,maybe", "line 2 has"),
        ("file,x,y,ignore", "a.png,1,1,yes", "no mark is in one of the 4 pictures"),
        ("file,frame,x,y", "a.png,0,1,1", "line 2 has"),
        ("file,frame,x,y", "a.png,2,1,1", "a.png has no frame 2"),
        ("file,x,y", "e.png,1,1", "e.png, which is not among the images"),
        ("file,x_mm,y_mm,radius_mm", "a.png,1,1,1", "does not say how far its pixels are apart"),
    ],
)
def test_a_table_of_marks_that_cannot_be_meant_is_refused(tiny_path, pictures, table, head, line, met):
    with pytest.raises(DataError, match=f"E-EVALUATE-MARKS: .*{met}"):
        api.evaluate(tiny_path, pictures, tiles=TILES, marks=table(line, head=head))


def test_marks_without_tiles_are_refused(tiny_path, pictures, table):
    with pytest.raises(DataError, match="E-EVALUATE-MARKS: tiny answers a picture as one image"):
        api.evaluate(tiny_path, pictures, marks=table(*MARKS))


def test_the_peaks_of_a_device_are_the_first_of_those_at_any_threshold(tiny_path, pictures):
    with api.open_classifier(tiny_path, tiles=TILES) as classify:
        for name in "abcd":
            answer = classify(pictures / f"{name}.png")
            at_any = candidates(answer.tiles)
            assert len(at_any) > len(answer.peaks)
            for peak, (x, y, score) in zip(answer.peaks, at_any, strict=False):
                assert (peak.x, peak.y, peak.score) == pytest.approx(
                    (x, y, score), abs=0.006
                )  # places to a hundredth of a pixel


def test_the_command_prints_what_was_found_and_the_page_draws_it(tiny_path, pictures, table, tmp_path, limiar):
    pytest.importorskip("jinja2", reason="pages need jinja2")
    page = tmp_path / "page.html"
    done = limiar("evaluate", tiny_path, pictures, "--tiles", "40,8", "--marks", table(*MARKS), "--html", page)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    assert "3 marks in 2 of 4 pictures\n  found              0.667   95 % interval" in out
    assert "  CPM, their mean    0.571   95 % interval" in out
    assert 'aria-label="FROC.' in page.read_text()
