"""`limiar.write_phantoms`: a folder of generated images."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from limiar.edge_app.errors import TrainError, printable
from limiar.edge_app.system.files import partial_folder, sync_directory
from limiar.train.data.phantoms import phantoms


def write_phantoms(
    out: Path | str, count: int, *, seed: int = 0, tick: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Writes `count` CT-like patches with exact labels into the new folder `out`: all of them, or no folder.

    They are 50x50 grey PNG, named ..._pos.png and ..._neg.png by turns.

    tick: told (written, count) after each; what it raises ends the writing and leaves nothing.

        from limiar import write_phantoms

        write_phantoms("images", 1500, seed=1)
        # images/phantom_000000_pos.png, images/phantom_000001_neg.png, ...

    Raises TrainError if `out` exists or cannot be made.
    """
    out = Path(out)
    if os.path.lexists(out):  # also a link to nothing
        raise TrainError("E-PHANTOMS-OUT", f"{printable(str(out))} exists: give another folder, or remove it first")
    with ExitStack() as leaving:
        try:
            partial = leaving.enter_context(partial_folder(out))
        except OSError as error:
            met = f"{printable(str(out))}: {error.strerror}"
            raise TrainError("E-PHANTOMS-OUT", f"{met}: give a folder that can be made") from None
        for number, (name, image) in enumerate(phantoms(count, seed), start=1):
            (partial / name).write_bytes(image)
            tick(number, count)
        sync_directory(partial)
        partial.rename(out)
        sync_directory(out.parent)
