"""`limiar.plan_archive`: a stream of images -> chunks of about so many bytes. Memory does not grow with the images."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from limiar.edge_app import APP
from limiar.edge_app.archive.objects import Stores
from limiar.edge_app.archive.plan import (
    DONE,
    FAILED,
    INDEX,
    PLAN,
    SCHEMA,
    Archive,
    Chunk,
    Known,
    Options,
    Plan,
    chunk_folder,
    chunk_name,
    index_line,
    open_archive,
)
from limiar.edge_app.archive.sources import Image, images
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import ArchiveError, RuntimeUnavailable, SourceError, printable
from limiar.edge_app.image.folder import Choice, Found
from limiar.edge_app.inference.rule import OutsideRule
from limiar.edge_app.inference.tiling import Tiling, tiles_of
from limiar.edge_app.output.files import writable
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.files import partial_folder, sync_directory, sync_file, write_whole

CHUNK_BYTES = 64_000_000
CHUNK_IMAGES = 10_000  # small ones: about as long as starting takes, many times over
_ASSUMED_BYTES = 1_000_000  # of an object whose size nobody told
_SOURCES_KEPT = 100  # a list of millions need not be in plan.json once more


def plan_archive(
    out: Path | str,
    bundle: Path | str,
    sources: Iterable[Path | str | bytes | None],
    *,
    file: str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    refer_below: float | None = None,
    outside: OutsideRule = "refer",
    tiles: Tiling = "bundle",
    plain_uids: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    follow: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
    chunk_images: int = CHUNK_IMAGES,
    passed_over: Callable[[Found], None] = lambda found: None,
    progress: Callable[[int, int], None] = lambda images, bytes: None,
    keys: Keys | None = None,
) -> Archive:
    """Cut millions of images into chunks, in the new folder `out`, as `limiar archive plan` does.

        archive = limiar.plan_archive("work", "models/lung-nodule", ["/data/images", "s3://bucket/folder/"])
        print(archive.plan.images, archive.plan.chunks)

    sources: files, folders, and addresses of objects; None says that there is none yet.
    file, runtime: a model file of the bundle, and a runtime; None: the bundle's default, and the first one installed here.
        A device's own profile is not used: every machine is to give the same answers.
    chunk_bytes, chunk_images: a chunk ends before it would exceed these.
    progress: called with the images and bytes so far. The other arguments are those of `limiar.scan`.

    Raises BundleError, RuntimeUnavailable, ArchiveError (E-PLAN-OUT, E-PLAN-ADDRESS), SourceError, OutputError.
    """
    opened = open_bundle(bundle, keys)
    model, _ = opened.model(file)
    tiles_of(opened.manifest, tiles)  # raises, before anything is listed
    options = Options(threads, refer_below, outside, tiles, plain_uids, follow)
    given: list[str] = []

    def noted() -> Iterable[bytes | None]:
        for source in sources:
            if source is not None and len(given) <= _SOURCES_KEPT:
                text = printable(os.fsencode(source))
                given.append(text if len(given) < _SOURCES_KEPT else "...")
            yield None if source is None else os.fsencode(source)

    plan = Plan(
        schema=SCHEMA,
        app=APP,
        made=utc_now(),
        bundle=opened.sha256,
        bundle_path=_text(Path(bundle).absolute()),
        name=opened.manifest.name,
        version=opened.manifest.version,
        labels=opened.manifest.labels,
        file=model.name,
        runtime=_runtime(model.format, runtime),
        options=options,
        sources=given,
        images=0,
        bytes=0,
        chunks=0,
    )
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArchiveError("E-PLAN-OUT", f"{printable(str(out))} exists: give a new folder, or remove it")
    found = images(noted(), Choice(tuple(include), tuple(exclude), follow), passed_over, Stores())
    with writable(out), partial_folder(out.absolute()) as partial:
        writer = _Writer(partial, plan, chunk_bytes, chunk_images)
        with writer.index:
            for image in found:
                if image:
                    writer.add(image)
                progress(writer.images, writer.bytes)
            writer.end_chunk()
        if not writer.images:
            met = "no image was found in what was given"
            raise SourceError("E-SOURCE-EMPTY", f"{met}: check the paths and addresses, and their extensions")
        writer.finish()
        try:
            partial.rename(out)
        except OSError:
            raise ArchiveError("E-PLAN-OUT", f"{printable(str(out))} exists by now: give a new folder") from None
        sync_directory(out.absolute().parent)
    return open_archive(out)


def _runtime(model_format: str, wanted: str | None) -> str:
    """The runtime that is to answer on every machine. Raises RuntimeUnavailable."""
    fitting = [name for name, kind in RUNTIMES.items() if kind.format == model_format]
    if wanted is None:
        installed = installed_runtimes(model_format)
        return installed[0].name if installed else fitting[0]
    if wanted not in fitting:
        met = f"{printable(wanted)} does not read {model_format} files"
        raise RuntimeUnavailable("E-RUNTIME-FORMAT", f"{met}: choose one of {', '.join(fitting)}")
    return wanted


def _text(path: Path) -> str:
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise ArchiveError("E-PLAN-BUNDLE", f"{printable(str(path))} is not UTF-8: give the bundle a path that is") from None


class _Writer:
    """Writes chunks as they are filled, and the plan at the end."""

    def __init__(self, folder: Path, plan: Plan, chunk_bytes: int, chunk_images: int) -> None:
        self._folder = folder
        self._plan = plan
        self._chunk_bytes, self._chunk_images = chunk_bytes, chunk_images
        self._chunk: list[Image] = []
        self._bytes = 0  # of the chunk
        self._names: set[str] = set()
        self.chunks = self.images = self.bytes = 0
        self.index = open(folder / INDEX, "wb")  # noqa: SIM115 the caller closes it

    def add(self, image: Image) -> None:
        size = _ASSUMED_BYTES if image.bytes is None else image.bytes
        if self._chunk and (self._bytes + size > self._chunk_bytes or len(self._chunk) >= self._chunk_images):
            self.end_chunk()
        self._chunk.append(image)
        self._bytes += size
        self.images += 1
        self.bytes += size

    def end_chunk(self) -> None:
        """Writes the chunk, unless another one has the very same paths: it would be the same file of answers."""
        chunk, size = self._chunk, self._bytes
        self._chunk, self._bytes = [], 0
        plan, paths = self._plan, [image.path for image in chunk]
        name = chunk_name(plan.bundle, plan.file, plan.runtime, plan.options, paths)
        if not chunk or name in self._names:
            self.images -= len(chunk)
            self.bytes -= size
            return
        self._names.add(name)
        folder = self._folder / chunk_folder(self.chunks)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{self.chunks:06d}.list", b"".join(path + b"\0" for path in paths))
        if any(image.known for image in chunk):
            lines = msgspec.json.Encoder().encode_lines([image.known or Known() for image in chunk])
            _write(folder / f"{self.chunks:06d}.objects", lines)
        self.index.write(index_line(Chunk(self.chunks, name, len(chunk), size)))
        self.chunks += 1

    def finish(self) -> None:
        """Puts all of it on the disk, the plan last."""
        for name in (DONE, FAILED):
            (self._folder / name).mkdir()
        plan = msgspec.structs.replace(self._plan, images=self.images, bytes=self.bytes, chunks=self.chunks)
        sync_file(self._folder / INDEX)
        for folder in (self._folder / "chunks").iterdir():
            sync_directory(folder)
        sync_directory(self._folder / "chunks")
        write_whole(self._folder / PLAN, msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
