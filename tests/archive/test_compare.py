"""`limiar archive compare`: what a new bundle changes over the same images."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import row, write_archive
from limiar.edge_app.archive import keys
from limiar.edge_app.archive.columns import Row
from limiar.edge_app.archive.compare import compare_archives
from limiar.edge_app.archive.merge import merge_archive
from limiar.edge_app.errors import ArchiveError

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
CHANGED = "E-IMAGE-CHANGED"


def first_answers(chunks: list[list[Row]]) -> dict[object, Row]:
    found: dict[object, Row] = {}
    for one in (one for rows in chunks for one in rows):
        key = (one.sha256, one.frame) if one.sha256 else one.path
        if key not in found or found[key].code and not one.code:
            found[key] = one
    return found


rows_of_a_chunk = st.lists(
    st.builds(
        row,
        st.integers(0, 12),
        st.sampled_from(["pos", "neg", "refer", "E-IMAGE-CRASH"]),
        st.sampled_from([0.5, 0.75, 1.0]),
        frame=st.none() | st.integers(1, 2),
    )
    | st.builds(row, st.none(), st.just("E-IMAGE-MISSING"), path=st.sampled_from(["/a.png", "/b.png"])),
    min_size=1,
    max_size=20,
)
archives = st.lists(rows_of_a_chunk, min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(old=archives, new=archives, held=st.integers(1, 40))
def test_a_comparison_is_what_dictionaries_would_say(old: list[list[Row]], new: list[list[Row]], held: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "HELD", held)
        folders = [write_archive(Path(name) / which, chunks) for which, chunks in (("old", old), ("new", new))]
        found = compare_archives(*folders, images=1000)
    one, other = first_answers(old), first_answers(new)
    both = one.keys() & other.keys()
    assert (found.compared, found.only_old, found.only_new) == (len(both), len(one.keys() - both), len(other.keys() - both))
    want = Counter((one[key].decision, other[key].decision) for key in both)
    assert {(step.old, step.new): step.images for step in found.transitions} == want
    kinds = Counter({kind: count for kind, count in want.items() if kind[0] != kind[1]})
    assert found.changed.images == kinds.total()
    assert Counter((seen.old.decision, seen.new.decision) for seen in found.look) == kinds
    codes = Counter((one[key].code, other[key].code) for key in both if one[key].code or other[key].code)
    assert {(step.old, step.new): step.images for step in found.codes} == codes
    assert found.old.double == sum(map(len, old)) - len(one)
    for change in found.decisions:
        had = [key for key in both if one[key].decision == change.decision]
        assert (change.old.images, change.left.of) == (len(had), len(had))
        assert change.left.images == sum(other[key].decision != change.decision for key in had)
        assert change.left.low <= (change.left.share or 0) <= change.left.high


def two(folder: Path) -> tuple[Path, Path]:
    """80 images that stay, then some of each kind of change, and some in one alone."""
    same = [row(k, "neg", 0.8) for k in range(80)]
    old = [
        row(100, "neg", 0.7),
        row(101, "neg", 0.99),
        row(102, "pos"),
        row(103, "refer", 0.6),
        row(104, "E-IMAGE-CRASH"),
        row(105),
    ]
    new = [
        row(100, "pos", 0.7),
        row(101, "pos", 0.99),
        row(102, "E-IMAGE-DATA"),
        row(103, "neg", 0.7),
        row(104, "pos"),
        row(106),
    ]
    lost = row(None, "E-IMAGE-MISSING", path="/images/lost.png")
    more = [row(k, "neg", 0.85) for k in range(80)]
    return write_archive(folder / "old", [same, [*old, lost]]), write_archive(
        folder / "new", [[*new, lost], more], bundle="c" * 64
    )


def test_the_gravest_changes_come_first_and_of_them_the_surest(tmp_path: Path) -> None:
    found = compare_archives(*two(tmp_path))
    assert [one.path for one in found.look] == [f"/images/{k}.png" for k in (101, 100, 102, 103, 104)]
    assert [one.path for one in found.look_only] == ["/images/105.png", "/images/106.png"]
    assert found.summary.startswith("5 of 86 images decided differently, 5.81 % (")
    assert [(one.label, one.images, one.median) for one in found.shifts] == [("neg", 81, 0.05)]


def test_few_images_to_look_at_are_of_all_kinds(tmp_path: Path) -> None:
    found = compare_archives(*two(tmp_path), images=4)
    assert [one.path for one in found.look] == [f"/images/{k}.png" for k in (101, 102, 103, 104)]
    assert compare_archives(tmp_path / "old", tmp_path / "new", images=0).look == []


def test_many_labels_do_not_crowd_out_the_answers_that_became_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tuple(f"class {k}" for k in range(40))
    monkeypatch.setattr("archives.LABELS", labels)
    old = [row(k, labels[k % 40], 0.9) for k in range(1600)]
    new = [row(k, labels[k // 40], 0.99 if k == 1234 else 0.9) for k in range(1600)]
    old += [row(1600, "refer", 0.4), row(1601, labels[0], 0.5), row(1602, "refer", 0.3), row(1603, "E-IMAGE-DATA")]
    new += [row(1600, "E-IMAGE-DATA"), row(1601, "refer", 0.5), row(1602, labels[0], 0.9), row(1603, labels[0], 0.5)]
    for name, rows in (("old", old), ("new", new)):
        write_archive(tmp_path / name, [rows], labels=labels)
    found = compare_archives(tmp_path / "old", tmp_path / "new", images=7)
    assert found.look[0].path == "/images/1234.png"
    assert [one.path for one in found.look][-4:] == [f"/images/{k}.png" for k in (1600, 1601, 1602, 1603)]
    assert [one.label for one in found.shifts] == list(labels)


def test_merged_answers_are_compared_as_those_of_archives(tmp_path: Path) -> None:
    old, new = two(tmp_path)
    want = compare_archives(old, new)
    merge_archive(old, tmp_path / "old.parquet")
    merge_archive(new, tmp_path / "parts", file_rows=10)
    found = compare_archives(tmp_path / "old.parquet", tmp_path / "parts")
    assert (found.transitions, found.look, found.shifts) == (want.transitions, want.look, want.shifts)


def test_a_confidence_that_is_none_is_counted_as_one(tmp_path: Path) -> None:
    strange = (5.0, float("nan"), -3e300)
    old = write_archive(tmp_path / "old", [[row(k, confidence=one) for k, one in enumerate(strange)]])
    new = write_archive(tmp_path / "new", [[row(k, confidence=0.5) for k in range(3)]])
    assert [(one.low, one.median, one.high) for one in compare_archives(old, new).shifts] == [(-0.5, 0.0, 0.5)]


def test_chunks_that_are_missing_are_told(tmp_path: Path) -> None:
    old = write_archive(tmp_path / "old", [[row(1)], []])
    with pytest.raises(ArchiveError) as caught:
        compare_archives(old, old)
    assert caught.value.code == "E-MERGE-MISSING"
    assert compare_archives(old, old, partial=True).old.missing == 1


def test_other_labels_are_decisions_of_their_own(tmp_path: Path) -> None:
    old = write_archive(tmp_path / "old", [[row(1), row(2, "neg")]])
    renamed = row(2, "neg")
    renamed.label = renamed.decision = "none"
    renamed.probabilities = {"pos": 0.1, "none": 0.9}
    again = row(1)
    again.probabilities = {"pos": 0.9, "none": 0.1}
    new = write_archive(tmp_path / "new", [[again, renamed]], labels=("pos", "none"))
    found = compare_archives(old, new)
    assert [one.decision for one in found.decisions] == ["pos", "none", "neg", "refer", "refused"]
    assert found.changed.images == 1


@pytest.mark.parametrize(("percent", "status"), [("50", 0), ("8", 0), ("7", 3), ("0", 3)])
def test_the_exit_status_says_whether_too_much_changed(tmp_path: Path, limiar: Limiar, percent: str, status: int) -> None:
    done = limiar("archive", "compare", *two(tmp_path), "--fail-above", percent)  # 5 changed, 2 in one alone, of 88
    assert (done.returncode, done.stderr) == (status, b"")
    assert b"only in old 1, only in new 1" in done.stdout


def test_two_bundles_over_real_images(tmp_path: Path, bundle: Path, images: Path, limiar: Limiar) -> None:
    """The same network as int8 and fp32, by the command; one image is a name that would act on a page, one is gone by then."""
    hostile = images / "<script>alert(1)<b>.png"
    (images / "00001.png").rename(hostile)
    (images / "broken.png").write_bytes(b"no picture")
    for name, file in (("int8", "tflite_int8"), ("fp32", "tflite_fp32")):
        assert limiar("archive", "plan", tmp_path / name, "--bundle", bundle, "--file", file, images).returncode == 0
        assert limiar("archive", "run", tmp_path / name).returncode == 0
    page = tmp_path / "changes.html"
    words = ("archive", "compare", tmp_path / "int8", tmp_path / "fp32")
    done = limiar(*words, "--json", "--html", page)
    found = json.loads(done.stdout)
    assert (done.returncode, found["compared"], found["only_old"], found["only_new"]) == (0, 41, 0, 0)
    assert (found["old"]["file"], found["new"]["file"]) == ("tflite_int8", "tflite_fp32")
    assert {one["old"] == one["new"] for one in found["codes"]} == {True}
    html = page.read_text()
    assert "<script" not in html
    assert "https://" not in html
    assert found["summary"].split(",")[0] in re.sub(r"\s+", " ", html).replace("&gt;", ">")


def test_the_page_shows_the_pictures_that_can_be_read(tmp_path: Path, draw: Callable[..., list[Path]], limiar: Limiar) -> None:
    paths = draw(tmp_path / "images", 3)
    (tmp_path / "images" / "<b>.png").write_bytes(paths[0].read_bytes())
    sides = []
    for name, decision in (("old", "pos"), ("new", "neg")):
        rows = [row(k, decision, path=os.fspath(path)) for k, path in enumerate([tmp_path / "images" / "<b>.png", *paths[1:]])]
        for one in rows:
            one.sha256 = hashlib.sha256(Path(one.path).read_bytes()).hexdigest()
        sides.append(write_archive(tmp_path / name, [rows]))
    paths[1].write_bytes(b"another one by now")
    done = limiar("archive", "compare", *sides, "--html", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert done.returncode == 0
    assert html.count('<img src="data:image/jpeg;base64,') == 2
    assert f"no picture: {CHANGED}" in html
    assert "&lt;b&gt;.png" in html
    assert "<b>.png" not in html
