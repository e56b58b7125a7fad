"""`limiar.write_phantoms` and `limiar.write_phantom_series`: folders of generated images."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limiar.edge_app.errors import LimiarError, TrainError, printable
from limiar.edge_app.system.files import partial_folder, sync_directory
from limiar.train.data.phantoms import phantoms


def write_phantoms(
    out: Path | str,
    count: int,
    *,
    seed: int = 0,
    dicom: bool = False,
    from_series: bool = False,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes `count` CT-like patches with exact labels into the new folder `out`: all of them, or no folder.

    They are 50x50 grey PNG, named ..._pos.png and ..._neg.png by turns. With `dicom`, the same patches are CT files in
    Hounsfield units: DICOM of 12 signed bits, ..._pos.dcm and ..._neg.dcm, six to a study. With `from_series` they are 40x40,
    DICOM too, and cut from series like those of `write_phantom_series`, sixty to a study.

    tick: told (written, count) after each; what it raises ends the writing and leaves nothing.

        from limiar import write_phantoms

        write_phantoms("images", 1500, seed=1)
        # images/phantom_000000_pos.png, images/phantom_000001_neg.png, ...

    Raises TrainError if `out` exists or cannot be made, and LimiarError if `dicom` needs pydicom, which is not installed.
    """
    made = phantoms(count, seed)
    if dicom or from_series:
        with _needs_pydicom():
            from limiar.train.data.phantom_dicom import phantom_files
            from limiar.train.data.phantom_series import patch_files

        made = patch_files(count, seed) if from_series else phantom_files(count, seed)
    _write(Path(out), made, count, tick)


def write_phantom_series(
    out: Path | str,
    count: int,
    *,
    seed: int = 0,
    empty: bool = False,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes `count` CT series with spheres, and where those are, into the new folder `out`: all of them, or no folder.

    A series is 40 DICOM files of 512x512 pixels, numbered from the head down. truth.json has the place of each sphere in mm, in
    the patient's coordinates, marks.csv where each slice crosses one, in pixels. empty: the same chests without spheres.
    tick: as in `write_phantoms`.

        from limiar import write_phantom_series

        write_phantom_series("ct", 1, seed=7)
        # ct/series_000/IM0001.dcm to IM0040.dcm, ct/truth.json, ct/marks.csv

    Raises as `write_phantoms`.
    """
    with _needs_pydicom():
        from limiar.train.data.phantom_chest import SLICES
        from limiar.train.data.phantom_series import series_files

    _write(Path(out), series_files(count, seed, empty), count * SLICES + 2, tick)


def _write(out: Path, made: Iterable[tuple[str, bytes]], count: int, tick: Callable[[int, int], None]) -> None:
    if os.path.lexists(out):  # also a link to nothing
        raise TrainError("E-PHANTOMS-OUT", f"{printable(str(out))} exists: give another folder, or remove it first")
    with ExitStack() as leaving:
        try:
            partial = leaving.enter_context(partial_folder(out))
        except OSError as error:
            met = f"{printable(str(out))}: {error.strerror}"
            raise TrainError("E-PHANTOMS-OUT", f"{met}: give a folder that can be made") from None
        for number, (name, content) in enumerate(made, start=1):
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(content)
            tick(number, count)
        sync_directory(partial)
        partial.rename(out)
        sync_directory(out.parent)


@contextmanager
def _needs_pydicom() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        met = "DICOM phantoms need pydicom, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[dicom-write]'") from None
