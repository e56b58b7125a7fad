"""`limiar archive merge`: each image once, in the order of the plan, whole or not at all."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import LABELS, row, write_archive
from limiar.edge_app.archive import keys
from limiar.edge_app.archive.columns import COLUMNS, Row, read_footer, read_rows
from limiar.edge_app.archive.merge import merge_archive
from limiar.edge_app.errors import ArchiveError

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def written(path: Path) -> list[dict[str, object]]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [one for file in files for batch in read_rows(file) for one in batch.to_pylist()]


def by_dictionary(chunks: list[list[Row]]) -> list[tuple[int, int]]:
    """(chunk, row) of the rows to keep, by brute force."""
    best: dict[tuple[object, ...], tuple[bool, int, int]] = {}
    for number, rows in enumerate(chunks):
        for place, one in enumerate(rows):
            identity = (one.sha256, None if one.sha256 else one.path, one.bundle, one.file, one.runtime, one.frame)
            if one.sha256 is None:  # a file that cannot be read has no frames
                identity = (*identity[:-1], None)
            offer = (one.code is not None, number, place)
            best[identity] = min(best.get(identity, offer), offer)
    return sorted((number, place) for _, number, place in best.values())


rows_of_a_chunk = st.lists(
    st.builds(
        row,
        st.none() | st.integers(0, 5),
        st.sampled_from(["pos", "neg", "refer", "E-IMAGE-CRASH", "E-IMAGE-MISSING"]),
        path=st.sampled_from(["/a.png", "/b.png", "s3://bucket/a.png"]),
        frame=st.none() | st.integers(1, 2),
        runtime=st.sampled_from(["litert 2", "litert 3"]),
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: [one for one in rows if one.sha256 or one.code] or [row(9)])


@settings(max_examples=30, deadline=None)
@given(chunks=st.lists(rows_of_a_chunk, min_size=1, max_size=5), held=st.integers(1, 40), file_rows=st.integers(1, 20))
def test_a_merge_is_what_a_dictionary_would_keep(chunks: list[list[Row]], held: int, file_rows: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(keys, "HELD", held)  # so that there are many partitions
        write_archive(folder / "work", chunks)
        want = by_dictionary(chunks)
        merged = merge_archive(folder / "work", folder / "merged.parquet")
        merge_archive(folder / "work", folder / "parts", file_rows=file_rows)
        for made in (folder / "merged.parquet", folder / "parts"):
            found = written(made)
            assert [(one["chunk"], one["row"]) for one in found] == want
            assert [one["path"] for one in found] == [chunks[number][place].path for number, place in want]
        assert merged.rows == len(want)
        assert merged.double == sum(map(len, chunks)) - len(want)
        assert sum(merged.refused.values()) == sum(one["code"] is not None for one in found)
        assert {path.name for path in folder.iterdir()} == {"work", "merged.parquet", "parts"}


def test_an_answer_is_kept_rather_than_a_refusal_of_the_same_image(tmp_path: Path) -> None:
    write_archive(tmp_path / "work", [[row(1, "E-IMAGE-CRASH")], [row(1, "pos"), row(2, "E-IMAGE-CRASH")]])
    merged = merge_archive(tmp_path / "work", tmp_path / "merged.parquet")
    assert [(one["path"], one["code"]) for one in written(tmp_path / "merged.parquet")] == [
        ("/images/1.png", None),
        ("/images/2.png", "E-IMAGE-CRASH"),
    ]
    assert (merged.rows, merged.double, merged.refused) == (2, 1, {"E-IMAGE-CRASH": 1})


def test_a_merged_file_says_what_it_has(tmp_path: Path) -> None:
    frames = [row(3, frame=number) for number in (1, 2, 3)]
    write_archive(tmp_path / "work", [[row(1), *frames], [row(4, "E-IMAGE-DATA"), row(1)]])
    merge_archive(tmp_path / "work", tmp_path / "merged.parquet")
    footer = read_footer(tmp_path / "merged.parquet")
    assert (footer.rows, footer.images, footer.labels, footer.refused) == (5, 3, LABELS, {"E-IMAGE-DATA": 1})
    assert pq.read_schema(tmp_path / "merged.parquet").remove_metadata() == COLUMNS


def test_what_was_merged_can_be_merged_once_more(tmp_path: Path) -> None:
    write_archive(tmp_path / "work", [[row(k) for k in range(9)], [row(k) for k in range(5, 12)]])
    merge_archive(tmp_path / "work", tmp_path / "parts", file_rows=4)
    merged = merge_archive(tmp_path / "parts", tmp_path / "one.parquet")
    assert (merged.rows, merged.double) == (12, 0)
    assert written(tmp_path / "one.parquet") == written(tmp_path / "parts")


def test_a_chunk_that_is_not_done_is_missed_unless_partial(tmp_path: Path) -> None:
    write_archive(tmp_path / "work", [[row(1)], [], [row(2)]])
    with pytest.raises(ArchiveError) as caught:
        merge_archive(tmp_path / "work", tmp_path / "merged.parquet")
    assert caught.value.code == "E-MERGE-MISSING"
    assert not (tmp_path / "merged.parquet").exists()
    merged = merge_archive(tmp_path / "work", tmp_path / "merged.parquet", partial=True)
    assert (merged.rows, merged.missing) == (2, 1)


@pytest.mark.parametrize(
    ("name", "code"), [("full", "E-MERGE-OUT"), ("folder.parquet", "E-MERGE-OUT"), ("plain", "E-MERGE-OUT")]
)
def test_a_place_that_is_taken_is_left_alone(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "plain").write_text("mine")
    write_archive(tmp_path / "work", [[row(1)]])
    with pytest.raises(ArchiveError) as caught:
        merge_archive(tmp_path / "work", tmp_path / name)
    assert caught.value.code == code
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "plain").read_text() == "mine"


def test_a_damaged_chunk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    out = write_archive(tmp_path / "work", [[row(1)], [row(2)]])
    damaged = sorted((out / "done").iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(ArchiveError) as caught:
        merge_archive(out, tmp_path / "merged.parquet")
    assert (caught.value.code, damaged.name in caught.value.message) == ("E-CHUNK-DAMAGED", True)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize("how", ["swapped", "emptied", "taken from another archive"])
def test_a_chunk_with_the_rows_of_another_one_is_said_and_loses_no_image(tmp_path: Path, how: str, limiar: Limiar) -> None:
    out = write_archive(tmp_path / "work", [[row(1), row(2)], [row(3), row(4)]])
    other = write_archive(tmp_path / "other", [[row(5), row(6)]])
    one, another = sorted((out / "done").iterdir())
    if how == "emptied":
        pq.write_table(pq.read_table(one).slice(0, 1), one)
    else:
        shutil.copy(another if how == "swapped" else next((other / "done").iterdir()), one)
    with pytest.raises(ArchiveError, match="E-CHUNK-DAMAGED"):
        merge_archive(out, tmp_path / "merged.parquet")
    done = limiar("archive", "status", out)
    assert (done.returncode, b"chunk 0: E-CHUNK-DAMAGED: " in done.stdout) == (3, True)


def test_a_folder_without_answers_is_told(tmp_path: Path, limiar: Limiar) -> None:
    done = limiar("archive", "merge", tmp_path, "--out", tmp_path / "merged.parquet")
    assert (done.returncode, b"E-MERGE-SOURCE" in done.stderr) == (1, True)


def many_rows(out: Path, chunks: int, rows: int) -> Path:
    """An archive of that many rows; one in ten is of an image that was there before."""
    rng = random.Random(1)
    every = (range(number * rows, (number + 1) * rows) for number in range(chunks))
    return write_archive(out, ([row(rng.randrange(k + 1) if rng.random() < 0.1 else k) for k in own] for own in every))


def test_a_merge_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    many_rows(tmp_path / "work", 10, 500)
    merged, parts = tmp_path / "merged.parquet", tmp_path / "parts"
    code = """
