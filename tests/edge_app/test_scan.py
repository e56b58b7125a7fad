"""`limiar scan` as its users meet it: the real command in a process of its own, on real files."""

import base64
import contextlib
import csv
import fcntl
import functools
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limiar.edge_app.store.writer import Store
from limiar.edge_app.text import width

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

ANSWER_KEYS = (
    *(
        "path",
        "sha256",
        "decision",
        "label",
        "confidence",
        "probabilities",
        "bundle",
        "file",
        "runtime",
        "verified",
        "app",
        "time",
        "stored",
    ),
    "ms",
)
REFUSED_KEYS = (
    *("path", "sha256", "decision", "code", "message", "bundle", "file", "runtime", "verified", "app", "time", "stored"),
)


def lines_of(done: "subprocess.CompletedProcess[bytes]") -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_line_has_the_keys_that_programs_rely_on(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    (images / "bad.png").write_bytes(b"no image")
    done = limiar("scan", tiny_path, images)
    assert done.returncode == 4, done.stderr
    lines = lines_of(done)
    assert [Path(line["path"]).name for line in lines] == sorted(path.name for path in images.iterdir())
    assert {tuple(line) for line in lines if line["decision"] != "refused"} == {ANSWER_KEYS}
    assert [tuple(line) for line in lines if line["decision"] == "refused"] == [REFUSED_KEYS]
    line = lines[0]
    assert line["label"] == max(line["probabilities"], key=line["probabilities"].get)
    assert line["confidence"] == max(line["probabilities"].values())
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-12)
    assert set(line["ms"]) == {"decode", "resize", "infer"}
    assert b"41 images" in done.stderr
    assert b"1 refused" in done.stderr


