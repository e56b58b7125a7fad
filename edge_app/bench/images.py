"""The images that bench answers, and the place where it keeps what is thrown away."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import UnsetType

from limiar.edge_app.bench.sample import SIDE_PX, sample_png
from limiar.edge_app.errors import ImageError, StoreError, printable
from limiar.edge_app.image.folder import walk
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.store.state import state_folder
from limiar.edge_app.text import counted

_MOST_IMAGES = 1000  # of a folder, in name order


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path | None]:
    """A folder that is thrown away, on the disk that keeps results if it can be: what a commit costs depends on the disk.

    None: nothing can be written.
    """
    with contextlib.ExitStack() as made:
        yield _made(made)


def _made(made: contextlib.ExitStack) -> Path | None:
    with contextlib.suppress(OSError, StoreError):
        place = state_folder()
        place.mkdir(parents=True, exist_ok=True)
        return Path(made.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=place)))
    with contextlib.suppress(OSError):
        return Path(made.enter_context(tempfile.TemporaryDirectory(prefix="limiar-bench-")))
    return None


def listed_images(images: "Sequence[Path | str]", folder: Path | None) -> tuple[tuple[str, ...], str]:
    """The files to answer, and what they are; none: a sample for which there is no place. Raises ImageError: there are none."""
    if not images:
        png = sample_png()
        if folder:
            (folder / "sample.png").write_bytes(png)
        sample = (str(folder / "sample.png"),) if folder else ()
        return sample, f"PNG, {SIDE_PX}x{SIDE_PX}, RGB, {len(png)} bytes"
    paths = list[str]()
    for given in images:
        if os.path.isdir(given):
            paths += [os.fsdecode(found.path) for found in walk(os.fsencode(given)) if not (found.kind or found.is_folder)]
        else:
            paths.append(str(given))
    if not paths:
        where = printable(str(images[0]))
        raise ImageError("E-IMAGE-MISSING", f"{where}: a folder without images: give one with some")
    return tuple(paths[:_MOST_IMAGES]), f"{counted(min(len(paths), _MOST_IMAGES), 'image')}, the first {printable(paths[0])}"


def first_image(paths: Sequence[str], grey_max: int | UnsetType) -> bytes:
    """The bytes of the first file that is an image. Raises ImageError: none is."""
    for path in paths:
        try:
            data = read_file(path, follow=True)
            decode(data, path, grey_max)
        except ImageError as error:
            if path == paths[-1]:
                raise ImageError(error.code, f"{printable(path)}: {error.message}") from None
        else:
            return data
    raise AssertionError("there is at least one path")