import sys
from limiar.edge_app.archive.merge import merge_archive
print("ready", flush=True)
merge_archive(sys.argv[1], sys.argv[2])
merge_archive(sys.argv[1], sys.argv[3])
"""
    words = [sys.executable, "-P", "-c", code, str(tmp_path / "work"), str(merged), str(parts)]

    def killed_after(wait_s: float | None) -> float:
        shutil.rmtree(parts, ignore_errors=True)
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            started = time.monotonic()
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                process.kill()
        return time.monotonic() - started

    took = killed_after(None)
    want, rows = merged.read_bytes(), read_footer(merged).rows
    rng = random.Random(0)
    for _ in range(5):
        merged.write_bytes(b"the old file")
        killed_after(rng.uniform(0, 1.2) * took)
        assert merged.read_bytes() in (b"the old file", want)
        assert not parts.exists() or len(written(parts)) == rows
    killed_after(None)
    assert merged.read_bytes() == want
    assert {path.name for path in tmp_path.iterdir()} == {"work", "merged.parquet", "parts"}  # nothing of the killed ones


@pytest.mark.parametrize("command", ["merge", "compare"])
def test_sigterm_removes_what_was_needed_meanwhile(tmp_path: Path, command: str) -> None:
    out = many_rows(tmp_path / "work", 60, 5000)
    at = tmp_path / "scratch"
    at.mkdir()
    words = {"merge": [out, "--out", at / "merged.parquet"], "compare": [out, out, "--scratch", at]}[command]
    running = subprocess.Popen([sys.executable, "-P", "-m", "limiar", "archive", command, *map(str, words)])
    until = time.monotonic() + 60
    while not [*at.rglob("keys/*")] and time.monotonic() < until:
        time.sleep(0.005)
    if command == "compare":  # which has file names, and may be in a folder that all users share
        assert [path.stat().st_mode & 0o777 for path in at.iterdir()] == [0o700]
    running.terminate()
    assert running.wait(60) == 143
    assert list(at.iterdir()) == []


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Each row has 300 bytes of path and more, so that 200,000 of them would be 100 MB."""
    code = """
import sys
from limiar.edge_app.archive.columns import without_pandas
without_pandas()
from limiar.edge_app.archive.merge import merge_archive
from limiar.edge_app.bench.start import memory_mb
print(merge_archive(*sys.argv[1:]).rows, memory_mb("VmHWM"))
"""
    peaks = []
    for count in (4, 40):
        many_rows(tmp_path / f"work{count}", count, 5000)
        words = [sys.executable, "-P", "-c", code, str(tmp_path / f"work{count}"), str(tmp_path / f"{count}.parquet")]
        done = subprocess.run(words, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows, peak = map(float, done.stdout.split())
        assert 0.85 * 5000 * count < rows < 0.95 * 5000 * count
        peaks.append(peak)
    print(peaks)
    assert peaks[1] < peaks[0] + 150
    assert peaks[1] < 450


def test_the_command_says_what_it_merged(tmp_path: Path, limiar: Limiar) -> None:
    write_archive(tmp_path / "work", [[row(1), row(2)], [row(1)]])
    done = limiar("archive", "merge", tmp_path / "work", "--out", tmp_path / "merged.parquet", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["rows"], said["double"], said["files"]) == (0, 2, 1, 1)
    done = limiar("archive", "merge", tmp_path / "work", "--out", tmp_path / "parts")
    assert done.stdout.startswith(os.fsencode(f"{tmp_path / 'parts'}: 2 rows, 0 refused, "))
    assert done.stderr == b""
