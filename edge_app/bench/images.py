"""The images that bench answers."""

import os
from collections.abc import Sequence
from pathlib import Path

from limiar.edge_app.bench.result import Unread
from limiar.edge_app.bench.sample import SIDE_PX, sample_png
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError, printable
from limiar.edge_app.image.folder import walk
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.text import counted

_MOST_IMAGES = 1000  # of a folder, in name order


def listed_images(images: "Sequence[Path | str]", folder: Path | None) -> tuple[str, ...]:
    """The files to answer; none: a sample for which there is no place. Raises ImageError: a folder has none."""
    if not images:
        if folder is None:
            return ()
        (folder / "sample.png").write_bytes(sample_png())
        return (str(folder / "sample.png"),)
    paths = list[str]()
    for given in images:
        if os.path.isdir(given):
            paths += [os.fsdecode(found.path) for found in walk(os.fsencode(given)) if not (found.kind or found.is_folder)]
        else:
            paths.append(str(given))
    if not paths:
        where = printable(str(images[0]))
        raise ImageError("E-IMAGE-MISSING", f"{where}: a folder without images: give one with some")
    return tuple(paths[:_MOST_IMAGES])


def described(given: bool, paths: Sequence[str], unread: Sequence[Unread]) -> str:
    """What was answered, in words: of the files in `paths` all but the unread ones. given: not the sample."""
    if not given:
        return f"PNG, {SIDE_PX}x{SIDE_PX}, RGB, {len(sample_png())} bytes"
    names, missing = list(map(printable, paths)), {one.path for one in unread}
    first = next((name for name in names if name not in missing), names[-1])
    return f"{counted(len(paths) - len(unread), 'image')}, the first {first}"


def first_image(paths: Sequence[str], spec: InputSpec) -> bytes:
    """The bytes of the first file that is an image. Raises ImageError: none is."""
    for path in paths:
        try:
            data = read_file(path, follow=True)
            decode(data, path, spec)
        except ImageError as error:
            if path == paths[-1]:
                raise ImageError(error.code, f"{printable(path)}: {error.message}") from None
        else:
            return data
    raise AssertionError("there is at least one path")
