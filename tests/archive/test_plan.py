"""`limiar archive plan`: what becomes a chunk, how it is named, and what is refused before any work."""

import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.archive.chunk import run_chunk
from limiar.edge_app.archive.make_plan import plan_archive
from limiar.edge_app.archive.plan import INDEX, LINE_BYTES, PLAN, Archive, index_line, open_archive
from limiar.edge_app.commands.archive import _sources
from limiar.edge_app.errors import ArchiveError, LimiarError, RuntimeUnavailable, SourceError

Draw = Callable[..., list[Path]]
Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def all_paths(archive: Archive) -> list[bytes]:
    return [path for chunk in archive.chunks() for path in archive.paths(chunk)]


def names(archive: Archive) -> list[str]:
    return [chunk.name for chunk in archive.chunks()]


def test_every_image_is_in_one_chunk_in_order_and_no_chunk_is_too_large(tmp_path: Path, bundle: Path, images: Path) -> None:
    sizes = {os.fsencode(path): path.stat().st_size for path in images.iterdir()}
    archive = plan_archive(tmp_path / "work", bundle, [images], chunk_bytes=20_000)
    assert all_paths(archive) == sorted(sizes)
    for chunk in archive.chunks():
        paths = archive.paths(chunk)
        assert (chunk.images, chunk.bytes) == (len(paths), sum(sizes[path] for path in paths))
        assert chunk.bytes <= 20_000
        assert archive.chunk(chunk.number) == chunk
    plan = archive.plan
    assert (plan.images, plan.bytes, plan.chunks) == (40, sum(sizes.values()), len(names(archive)))
    assert plan.chunks > 3
    few = plan_archive(tmp_path / "few", bundle, [images], chunk_images=15)
    assert [chunk.images for chunk in few.chunks()] == [15, 15, 10]
    one = plan_archive(tmp_path / "one", bundle, [images], chunk_bytes=1)  # an image that is larger goes alone
    assert one.plan.chunks == 40


def test_a_chunk_has_the_same_name_only_if_the_same_would_be_answered_in_the_same_way(
    tmp_path: Path, bundle: Path, images: Path
) -> None:
    def planned(name: str, sources: Iterable[Path] = (images,), **options: object) -> list[str]:
        return names(plan_archive(tmp_path / name, bundle, sources, **options))

    paths = sorted(images.iterdir())
    first = planned("a")
    assert planned("b") == first
    assert planned("c", paths) == first
    others = [
        planned("d", reversed(paths)),
        planned("e", paths[1:]),
        planned("f", file="tflite_fp32"),
        planned("g", outside="ignore"),
        planned("h", refer_below=0.5),
        planned("i", tiles=None),
    ]
    assert len({tuple(found) for found in [first, *others]}) == 7
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in first)


