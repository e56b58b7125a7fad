"""The chunks of an archive: the answers are those of a plain scan, whatever else happens, and each is done once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_bundles import dicom_bundle
from dicom_files import dicom_file
from limiar.edge_app.archive import chunk as chunks
from limiar.edge_app.archive.chunk import Stopped, read_failed, run_chunk
from limiar.edge_app.archive.columns import Row, read_rows
from limiar.edge_app.archive.make_plan import plan_archive
from limiar.edge_app.archive.plan import Archive, open_archive
from limiar.edge_app.archive.status import archive_status
from limiar.edge_app.errors import ArchiveError, LimiarError
from limiar.edge_app.system import python
from poison import poison_name, poisoned
from privileges import need_root

Draw = Callable[..., list[Path]]
Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
TIMES = ("decode_ms", "resize_ms", "infer_ms")  # which no two runs share


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))


@pytest.fixture
def planned(tmp_path: Path, bundle: Path, images: Path) -> Archive:
    """40 images in chunks of 15."""
    return plan_archive(tmp_path / "work", bundle, [images], chunk_images=15)


def rows_of(archive: Archive) -> list[dict[str, Any]]:
    found = [row for chunk in archive.chunks() for rows in read_rows(archive.done_path(chunk)) for row in rows.to_pylist()]
    return [{key: _value(key, value) for key, value in row.items() if key not in TIMES} for row in found]


def _value(key: str, value: Any) -> Any:
    return json.loads(value) if key in ("tiles", "peaks", "dicom") and value else value


def as_rows(lines: bytes, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """What a plain scan printed, in the columns of an archive, but for the chunk and the number of the row."""
    rows = []
    for line in map(json.loads, lines.splitlines()):
        line = {key: line.get(key) for key in Row.__struct_fields__ if key != "ms"}
        line["sha256"] = line["sha256"] and bytes.fromhex(line["sha256"])
        line["probabilities"] = line["probabilities"] and [line["probabilities"][label] for label in labels]
        rows.append(line)
    return rows


def without_place(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("chunk", "row")} for row in rows]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_answers_of_all_chunks_are_those_of_a_plain_scan_row_for_row(
    tmp_path: Path, bundle: Path, images: Path, limiar: Limiar, draw: Draw
) -> None:
    (images / "00003.png").write_bytes((images / "00003.png").read_bytes()[:500])
    (images / "00004.png").write_bytes(b"")
    (images / "00005.png").write_bytes((images / "00006.png").read_bytes())
    (images / "00007.png").unlink()
    (images / "00007.png").mkdir()
    (images / "00008.png").unlink()
    (images / "00008.png").symlink_to("00009.png")
    odd = Path(os.fsdecode(os.fsencode(images) + b"/\xff\n--json.png"))
    shutil.copy(images / "00010.png", odd)
    archive = plan_archive(tmp_path / "work", bundle, [images, images / "00010.png", images / "gone.png"], chunk_images=15)
    done = limiar("archive", "run", archive.out)
    assert done.returncode == 0, done.stderr
    plain = limiar("scan", bundle, images, images / "00010.png", images / "gone.png", "--db", tmp_path / "plain.db")
    rows = rows_of(archive)
    assert without_place(rows) == as_rows(plain.stdout, archive.plan.labels)
    assert [(row["chunk"], row["row"]) for row in rows] == [(k // 15, k % 15) for k in range(len(rows))]
    assert {row["decision"] for row in rows} > {"refused"}
    assert {row["code"] for row in rows} >= {"E-IMAGE-TRUNCATED", "E-IMAGE-NOT-FILE", "E-IMAGE-LINK", "E-IMAGE-MISSING"}


def test_the_options_of_the_plan_reach_the_scan(tmp_path: Path, bundle: Path, images: Path, limiar: Limiar) -> None:
    options: list[str] = ["--file", "tflite_fp32", "--outside", "ignore", "--refer-below", "0.6", "--tiles", "40,8"]
    assert limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, images, *options).returncode == 0
    assert limiar("archive", "run", tmp_path / "work").returncode == 0
    plain = limiar("scan", bundle, images, "--db", tmp_path / "plain.db", *options)
    archive = open_archive(tmp_path / "work")
    assert without_place(rows_of(archive)) == as_rows(plain.stdout, archive.plan.labels)


def test_a_chunk_that_is_done_is_not_answered_again(planned: Archive, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    first = run_chunk(planned, 1, scratch)
    path = planned.done_path(planned.chunk(1))
    before = path.stat().st_mtime_ns, path.read_bytes()
    again = run_chunk(planned, 1, scratch)
    assert (first.fresh, again.fresh) == (True, False)
    assert (again.number, again.rows, again.images, again.refused) == (1, 15, 15, {})
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert left_in(scratch) == []
    assert [chunk.number for chunk in planned.missing()] == [0, 2]


def test_two_processes_may_do_the_same_chunk_at_once(planned: Archive, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "limiar",
        "archive",
        "run",
        planned.out,
        "--scratch",
        tmp_path / "scratch",
        "--chunk",
    ]
    running = [subprocess.Popen([*command, "0-1"], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert len(rows_of_chunks(planned, 0, 1)) == 30
    assert left_in(planned.out / "done") == sorted(planned.done_path(planned.chunk(k)).name for k in (0, 1))
    assert left_in(tmp_path / "scratch") == []


def rows_of_chunks(archive: Archive, *numbers: int) -> list[dict[str, Any]]:
    return [row for k in numbers for rows in read_rows(archive.done_path(archive.chunk(k))) for row in rows.to_pylist()]


def test_another_bundle_than_the_plans_is_refused_and_a_copy_of_it_is_not(
    planned: Archive, tmp_path: Path, bundle: Path, limiar: Limiar
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    manifest = other / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"version"', b' "version"', 1))
    for wrong in (other, tmp_path / "gone"):
        done = limiar("archive", "run", planned.out, "--chunk", "0", "--bundle", wrong)
        assert done.returncode == 1
        assert b"chunk 0: E-PLAN-BUNDLE: " in done.stderr
    assert limiar("archive", "run", planned.out, "--chunk", "0", "--bundle", copy).returncode == 0


def test_a_bundle_that_is_damaged_is_said_by_its_own_code_and_noted(
    planned: Archive, tmp_path: Path, bundle: Path, limiar: Limiar
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "extra").write_bytes(b"")
    for _ in range(2):
        assert b"E-BUNDLE-UNLISTED" in limiar("archive", "run", planned.out, "--chunk", "0", "--bundle", copy).stderr
    failed = read_failed(planned, planned.chunk(0))
    assert failed is not None
    assert (failed.number, failed.code, failed.tries) == (0, "E-BUNDLE-UNLISTED", 2)
    status = limiar("archive", "status", planned.out)
    assert status.returncode == 3
    assert b"0 of 3 done, 1 failed" in status.stdout
    assert b"chunk 0: E-BUNDLE-UNLISTED: " in status.stdout
    assert limiar("archive", "run", planned.out).returncode == 0
    assert limiar("archive", "status", planned.out).returncode == 0
    assert left_in(planned.out / "failed") == []


KILLED = "import os; os.kill(os.getpid(), 9)"
SHORT = "import sys; sys.stdin.buffer.read()"
WRONG = "import sys; print('{')"
SAYS = "import sys; sys.exit('E-STORE-FULL: the disk is full: free space')"


@pytest.mark.parametrize(
    ("script", "code"),
    [(KILLED, "E-CHUNK-SCAN"), (SHORT, "E-CHUNK-LINES"), (WRONG, "E-CHUNK-LINES"), (SAYS, "E-STORE-FULL")],
)
def test_a_scan_that_fails_leaves_no_answers_and_its_reason(
    planned: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: str
) -> None:
    monkeypatch.setattr(python, "LIMIAR_CHILD", script)
    with pytest.raises(ArchiveError) as raised:
        run_chunk(planned, 0, tmp_path / "scratch")
    assert raised.value.code == code
    failed = read_failed(planned, planned.chunk(0))
    assert failed is not None
    assert failed.code == code
    assert left_in(planned.out / "done") == left_in(tmp_path / "scratch") == []


def line(path: str, frame: int | None = None, bundle: str = "b") -> Row:
    return Row("pos", bundle, "f", "r", "bundle", "a", path=path, frame=frame)


def named(lines: list[Row], *given: bytes) -> list[str]:
    return [row.path for rows in chunks._named([lines], given, given, "b") for row in rows]


def test_the_lines_of_a_file_with_several_frames_belong_to_one_path() -> None:
    frames = [line("/a", 1), line("/a", 2), line("/b", 1), line("/b", 2), line("/b", 1), line("/b", 3), line("/c")]
    assert len(named(frames, b"/a", b"/b", b"/b", b"/c")) == 7
    for lines in ([line("/a")], [line("/b"), line("/a")], [line("/a"), line("/a")], [line("/a"), line("/b"), line("/c")]):
        with pytest.raises(ArchiveError, match="E-CHUNK-LINES"):
            named(lines, b"/a", b"/b")
    with pytest.raises(ArchiveError, match="the bundle was replaced"):
        named([line("/a", bundle="c")], b"/a")


def test_a_folder_in_place_of_an_image_without_extension_is_refused_and_not_entered(
    tmp_path: Path, bundle: Path, images: Path
) -> None:
    shutil.copy(images / "00000.png", tmp_path / "IM0001")
    archive = plan_archive(tmp_path / "work", bundle, [tmp_path / "IM0001"])
    (tmp_path / "IM0001").unlink()
    shutil.copytree(images, tmp_path / "IM0001")
    run_chunk(archive, 0)
    assert [(row["path"], row["code"]) for row in rows_of(archive)] == [(str(tmp_path / "IM0001"), "E-IMAGE-NOT-FILE")]


def test_others_on_the_machine_do_not_see_what_a_chunk_has_meanwhile(planned: Archive, tmp_path: Path) -> None:
    modes = set()

    def stop() -> bool:
        modes.update(path.stat().st_mode & 0o777 for path in (tmp_path / "scratch").iterdir())
        return False

    run_chunk(planned, 0, tmp_path / "scratch", stop=stop)
    assert modes == {0o700}


def test_it_stops_when_it_is_told_to_and_the_chunk_is_as_before(planned: Archive, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run_chunk(planned, 0, tmp_path / "scratch", stop=lambda: True)
    assert left_in(planned.out / "done") == left_in(planned.out / "failed") == left_in(tmp_path / "scratch") == []


def test_killed_at_any_time_a_chunk_is_whole_or_not_there_and_the_next_run_does_the_rest(
    tmp_path: Path, bundle: Path, draw: Draw
) -> None:
    draw(tmp_path / "in", 400)
    archive = plan_archive(tmp_path / "work", bundle, [tmp_path / "in"], chunk_images=100)
    command = [sys.executable, "-P", "-m", "limiar", "archive", "run", str(archive.out), "--scratch", str(tmp_path / "scratch")]
    rng = random.Random(1)
    for number in range(6):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.3, 1.5))
        process.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3])
        ends = (-signal.SIGKILL, 143, 130, 0, -signal.SIGTERM, -signal.SIGINT)  # the last two: before Python could take it
        assert process.wait(60) in ends
        assert len(archive_status(archive).failures) == 0
        until = time.monotonic() + 60
        while scans_of(tmp_path) and time.monotonic() < until:
            time.sleep(0.02)
        assert scans_of(tmp_path) == []
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    assert archive_status(archive).complete
    assert sorted(row["path"] for row in rows_of(archive)) == sorted(str(path) for path in (tmp_path / "in").iterdir())
    assert left_in(tmp_path / "scratch") == []


def scans_of(folder: Path) -> list[str]:
    """The processes that still work for a test."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes() if process.name.isdecimal() else b""
        except OSError:
            continue
        if os.fsencode(folder / "scratch") in words and b"scan" in words:
            found.append(process.name)
    return found


