"""The bundle that is current on a device, for whoever names it `current`."""

from pathlib import Path

from limiar.edge_app.install.record import BUNDLES, current_slot, nothing_installed


def current_bundle(state: Path) -> Path:
    """The folder of the current bundle, as it is now. Raises LimiarError E-UPDATE-NONE.

    A service uses `Slots.start` instead, which counts tries and falls back.
    """
    folder = state / BUNDLES
    slot = current_slot(folder)
    if slot is None or not (folder / slot).is_dir():
        raise nothing_installed(state)
    return folder / slot
