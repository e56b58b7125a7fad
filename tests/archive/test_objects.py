"""Images in object storage: listed, fetched for the chunk that needs them, answered as the same files would be."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from limiar.edge_app.archive.chunk import run_chunk
from limiar.edge_app.archive.columns import read_rows
from limiar.edge_app.archive.make_plan import plan_archive
from limiar.edge_app.archive.plan import Archive, Known, open_archive
from limiar.edge_app.errors import ArchiveError
from object_store import ObjectStore

Draw = Callable[..., list[Path]]
Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
ODD = (
    "a b.png",
    "[1].png",
    "50%.png",
    "what?.png",
    "x*.png",
    "#1.png",
    "é\u65e5.png",
    "deep/er/z.png",
    "'\"&+.png",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with ObjectStore(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def store(server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    _forget_connections()
    return server


def _forget_connections() -> None:
    """fsspec keeps those that it made, with the environment as it was."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def rows(archive: Archive) -> list[tuple[object, ...]]:
    found = [row for chunk in archive.chunks() for rows in read_rows(archive.done_path(chunk)) for row in rows.to_pylist()]
    return [
        (row["path"], row["sha256"] and row["sha256"].hex(), row["decision"], row["confidence"], row["code"]) for row in found
    ]


def test_objects_have_the_answers_of_the_same_files_under_their_addresses(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw, limiar: Limiar
) -> None:
    paths = draw(tmp_path / "in", len(ODD))
    for path, name in zip(paths, ODD, strict=True):
        store.put(f"odd/{name}", path.read_bytes())
    store.put("odd/deep/", b"")  # as some programs mark a folder
    for name in ("notes.txt", ".hidden.png", "thumbs.db", "half.png.part", ".trash/a.png"):
        store.put(f"odd/{name}", b"x")
    done = limiar("archive", "plan", tmp_path / "work", "--bundle", bundle, "s3://bucket/odd/", "--chunk-images", "4")
    assert done.returncode == 0, done.stderr
    assert b"passed over: " in done.stderr
    archive = open_archive(tmp_path / "work")
    assert archive.plan.bytes == sum(path.stat().st_size for path in paths)
    assert all(known.bytes and len(known.etag) == 32 for chunk in archive.chunks() for known in archive.known(chunk))
    done = limiar("archive", "run", tmp_path / "work", "--scratch", tmp_path / "scratch")
    assert done.returncode == 0, done.stderr
    local = plan_archive(tmp_path / "local", bundle, paths)
    run_chunk(local, 0)
    by_name = {f"s3://bucket/odd/{name}": row[1:] for name, row in zip(ODD, rows(local), strict=True)}
    assert {path: rest for path, *rest in rows(archive)} == {path: list(rest) for path, rest in by_name.items()}
    assert list((tmp_path / "scratch").iterdir()) == []


def test_files_and_objects_can_be_in_one_plan_and_in_one_chunk(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw
) -> None:
    first, second, third = draw(tmp_path / "in", 3)
    store.put("some/one.png", second.read_bytes())
    archive = plan_archive(tmp_path / "work", bundle, [first, b"s3://bucket/some/one.png", third, b"s3://bucket/some/gone.png"])
    assert [known.bytes for known in archive.known(archive.chunk(0))] == [None, second.stat().st_size, None, None]
    run_chunk(archive, 0)
    assert [(row[0], row[4]) for row in rows(archive)] == [
        (str(first), None),
        ("s3://bucket/some/one.png", None),
        (str(third), None),
        ("s3://bucket/some/gone.png", "E-IMAGE-MISSING"),
    ]


def test_an_object_that_is_gone_empty_or_too_large_is_a_row_with_its_code(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw
) -> None:
    (path,) = draw(tmp_path / "in", 1)
    for name, data in (
        ("a.png", path.read_bytes()),
        ("b.png", path.read_bytes()),
        ("empty.png", b""),
        ("z.png", bytes(64_000_009)),
    ):
        store.put(f"bad/{name}", data)
    archive = plan_archive(tmp_path / "work", bundle, [b"s3://bucket/bad"], chunk_bytes=100_000_000)
    store.remove("bad/a.png")
    assert run_chunk(archive, 0).rows == 4
    assert [row[4] for row in rows(archive)] == ["E-IMAGE-MISSING", None, "E-IMAGE-EMPTY", "E-IMAGE-BYTES"]


def test_what_cannot_be_listed_or_fetched_is_an_error_and_no_refused_image(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = draw(tmp_path / "in", 1)
    store.put("there/a.png", path.read_bytes())
    with pytest.raises(ArchiveError, match="E-PLAN-ADDRESS"):
        plan_archive(tmp_path / "none", bundle, [b"s3://no-such-bucket/folder/"])
    archive = plan_archive(tmp_path / "work", bundle, [b"s3://bucket/there/"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    _forget_connections()
    with pytest.raises(ArchiveError, match="E-CHUNK-FETCH"):
        run_chunk(archive, 0)
    assert not archive.is_done(archive.chunk(0))


@pytest.mark.parametrize("doing", ["run", "ask", "list"])
def test_a_store_that_never_answers_is_not_waited_for_once_it_is_to_end(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw, doing: str
) -> None:
    (path,) = draw(tmp_path / "in", 1)
    store.put("there/a.png", path.read_bytes())
    plan_archive(tmp_path / "work", bundle, [b"s3://bucket/there/a.png"])
    words = {
        "run": ["run", tmp_path / "work", "--scratch", tmp_path / "scratch"],
        "ask": ["plan", tmp_path / "scratch" / "new", "--bundle", bundle, "s3://bucket/there/a.png"],
        "list": ["plan", tmp_path / "scratch" / "new", "--bundle", bundle, "s3://bucket/there/"],
    }[doing]
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{hangs.getsockname()[1]}"}
        running = subprocess.Popen([sys.executable, "-P", "-m", "limiar", "archive", *map(str, words)], env=environment)
        hangs.settimeout(60)
        connection, _ = hangs.accept()
        with connection:
            running.terminate()
            assert running.wait(45) == 143  # the client of S3 would wait for 60 s
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_folder_without_a_name_is_said_and_its_objects_can_be_given(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw
) -> None:
    (path,) = draw(tmp_path / "in", 1)
    store.put("twice//a.png", path.read_bytes())
    with pytest.raises(ArchiveError, match=r"E-PLAN-ADDRESS.*a folder without a name"):
        plan_archive(tmp_path / "none", bundle, [b"s3://bucket/twice"])
    archive = plan_archive(tmp_path / "work", bundle, [b"s3://bucket/twice//a.png"])
    run_chunk(archive, 0)
    assert [(row[0], row[4]) for row in rows(archive)] == [("s3://bucket/twice//a.png", None)]


def test_objects_that_are_listed_by_address_are_asked_for_their_sizes(
    store: ObjectStore, tmp_path: Path, bundle: Path, draw: Draw
) -> None:
    paths = draw(tmp_path / "in", 30)
    for path in paths:
        store.put(f"listed/{path.name}", path.read_bytes())
    listed = (f"s3://bucket/listed/{path.name}".encode() for path in paths)
    archive = plan_archive(tmp_path / "work", bundle, listed, chunk_images=10)
    assert archive.plan.bytes == sum(path.stat().st_size for path in paths)
    assert [chunk.images for chunk in archive.chunks()] == [10, 10, 10]
    assert Known() not in archive.known(archive.chunk(2))
