"""DICOM files as a device decodes them and as this machine does: levels and model inputs are equal, in every transfer syntax.

The device has limiar[dicom] alone, so lossless JPEG, for which it would need GDCM, is refused there and not compared.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dicom_damage import whole_files  # type: ignore[import-not-found]
from dicom_reference import corpus  # type: ignore[import-not-found]
from limiar.convert.run.golden_images import draw_golden_images
from virtualpi import PROJECT, Failed
from virtualpi.device import Device
from virtualpi.guest.pictures import SPEC
from virtualpi.namespace import Root
from virtualpi.outcome import Outcome

WHAT = "DICOM pictures that differ"
Levels = Mapping[str, str]  # file -> sha256 of its frames' levels and model inputs, or the code that it is refused with

_ASK = PROJECT / "tests" / "harness" / "virtualpi" / "guest" / "pictures.py"
_LARGE = 200_000  # bytes: emulated, each takes seconds
_MISSING = "E-INSTALL-MISSING"


def made_files() -> dict[str, bytes]:
    """One of every transfer syntax, some of other kinds of pixels, and the golden DICOM files that convert draws."""
    golden = (file for file in draw_golden_images(SPEC, seed=0) if file.path.endswith(".dcm"))
    return {f"made-{name}.dcm": data for name, data in whole_files().items()} | {
        file.path.replace("/", "-"): file.data for file in golden
    }


def test_files() -> dict[str, bytes]:
    """Those of pydicom and pydicom-data that are DICOM and not large, with pixels or without."""
    found = {name.replace("/", "-"): path.read_bytes() for name, path in corpus().items() if "TINY_ALPHA" not in name}
    return {name: data for name, data in found.items() if len(data) < _LARGE and data[128:132] == b"DICM"}


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a new folder."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def levels_here(folder: Path) -> Levels:
    """Raises Failed."""
    done = subprocess.run([sys.executable, "-P", _ASK, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"no DICOM pictures here: {done.stderr.strip()[-600:]}")
    return msgspec.json.decode(done.stdout, type=dict[str, str])


def levels_there(root: Root, device: Device) -> Levels:
    """Of a device whose root has the folder as /dicom. Raises Failed."""
    done = root.run("python3", "-P", "/guest/pictures.py", "/dicom", environ=device.environ)
    return msgspec.json.decode(done.stdout, type=dict[str, str])


def levels_compared(where: str, here: Levels, there: Levels) -> Outcome:
    """Byte for byte."""
    lossless = [name for name, found in there.items() if found == _MISSING]
    both = {name: found for name, found in here.items() if name not in lossless}
    differ = [name for name, found in both.items() if there.get(name) != found]
    pictures = sum(not found.startswith("E-") for found in both.values())
    said = f"{len(differ)} of {pictures} pictures{': ' + differ[0] if differ else ''}, {len(lossless)} need GDCM"
    return Outcome(
        where, "DICOM pictures that differ", said, "0, most compared", not differ and pictures > 3 * len(lossless) > 0
    )