FULL = """
mount -t tmpfs -o size=300k none "$1" || exit 99
head -c 307200 /dev/zero > "$1/filler"
shift
"$@"; status=$?
rm "$FOLDER/filler"
[ $status = 1 ] && "$@"
"""


@pytest.mark.parametrize("full", ["done", "scratch"])
def test_a_full_disk_is_said_and_once_there_is_space_the_same_command_goes_on(
    planned: Archive, tmp_path: Path, full: str
) -> None:
    need_root("unshare")
    folder = planned.out / "done" if full == "done" else tmp_path / "scratch"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "limiar", "archive", "run", planned.out, "--chunk", "0"]
    command += ["--scratch", str(tmp_path / "scratch")]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", FULL, "-", folder, *command],
        capture_output=True, text=True, timeout=60, env={**os.environ, "FOLDER": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.splitlines()[-2:]
    assert first.startswith("chunk 0: E-OUTPUT-WRITE: ")
    assert "No space left" in first
    assert second.startswith("chunk 0: 15 rows")


def test_status_tells_programs_and_shells_what_is_done(planned: Archive, limiar: Limiar) -> None:
    run_chunk(planned, 1)
    assert limiar("archive", "status", planned.out, "--missing").stdout == b"0\n2\n"
    found = json.loads(limiar("archive", "status", planned.out, "--json").stdout)
    assert (found["done"], found["chunks"], found["images_done"], found["images"], found["rows"]) == (1, 3, 15, 40, 15)
    path = planned.done_path(planned.chunk(1))
    path.write_bytes(path.read_bytes()[:-9])
    damaged = limiar("archive", "status", planned.out)
    assert damaged.returncode == 3
    assert b"chunk 1: E-CHUNK-DAMAGED: " in damaged.stdout
    for noise in (b'{"code":"\xff"}', b"", b"[]"):  # what a disk made of a reason, which nobody can tell then
        planned.failed_path(planned.chunk(0)).write_bytes(noise)
        assert archive_status(planned).failed == 0


@pytest.mark.parametrize("words", [["status"], ["run"], ["run", "--chunk", "0"], ["merge", "--out", "m.parquet"]])
def test_a_folder_of_answers_that_cannot_be_read_is_said(planned: Archive, limiar: Limiar, words: list[str]) -> None:
    need_root("setpriv")
    (planned.out / "done").chmod(0)
    command = [sys.executable, "-P", "-m", "limiar", "archive", words[0], str(planned.out), *words[1:]]
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # a root that permissions hold for
    done = subprocess.run([*ordinary, *command], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.partition(b"E-PLAN-DAMAGED: ")[2].startswith(os.fsencode(planned.out / "done: Permission denied: "))


def test_chunks_are_given_by_number_or_range(planned: Archive, limiar: Limiar) -> None:
    done = limiar("archive", "run", planned.out, "--chunk", "1-2", "--chunk", "7")
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()
    assert [text.partition(":")[0] for text in said] == ["chunk 1", "chunk 2", "chunk 7"]
    assert "E-PLAN-CHUNK" in said[2]
    assert limiar("archive", "run", planned.out, "--chunk", "x").returncode == 2


def test_a_range_may_go_past_the_last_chunk_but_not_backwards(planned: Archive, limiar: Limiar) -> None:
    backwards = limiar("archive", "run", planned.out, "--chunk", "2-1")
    assert (backwards.returncode, left_in(planned.out / "done")) == (2, [])
    done = limiar("archive", "run", planned.out, "--chunk", "2-999999999")
    assert (done.returncode, done.stderr.count(b"\n"), len(left_in(planned.out / "done"))) == (0, 1, 1)
    beyond = limiar("archive", "run", planned.out, "--chunk", "3-999999999")
    assert (beyond.returncode, beyond.stderr.count(b"E-PLAN-CHUNK")) == (1, 1)


def test_a_poison_image_costs_its_code_and_no_chunk(
    tmp_path: Path, bundle: Path, images: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, path in enumerate(draw(tmp_path / "others", 2, seed=1)):
        path.rename(images / poison_name(number))
    monkeypatch.setattr(python, "LIMIAR_CHILD", poisoned(tmp_path / "marks") + python.LIMIAR_CHILD)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    archive = plan_archive(tmp_path / "work", bundle, [images])
    done = run_chunk(archive, 0)
    assert done.refused == {"E-IMAGE-CRASH": 2}
    assert done.rows == 42


def test_an_error_of_a_chunk_is_one_line(planned: Archive, limiar: Limiar, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = limiar("archive", "run", planned.out, "--chunk", "0", "--scratch", tmp_path / "file" / "below")
    assert done.returncode == 1
    assert done.stderr.startswith(b"chunk 0: E-OUTPUT-WRITE: ")
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(LimiarError):
        open_archive(tmp_path / "none")


def test_files_with_several_frames_have_a_row_for_each_also_when_they_come_twice(
    tmp_path: Path, images: Path, limiar: Limiar
) -> None:
    bundle = dicom_bundle(tmp_path / "dicom")
    rng = np.random.default_rng(1)
    ct = images / "ct.dcm"
    ct.write_bytes(
        dicom_file(rng.integers(0, 2000, (3, 60, 60), np.int16), window=(1000, 2000), position=(0, 0, 0), spacing=(1, 1))
    )
    archive = plan_archive(tmp_path / "work", bundle, [ct, ct, images / "00001.png", ct])
    done = run_chunk(archive, 0)
    assert (done.images, done.rows) == (4, 10)
    plain = limiar("scan", bundle, ct, ct, images / "00001.png", ct, "--db", tmp_path / "plain.db")
    rows = without_place(rows_of(archive))
    assert rows == as_rows(plain.stdout, archive.plan.labels)
    assert [row["frame"] for row in rows] == [1, 2, 3, 1, 2, 3, None, 1, 2, 3]
    assert rows[0]["dicom"]