def test_a_chunk_has_the_same_name_however_its_folder_is_written(
    tmp_path: Path, bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    ways = [
        images,
        ".",
        "./",
        f"../{images.name}/..//./{images.name}",
        f"{images}//",
        [f"./{path.name}" for path in sorted(images.iterdir())],
    ]
    names = []
    for number, way in enumerate(ways):
        archive = plan_archive(tmp_path / f"work{number}", bundle, way if isinstance(way, list) else [way])
        names.append(archive.chunk(0).name)
    assert names == [names[0]] * 3 + [names[3]] + [names[0]] * 2
    assert names[3] != names[0]  # only the disk knows where `..` leads


def test_the_same_paths_twice_are_one_chunk(tmp_path: Path, bundle: Path, images: Path) -> None:
    archive = plan_archive(tmp_path / "work", bundle, [images, images], chunk_images=40)
    assert (archive.plan.chunks, archive.plan.images) == (1, 40)


def test_any_name_of_a_file_is_kept_byte_by_byte(
    tmp_path: Path, bundle: Path, limiar: Limiar, nasty_names: tuple[bytes, ...]
) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    wanted = [os.path.join(folder, name[:200] + b".png") for name in (*nasty_names, b"--json", b"-", b"\xff\xfe", b"a\nb")]
    for path in wanted:
        Path(os.fsdecode(path)).write_bytes(b"")
    os.makedirs(os.path.join(folder, b"s3:"))
    wanted.append(os.path.join(folder, b"s3:/bucket.png"))
    Path(os.fsdecode(wanted[-1])).write_bytes(b"")
    listed = plan_archive(tmp_path / "listed", bundle, wanted)
    assert all_paths(listed) == wanted
    below = [os.path.relpath(path, folder) for path in wanted]
    below = [b"./" + path if path.startswith(b"s3://") else path for path in below]
    done = limiar(
        "archive", "plan", tmp_path / "piped", "--bundle", bundle, "--list", "-", "-0", input=b"\0".join(below), cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert all_paths(open_archive(tmp_path / "piped")) == [os.path.join(folder, path) for path in below]
    walked = plan_archive(tmp_path / "walked", bundle, [folder])
    assert set(all_paths(walked)) <= set(wanted)


def test_a_folder_is_entered_by_the_rules_of_a_scan(tmp_path: Path, bundle: Path, draw: Draw, limiar: Limiar) -> None:
    draw(tmp_path / "in" / "deep" / "er", 2)
    draw(tmp_path / "in", 3)
    for name in ("notes.txt", ".hidden.png", "deep/thumbs.db", "half.png.part"):
        (tmp_path / "in" / name).write_bytes(b"")
    options = ["--exclude", "00001.png"]
    done = limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, tmp_path / "in", *options)
    assert done.returncode == 0
    assert b"passed over: " in done.stderr
    scanned = limiar("scan", bundle, tmp_path / "in", "--db", tmp_path / "db", *options).stdout.splitlines()
    lines = [os.fsencode(msgspec.json.decode(line)["path"]) for line in scanned]
    assert all_paths(open_archive(tmp_path / "work")) == lines
    assert len(lines) == 3


def test_a_plan_is_there_whole_or_not_at_all_and_replaces_nothing(tmp_path: Path, bundle: Path, images: Path) -> None:
    class Cut(Exception):
        pass

    def cut(images: int, bytes: int) -> None:
        if images == 20:
            raise Cut

    out = tmp_path / "work"
    with pytest.raises(Cut):
        plan_archive(out, bundle, [images], chunk_images=5, progress=cut)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
    with pytest.raises(SourceError, match="E-SOURCE-EMPTY"):
        plan_archive(out, bundle, [])
    out.mkdir()
    plan_archive(out, bundle, [images])
    with pytest.raises(ArchiveError, match="E-PLAN-OUT"):
        plan_archive(out, bundle, [images])


def test_what_cannot_be_planned_is_said_before_anything_is_listed(tmp_path: Path, bundle: Path, images: Path) -> None:
    def refused(code: str, sources: Iterable[object] = (images,), **options: object) -> None:
        with pytest.raises(LimiarError, match=code):
            plan_archive(tmp_path / "work", bundle, sources, **options)  # type: ignore[arg-type]

    refused("E-BUNDLE-FILE", file="other")
    refused("E-RUNTIME-FORMAT", runtime="onnxruntime")
    refused("E-PLAN-ADDRESS.*password", [b"s3://user:secret@bucket/a.png"])
    refused("E-PLAN-ADDRESS", [b"file:///etc/"])
    refused("E-PLAN-ADDRESS", [b"nothing-like-this://a/b"])
    refused("E-PLAN-ADDRESS", [b"s3://bucket/\xff.png"])
    with pytest.raises(RuntimeUnavailable):
        plan_archive(tmp_path / "work", bundle, [images], runtime="none")
    assert not (tmp_path / "work").exists()


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path, bundle: Path, limiar: Limiar) -> None:
    done = limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, "s3://user:secret@bucket/a/")
    assert done.returncode == 1
    assert b"E-PLAN-ADDRESS" in done.stderr
    assert b"secret" not in done.stderr


def test_a_plan_that_was_changed_is_refused(tmp_path: Path, bundle: Path, images: Path) -> None:
    with pytest.raises(ArchiveError, match="E-PLAN-MISSING"):
        open_archive(tmp_path)
    archive = plan_archive(tmp_path / "work", bundle, [images], chunk_images=10)
    listing = archive.out / "chunks" / "000" / "000001.list"
    listing.write_bytes(listing.read_bytes().replace(b"00011", b"00021"))
    with pytest.raises(ArchiveError, match="E-PLAN-DAMAGED"):
        archive.paths(archive.chunk(1))
    for number in (4, -1):
        with pytest.raises(ArchiveError, match="E-PLAN-CHUNK"):
            archive.chunk(number)
    (archive.out / INDEX).write_bytes((archive.out / INDEX).read_bytes()[: 2 * LINE_BYTES + 5])
    with pytest.raises(ArchiveError, match="E-PLAN-DAMAGED"):
        list(archive.chunks())
    raw = msgspec.json.decode((archive.out / PLAN).read_bytes())
    for changed, code in ({"schema": 2}, "E-PLAN-SCHEMA"), ({"extra": 1}, "E-PLAN-DAMAGED"), ({"chunks": -1}, "E-PLAN-DAMAGED"):
        (archive.out / PLAN).write_bytes(msgspec.json.encode(raw | changed))
        with pytest.raises(ArchiveError, match=code):
            open_archive(archive.out)


