"""`limiar.write_phantoms`: a folder of generated images."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes `count` CT-like patches with exact labels into the new folder `out`: all of them, or no folder.

    They are 50x50 grey PNG, named ..._pos.png and ..._neg.png by turns. With `dicom`, the same patches are CT files in
    Hounsfield units: DICOM of 12 signed bits, ..._pos.dcm and ..._neg.dcm, six to a study.

    tick: told (written, count) after each; what it raises ends the writing and leaves nothing.

        from limiar import write_phantoms

        write_phantoms("images", 1500, seed=1)
        # images/phantom_000000_pos.png, images/phantom_000001_neg.png, ...

    Raises TrainError if `out` exists or cannot be made, and LimiarError if `dicom` needs pydicom, which is not installed.
    """
    out = Path(out)
    drawn = _dicom(count, seed) if dicom else phantoms(count, seed)
    if os.path.lexists(out):  # also a link to nothing
        raise TrainError("E-PHANTOMS-OUT", f"{printable(str(out))} exists: give another folder, or remove it first")
    with ExitStack() as leaving:
        try:
            partial = leaving.enter_context(partial_folder(out))
        except OSError as error:
            met = f"{printable(str(out))}: {error.strerror}"
            raise TrainError("E-PHANTOMS-OUT", f"{met}: give a folder that can be made") from None
        for number, (name, image) in enumerate(drawn, start=1):
            (partial / name).write_bytes(image)
            tick(number, count)
        sync_directory(partial)
        partial.rename(out)
        sync_directory(out.parent)


def _dicom(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    try:
        from limiar.train.data.phantom_dicom import phantom_files
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        met = "DICOM phantoms need pydicom, which is not installed"
        raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[dicom]'") from None
    return phantom_files(count, seed)
