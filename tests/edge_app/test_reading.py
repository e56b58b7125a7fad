"""Strangers' images are decoded in other processes: no image stops or ends the process that asks for it."""

import io
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import model_input
from limiar.train.dataset.image_folder import load
from limiar.train.dataset.reading import Decoded, Item, ReadLimits, RefusedImage, read_all
from limiar.train.dataset.splits import Shares

SPEC = InputSpec(height=40, width=40, channels=3)


def write(path, seed=0, size=(20, 20), form="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, form)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A picture that takes a tenth of a second and more to decode, and 120 MB."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    buffer = io.BytesIO()
    pixels = np.tile((np.arange(8000) * 255 // 8000).astype(np.uint8), (5000, 1))
    Image.fromarray(pixels).convert("RGB").save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path


def items(*paths, known=b""):
    return [Item(row, os.fsencode(path), os.fsencode(Path(path).name), known) for row, path in enumerate(paths)]


def outcomes(found):
    return {one.row: one for one in found}


def children():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                line = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if int(stat[1]) == os.getpid() and b"limiar.train.dataset.reader" in line:
                found.append(int(name))
    return found


def test_what_is_read_is_what_a_device_reads(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(70)]
    for k, path in enumerate(paths):
        write(path, k)
    found = outcomes(read_all(items(*paths), SPEC))
    assert sorted(found) == list(range(70))
    for k, path in enumerate(paths):
        own = model_input(decode(read_file(str(path)), path.name), SPEC)[0]
        assert found[k].tensor == own.tobytes()
        assert found[k].shape == (20, 20, 3)
        assert found[k].size == path.stat().st_size
    assert children() == []


def test_pixels_that_are_known_are_not_decoded(tmp_path):
    write(tmp_path / "a.png")
    (first,) = read_all(items(tmp_path / "a.png"), SPEC)
    (again,) = read_all(items(tmp_path / "a.png", known=first.sha256), SPEC)
    assert (again.sha256, again.tensor) == (first.sha256, None)


def test_an_image_that_takes_too_long_is_named_and_the_others_are_read(tmp_path, large):
    write(tmp_path / "a.png", 1)
    write(tmp_path / "b.png", 2)
    limits = ReadLimits(cpu_s=0.1)  # the first image of a process takes up to 0.01, the large one 0.3 and more
    found = outcomes(read_all(items(tmp_path / "a.png", large, tmp_path / "b.png"), SPEC, limits))
    assert isinstance(found[1], RefusedImage)
    assert found[1].code == "E-IMAGE-TIMEOUT"
    assert isinstance(found[0], Decoded)
    assert isinstance(found[2], Decoded)


def test_an_image_that_takes_too_much_memory_is_named_and_the_others_are_read(tmp_path, large):
    write(tmp_path / "a.png", 1)
    write(tmp_path / "b.png", 2)
    limits = ReadLimits(memory_bytes=60 << 20)
    found = outcomes(read_all(items(tmp_path / "a.png", large, tmp_path / "b.png"), SPEC, limits))
    assert isinstance(found[1], RefusedImage)
    assert found[1].code == "E-IMAGE-MEMORY"
    assert isinstance(found[0], Decoded)
    assert isinstance(found[2], Decoded)


def test_the_largest_image_of_the_rules_fits_the_usual_limits(large):
    (found,) = read_all(items(large), SPEC)
    assert isinstance(found, Decoded), found


@pytest.mark.parametrize(
    ("number", "times", "codes"),
    [
        (signal.SIGSEGV, 1, ["E-IMAGE-CRASH"]),
        (signal.SIGSTOP, 1, ["E-IMAGE-TIMEOUT"]),
        (signal.SIGKILL, 1, []),  # the kernel's for want of memory: tried again
        (signal.SIGKILL, 2, ["E-IMAGE-CRASH"]),
    ],
)
def test_a_process_that_dies_or_hangs_costs_one_image_at_most(tmp_path, large, number, times, codes):
    paths = [large] * (6 if times == 1 else 1)
    struck = threading.Event()
    done = set()

    def strike():
        deadline = time.monotonic() + 60
        while not struck.is_set() and time.monotonic() < deadline:
            for child in set(children()) - done:
                with open(f"/proc/{child}/statm") as file:
                    decoding = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 150 << 20
                if decoding:
                    os.kill(child, number)
                    done.add(child)
                    if len(done) == times:
                        struck.set()
                        return
            time.sleep(0.01)

    striker = threading.Thread(target=strike)
    striker.start()
    found = outcomes(read_all(items(*paths), SPEC, ReadLimits(wall_s=20.0, cpu_s=20.0)))
    striker.join()
    assert struck.is_set()
    assert sorted(found) == list(range(len(paths)))
    assert [one.code for one in found.values() if isinstance(one, RefusedImage)] == codes
    assert children() == []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_process_that_is_killed_while_it_starts_is_replaced_twice(tmp_path, times):
    write(tmp_path / "a.png")
    killed = set()
    ended = threading.Event()

    def kill():
        while len(killed) < times and not ended.is_set():
            for child in set(children()) - killed:
                os.kill(child, signal.SIGKILL)
                killed.add(child)
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        if times == 3:
            with pytest.raises(DataError, match="E-DATA-READER"):
                list(read_all(items(tmp_path / "a.png"), SPEC))
        else:
            (found,) = read_all(items(tmp_path / "a.png"), SPEC)
            assert isinstance(found, Decoded)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == times


def test_a_stranger_s_module_of_our_name_does_not_run(tmp_path, monkeypatch):
    write(tmp_path / "a.png")
    (tmp_path / "edge_app.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = read_all(items(tmp_path / "a.png"), SPEC)
    assert isinstance(found, Decoded)
    assert not (tmp_path / "ran").exists()


def test_readers_end_with_who_asks_no_more(tmp_path):
    for k in range(40):
        write(tmp_path / f"{k}.png", k)
    reading = read_all(items(*sorted(tmp_path.iterdir())), SPEC)
    next(reading)
    assert children()
    reading.close()  # type: ignore[attr-defined]
    assert children() == []


def test_a_python_that_cannot_be_started_is_one_line(tmp_path, monkeypatch):
    write(tmp_path / "a.png")
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as refused:
        list(read_all(items(tmp_path / "a.png"), SPEC))
    assert refused.value.code == "E-DATA-READER"


def test_load_names_what_was_too_much_among_the_others(tmp_path, large, monkeypatch):
    for k in range(8):
        write(tmp_path / f"{k}_{'pos' if k % 2 else 'neg'}.png", k)
    os.link(large, tmp_path / "x_pos.png")
    monkeypatch.setattr(read_all, "__defaults__", (ReadLimits(cpu_s=0.02),))
    with pytest.raises(DataError, match=r"1 of 9 images cannot be used: x_pos\.png \(E-IMAGE-TIMEOUT: took over 0\.02 s"):
        load(tmp_path, None, SPEC, Shares(seed=0, minimum=1), lambda done, total: None)