def test_an_image_is_inferred_once_however_often_it_shows_up(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    shutil.copy(images / "00000.png", images / "copy.png")
    first = lines_of(limiar("scan", tiny_path, images))
    assert [line["stored"] for line in first] == [False] * 40 + [True]
    (images / "00001.png").rename(images / "renamed.png")
    second = limiar("scan", tiny_path, images, "--workers", "2")
    assert all(line["stored"] for line in lines_of(second))
    assert b"41 from the database" in second.stderr
    again = lines_of(limiar("scan", tiny_path, images, "--again"))
    assert not any(line["stored"] for line in again)
    by_sha = {line["sha256"]: line["probabilities"] for line in first}
    assert all(by_sha[line["sha256"]] == line["probabilities"] for line in again)


def test_two_workers_give_the_lines_of_one_in_the_same_order(tiny_path: Path, many_images: Path, limiar: Limiar) -> None:
    def said(workers: int) -> list[tuple[object, ...]]:
        done = limiar("scan", tiny_path, many_images, "--workers", str(workers), "--db", many_images / f"../{workers}.db")
        return [(line["path"], line["decision"], line["confidence"]) for line in lines_of(done)]

    one = said(1)
    assert len(one) == 4_000
    assert said(2) == one


def test_folders_are_walked_in_name_order_and_other_files_counted(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    (images / "00003").mkdir()
    shutil.move(images / "00039.png", images / "00003" / "deep.PNG")
    (images / "notes.txt").write_text("no image")
    done = limiar("scan", tiny_path, images)
    names = [str(Path(line["path"]).relative_to(images)) for line in lines_of(done)]
    assert names[:5] == ["00000.png", "00001.png", "00002.png", "00003/deep.PNG", "00003.png"]
    assert len(names) == 40
    assert b"passed over: 1 other file (1 .txt)" in done.stderr


def test_a_file_named_on_the_command_line_is_tried_whatever_its_name(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    (images / "00000.png").rename(images / "scan.dat")
    (line,) = lines_of(limiar("scan", tiny_path, images / "scan.dat"))
    assert line["decision"] != "refused"


@pytest.mark.parametrize("name", ["same.jpg", "same.dcm"])
def test_a_name_that_contradicts_its_content_is_refused_also_when_the_store_has_the_answer(
    tiny_path: Path, images: Path, limiar: Limiar, name: str
) -> None:
    shutil.copy(images / "00000.png", images / name)
    assert limiar("scan", tiny_path, images / "00000.png").returncode == 0
    (line,) = lines_of(limiar("scan", tiny_path, images / name))
    assert line["code"] == "E-IMAGE-EXTENSION"


@pytest.mark.parametrize(("option", "separator"), [("-", b"\n"), ("-0", b"\0")], ids=["lines", "NUL"])
def test_paths_come_from_stdin(tiny_path: Path, images: Path, limiar: Limiar, option: str, separator: bytes) -> None:
    paths = [os.fsencode(path) for path in sorted(images.iterdir())][:3]
    done = limiar("scan", tiny_path, option, input=separator.join(paths))
    assert [os.fsencode(line["path"]) for line in lines_of(done)] == paths


def test_a_slow_list_is_answered_as_it_comes(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "limiar", "scan", str(tiny_path), "-", "--db", str(tmp_path / "r.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as scan:
        assert scan.stdin
        assert scan.stdout
        for path in sorted(images.iterdir())[:2]:
            scan.stdin.write(os.fsencode(path) + b"\n")
            scan.stdin.flush()
            assert json.loads(scan.stdout.readline())["path"] == str(path)  # while the list is still open
        scan.stdin.close()
        assert scan.wait(60) == 0


def test_a_name_that_is_not_utf_8_is_given_twice(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    name = os.fsencode(images) + b"/\xff.png"
    os.rename(images / "00000.png", name)
    (line,) = lines_of(limiar("scan", tiny_path, name))
    assert line["path"] == f"{images}/\\xff.png"
    assert base64.b64decode(line["path_base64"]) == name


def test_the_refer_threshold_is_the_bundle_s_or_the_one_given_also_for_stored_answers(
    tiny_path: Path, images: Path, limiar: Limiar
) -> None:
    for threshold in (None, "0", "1"):
        options = ["--refer-below", threshold] if threshold else []
        for line in lines_of(limiar("scan", tiny_path, images, *options)):
            expected = line["label"] if line["confidence"] >= float(threshold or 0.95) else "refer"
            assert line["decision"] == expected


@pytest.mark.parametrize("file", ["tflite_int8", "tflite_fp32"])
def test_the_model_file_asked_for_answers(tiny_path: Path, images: Path, limiar: Limiar, file: str) -> None:
    assert {line["file"] for line in lines_of(limiar("scan", tiny_path, images, "--file", file))} == {file}


def test_files_of_results_hold_what_was_printed(tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path) -> None:
    (images / "=1+1.png").write_bytes(b"no image")
    lines = lines_of(limiar("scan", tiny_path, images, "--csv", tmp_path / "out.csv"))
    into_a_file = limiar("scan", tiny_path, images, "--jsonl", tmp_path / "out.jsonl")
    assert into_a_file.stdout == b""
    again = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["path"] for line in again] == [line["path"] for line in lines]
    assert all(line["stored"] for line in again if "code" not in line)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [line["path"] for line in lines]
    assert [row["code"] for row in rows] == [line.get("code", "") for line in lines]
    answered = [(row, line) for row, line in zip(rows, lines, strict=True) if "code" not in line]
    assert all(float(row["probability_pos"]) == line["probabilities"]["pos"] for row, line in answered)


def test_a_cell_never_starts_a_formula(tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path) -> None:
    (images / "=1+1.png").write_bytes(b"no image")
    limiar("scan", tiny_path, "=1+1.png", "--csv", tmp_path / "out.csv", cwd=images)
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "'=1+1.png"


def test_annotated_images_are_green_when_decided_and_red_when_referred(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path
) -> None:
    for threshold, colour in (("0", (0, 128, 0)), ("1", (200, 0, 0))):
        folder = tmp_path / f"annotated{threshold}"
        limiar("scan", tiny_path, images, "--annotate", folder, "--refer-below", threshold)  # the second from the store
        found = sorted(folder.iterdir())
        assert len(found) == 40
        with Image.open(found[0]) as image:
            assert image.size[0] == 400
            assert image.convert("RGB").getpixel((0, image.height - 1)) == colour


def test_a_person_at_a_terminal_gets_a_table(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "limiar", "scan", str(tiny_path), str(images), "--db", str(tmp_path / "r.db")]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as scan:
        os.close(theirs)
        text = b""
        try:
            while block := os.read(ours, 65536):
                text += block
        except OSError:  # Linux's way of saying that the other end is closed
            os.close(ours)
        assert scan.wait(60) == 0
    assert text.startswith(b"decision")
    assert text.count(b".png") == 40
    assert b"{" not in text


def on_a_terminal(arguments: list[str], columns: int = 80, **environment: str) -> str:
    """What the real command shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-P", "-m", "limiar", *arguments]
    around = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    environment = {**around, "TERM": "xterm", **environment}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment) as scan:
        os.close(theirs)
        text = b""
        try:
            while block := os.read(ours, 65536):
                text += block
        except OSError:  # Linux's way of saying that the other end is closed
            os.close(ours)
        scan.wait(60)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 60])
def test_a_table_is_no_wider_than_the_terminal_also_with_wide_names(
    tiny_path: Path, images: Path, tmp_path: Path, columns: int
) -> None:
    for name in ("日本語" * 25 + ".png", "a" * 180 + "_end.png", "\u0301" * 90 + ".png"):
        shutil.copy(images / "00000.png", images / name)
    (images / "broken.png").write_bytes(b"no image")
    shown = on_a_terminal(["scan", str(tiny_path), str(images), "--db", str(tmp_path / "r.db")], columns)
    rows = re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\n")
    assert len([row for row in rows if ".png" in row]) == 44
    table = rows[: next(k for k, row in enumerate(rows) if row.startswith("44 images"))]
    assert all(width(row) <= columns for row in table), max(table, key=width)
    assert any(re.search("….*_end.png", row) for row in table)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)]
)
def test_colours_are_left_out_where_they_are_not_wanted(
    tiny_path: Path, images: Path, tmp_path: Path, environment: dict[str, str], coloured: bool
) -> None:
    shown = on_a_terminal(["scan", str(tiny_path), str(images), "--db", str(tmp_path / "r.db")], **environment)
    assert ("\x1b" in shown) == coloured
    assert ("\x1b" in on_a_terminal(["verify", str(tiny_path)], **environment)) == coloured


def test_a_terminal_that_lacks_a_name_s_letters_gets_their_numbers(tiny_path: Path, images: Path, tmp_path: Path) -> None:
    (images / "00000.png").rename(images / "日本.png")
    command = ["scan", str(tiny_path), str(images / "日本.png"), "--db", str(tmp_path / "r.db")]
    assert r"\u65e5\u672c.png" in on_a_terminal(command, 200, PYTHONIOENCODING="latin-1")


def test_quiet_says_nothing_of_what_went_well_and_verbose_more(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path
) -> None:
    (images / "notes.txt").write_text("no image")
    quiet = limiar("scan", tiny_path, images, "--quiet")
    assert (quiet.stderr, len(lines_of(quiet))) == (b"", 40)
    assert on_a_terminal(["scan", str(tiny_path), str(images), "-q", "--db", str(tmp_path / "r.db")]) == ""
    verbose = limiar("scan", tiny_path, images, "--verbose")
    assert b"tiny 0.1.0, tflite_int8 on " in verbose.stderr
    assert f"passed over {images}/notes.txt: .txt".encode() in verbose.stderr
    assert limiar("scan", tiny_path, images, "-q", "-v").returncode == 2
    assert b"E-BUNDLE-MISSING" in limiar("scan", "nowhere", images, "-q").stderr


def test_a_spreadsheet_says_when_and_by_what_each_image_was_answered(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path
) -> None:
    (images / "bad.png").write_bytes(b"no image")
    lines = lines_of(limiar("scan", tiny_path, images, "--csv", tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    before = ["path", "sha256", "decision", "label", "confidence", "probability_neg", "probability_pos", "stored", "verified"]
    appended = ["outside", "trailing", "bundle", "file", "runtime", "app", "time", "frame", "peaks"]
    assert reader.fieldnames == [*before, "code", "message", *appended]
    for row, line in zip(rows, lines, strict=True):
        assert {name: row[name] for name in appended[2:]} == {name: line.get(name, "") for name in appended[2:]}


def test_what_follows_a_picture_is_in_its_line_and_said_once(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path
) -> None:
    for k in range(3):
        with Image.open(images / f"0000{k}.png") as image:
            image.save(images / f"padded{k}.jpg")
        with (images / f"padded{k}.jpg").open("ab") as file:
            file.write(bytes(160))
    for _ in range(2):  # the second from the store
        done = limiar("scan", tiny_path, images, "--csv", tmp_path / "out.csv")
        assert done.returncode == 0, done.stderr
        assert Counter(line.get("trailing", "") for line in lines_of(done)) == {"padding": 3, "": 40}
        assert done.stderr.count(b"3 followed by padding") == 1
        with (tmp_path / "out.csv").open(newline="") as csv_file:
            assert Counter(row["trailing"] for row in csv.DictReader(csv_file)) == {"padding": 3, "": 40}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, b"Usage"),
        (("BUNDLE",), 2, b"Give images"),
        (("BUNDLE", "EMPTY"), 1, b"E-SOURCE-EMPTY"),
        (("nowhere", "IMAGES"), 1, b"E-BUNDLE-MISSING"),
        (("BUNDLE", "IMAGES", "--file", "none"), 1, b"E-BUNDLE-FILE"),
        (("BUNDLE", "IMAGES", "--runtime", "none"), 1, b"E-RUNTIME-UNKNOWN"),
        (("BUNDLE", "IMAGES", "--runtime", "onnxruntime"), 1, b"E-RUNTIME-FORMAT"),
        (("BUNDLE", "IMAGES", "--db", "EMPTY"), 1, b"E-STORE-WRITE"),
        (("BUNDLE", "nowhere.png"), 4, b"1 refused"),
    ],
)
def test_the_exit_status_and_one_line_say_what_went_wrong(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path, arguments: tuple[str, ...], status: int, said: bytes
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"BUNDLE": str(tiny_path), "IMAGES": str(images), "EMPTY": str(tmp_path / "empty")}
    done = limiar("scan", *(places.get(word, word) for word in arguments))
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_a_scan_cleanly_and_the_next_one_goes_on(
    tiny_path: Path, many_images: Path, tmp_path: Path, limiar: Limiar, often: str, number: int, status: int
) -> None:
    command = [sys.executable, "-P", "-c", f"{often}from limiar.edge_app.cli import main; main()", "scan", str(tiny_path)]
    command += [str(many_images), "--db", str(tmp_path / "r.db")]
    with subprocess.Popen(
        [*command, "--csv", str(tmp_path / "out.csv")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as scan:
        assert scan.stdout
        first = scan.stdout.readline()
        os.killpg(scan.pid, number)  # as a terminal does, also to the workers
        reported = [first, *scan.stdout.readlines()]
        assert scan.stderr
        said = scan.stderr.read()
        assert scan.wait(60) == status, said
    assert b"Traceback" not in said
    assert 0 < len(reported) < 4_000
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + len(reported)
    rest = limiar("scan", tiny_path, many_images, "--db", tmp_path / "r.db")
    assert rest.returncode == 0
    assert sum(line["stored"] for line in lines_of(rest)) == len(reported)


def test_a_closed_pipe_ends_a_scan_without_a_word(tiny_path: Path, many_images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "limiar", "scan", str(tiny_path), str(many_images), "--db", str(tmp_path / "r.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as scan:
        assert scan.stdout
        scan.stdout.readline()
        scan.stdout.close()
        assert scan.stderr
        assert scan.stderr.read() == b""
        assert scan.wait(60) == 141


# Runs the command with a decoder that dies on one file and hangs on another, in the real workers.
FAULTY = """
import os, sys, time
import limiar.edge_app.scan.pool, limiar.edge_app.scan.worker
limiar.edge_app.scan.pool._IMAGE_S = 1.5
decode = limiar.edge_app.scan.worker.decode
def faulty(data, name, *given, **named):
    if name.endswith("00007.png"):
        os._exit(9)
    if name.endswith("00033.png"):
        time.sleep(60)
    return decode(data, name, *given, **named)
limiar.edge_app.scan.worker.decode = faulty
from limiar.edge_app.cli import main
main()
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_kills_or_hangs_its_worker_is_refused_and_the_others_answered(
    tiny_path: Path, images: Path, tmp_path: Path, workers: str
) -> None:
    command = [sys.executable, "-P", "-c", FAULTY, "scan", str(tiny_path), str(images), "--workers", workers]
    done = subprocess.run([*command, "--db", str(tmp_path / "r.db")], capture_output=True, timeout=120)
    assert done.returncode == 4, done.stderr
    lines = lines_of(done)
    assert [Path(line["path"]).name for line in lines] == sorted(path.name for path in images.iterdir())
    refused = {Path(line["path"]).name: line["code"] for line in lines if line["decision"] == "refused"}
    assert refused == {"00007.png": "E-IMAGE-CRASH", "00033.png": "E-IMAGE-TIMEOUT"}


def test_workers_end_with_the_parent(tiny_path: Path, many_images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "limiar", "scan", str(tiny_path), str(many_images), "--db", str(tmp_path / "r.db")]
    with subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as scan:
        assert scan.stdout
        scan.stdout.readline()
        workers = Path(f"/proc/{scan.pid}/task/{scan.pid}/children").read_text().split()
        scan.kill()
    assert len(workers) == 2
    end = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_the_lines_of_docs_store_md_are_answered_by_a_real_database(
    project: Path, tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path
) -> None:
    limiar("scan", tiny_path, images, "--db", tmp_path / "results.db", "--refer-below", "1")
    queries = [part.split('"')[0] for part in (project / "docs" / "store.md").read_text().split('results.db "')[1:]]
    assert len(queries) == 2
    db = sqlite3.connect(tmp_path / "results.db")
    counts, referred = (db.execute(query).fetchall() for query in queries)
    db.close()
    assert [(decision, count) for decision, count, _ in counts] == [("refer", 40)]
    assert len(referred) == 20


def test_a_picture_that_cannot_be_written_stops_the_scan_and_blames_no_image(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path
) -> None:
    first = limiar("scan", tiny_path, images, "--annotate", tmp_path / "annotated")
    assert first.returncode == 0
    in_the_way = min((tmp_path / "annotated").iterdir())
    in_the_way.unlink()
    in_the_way.mkdir()
    done = limiar("scan", tiny_path, images, "--annotate", tmp_path / "annotated")
    assert done.returncode == 1
    assert done.stderr.startswith(f"E-OUTPUT-WRITE: {in_the_way}".encode())
    assert b"E-IMAGE" not in done.stdout + done.stderr


def test_pictures_below_the_scanned_folder_are_not_answered(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    for _ in range(2):
        assert len(lines_of(limiar("scan", tiny_path, images, "--annotate", images / "annotated"))) == 40
    assert len(list((images / "annotated").iterdir())) == 40


def test_folders_may_lie_deeper_than_python_recurses(tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    with contextlib.chdir(deep):
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        shutil.copy(images / "00000.png", "x.png")
    done = limiar("scan", tiny_path, deep)
    subprocess.run(["rm", "-r", deep], check=True)  # shutil.rmtree recurses
    assert (done.returncode, len(lines_of(done))) == (0, 1)


def test_paths_that_nul_separates_want_the_option(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    paths = b"\0".join(os.fsencode(path) for path in images.iterdir())
    (line,) = lines_of(limiar("scan", tiny_path, "-", input=paths))
    assert line["code"] == "E-IMAGE-MISSING"
    assert line["message"].endswith("give -0")


def test_a_link_to_the_database_has_the_same_lock(tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path) -> None:
    assert limiar("scan", tiny_path, images, "--db", tmp_path / "r.db").returncode == 0
    (tmp_path / "link.db").symlink_to("r.db")
    with Store(tmp_path / "r.db"):
        done = limiar("scan", tiny_path, images, "--db", tmp_path / "link.db")
    assert done.stderr.startswith(b"E-STORE-BUSY: ")


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_folder_is_no_database_and_gets_no_lock(
    tiny_path: Path, images: Path, limiar: Limiar, tmp_path: Path, place: str
) -> None:
    (tmp_path / "work").mkdir()
    before = sorted(tmp_path.iterdir())
    done = limiar("scan", tiny_path, images, "--db", place, cwd=tmp_path / "work")
    assert done.stderr.startswith(b"E-STORE-WRITE: ")
    assert (sorted(tmp_path.iterdir()), list((tmp_path / "work").iterdir())) == (before, [])


def test_a_closed_stdin_matters_only_where_paths_come_from_it(tiny_path: Path, images: Path, limiar: Limiar) -> None:
    closed = functools.partial(os.close, 0)
    assert limiar("scan", tiny_path, images, preexec_fn=closed).returncode == 0
    assert limiar("scan", tiny_path, "-", preexec_fn=closed).returncode == 2