def test_a_plan_with_other_labels_than_its_bundle_is_refused(tmp_path: Path, bundle: Path, images: Path) -> None:
    archive = plan_archive(tmp_path / "work", bundle, [images])
    raw = msgspec.json.decode((archive.out / PLAN).read_bytes())
    (archive.out / PLAN).write_bytes(msgspec.json.encode(raw | {"labels": ["a", "b"]}))
    with pytest.raises(ArchiveError, match="E-PLAN-DAMAGED"):
        run_chunk(archive.out, 0, tmp_path / "scratch")


def test_the_name_of_a_chunk_in_a_plan_from_elsewhere_is_no_path(
    tmp_path: Path, bundle: Path, images: Path, limiar: Limiar
) -> None:
    archive = plan_archive(tmp_path / "work", bundle, [images])
    named = msgspec.structs.replace(archive.chunk(0), name="../../mine")
    (archive.out / INDEX).write_bytes(index_line(named))
    (tmp_path / "mine.json").write_text("mine")
    done = limiar("archive", "run", archive.out, "--chunk", "0")
    assert (done.returncode, b"E-PLAN-DAMAGED" in done.stderr) == (1, True)
    assert (tmp_path / "mine.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("listing", "paths"),
    [
        (b"\xef\xbb\xbfa.png\r\nb.png\r\n\r\n", ["a.png", "b.png"]),  # of Windows
        (b"\xef\xbb\xbfb.png\rodd.png\r", ["b.png\rodd.png"]),
        (b"odd.png\r\nb.png", ["odd.png\r", "b.png"]),  # there is a file of that name
        (b"\xef\xbb\xbf", None),
        ("a.png\r\nb.png\r\n".encode("utf-16"), None),
        (b"a.png\0b.png\0", None),
    ],
)
def test_a_list_from_windows_gives_the_paths_that_were_meant(
    tmp_path: Path, bundle: Path, limiar: Limiar, listing: bytes, paths: list[str] | None
) -> None:
    (tmp_path / "odd.png\r").touch()
    (tmp_path / "list.txt").write_bytes(listing)
    done = limiar("archive", "plan", "work", "--bundle", bundle, "--list", "list.txt", cwd=tmp_path)
    if paths is None:
        assert (done.returncode, done.stderr.startswith(b"E-SOURCE-")) == (1, True)
        assert not (tmp_path / "work").exists()
    else:
        assert done.returncode == 0, done.stderr
        archive = open_archive(tmp_path / "work")
        assert archive.paths(archive.chunk(0)) == [os.fsencode(tmp_path / path) for path in paths]


def test_planning_ten_times_as_many_images_takes_no_more_memory(tmp_path: Path, bundle: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        listed = (b"/nowhere/%020d/%020d.png" % (number // 1000, number) for number in range(count))
        plan_archive(tmp_path / f"{count}", bundle, listed, chunk_images=500)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1_000)
    # Their paths take 2.6 MB. Threads that earlier tests have left may allocate too.
    assert peak(30_000) < peak(3_000) + 500_000


def test_without_the_extra_the_command_says_how_to_get_it(tmp_path: Path, bundle: Path) -> None:
    script = "import sys; sys.modules['fsspec'] = None; from limiar.edge_app.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "archive", "plan", tmp_path / "work", "--bundle", bundle, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("E-INSTALL-MISSING: limiar archive plan needs fsspec")
    assert "pip install 'limiar[archive]'" in done.stderr


def test_what_folders_hold_besides_pictures_is_listed_in_a_file_that_appears_with_the_plan(
    tmp_path: Path, bundle: Path, images: Path, limiar: Limiar
) -> None:
    (images / "notes.txt").write_text("x")
    listed = tmp_path / "passed.csv"
    refused = limiar("archive", "plan", tmp_path, "--bundle", bundle, images, "--passed-over", listed)
    assert (refused.returncode, listed.exists()) == (1, False)
    done = limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, images, "--passed-over", listed)
    assert done.returncode == 0
    assert "notes.txt" in listed.read_text()
    assert b"--passed-over" not in done.stderr


def test_a_source_that_is_not_there_is_refused_and_nothing_is_planned(
    tmp_path: Path, bundle: Path, images: Path, limiar: Limiar
) -> None:
    found = limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, images, tmp_path / "imagse")
    assert found.returncode == 1
    assert found.stderr.startswith(b"E-PLAN-SOURCE: ")
    assert not (tmp_path / "work").exists()
    with pytest.raises(ArchiveError, match="E-PLAN-SOURCE"):  # before the first one is listed, which may take hours
        next(_sources((str(images), str(tmp_path / "imagse")), None, nul=False))


@pytest.mark.parametrize("words", [["-"], ["-0", "."]])
def test_paths_on_stdin_are_asked_for_by_list(tmp_path: Path, bundle: Path, limiar: Limiar, words: list[str]) -> None:
    done = limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, *words, input=b"a.png")
    assert (done.returncode, b"--list -" in done.stderr) == (2, True)
