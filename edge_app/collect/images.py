"""The images that devices send: FOLDER/DEVICE/KEY.SUFFIX, each whole or not at all."""

import base64
import binascii
from pathlib import Path

from limiar.edge_app.collect.columns import WrongMessage
from limiar.edge_app.fleet.messages import Row
from limiar.edge_app.system.files import WholeFile

# What begins a file of each kind. A name that a device chose would say what it likes: .html, .desktop.
_SUFFIXES = (
    (b"\x89PNG", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"RIFF", "webp"),
    (b"BM", "bmp"),
    (b"II", "tif"),
    (b"MM", "tif"),
)
_DICOM = b"DICM"  # after 128 bytes of anything


def image_bytes(device: str, row: Row) -> bytes | None:
    """None: it has none. Raises WrongMessage: it is not base64."""
    try:
        return None if row.image is None else base64.b64decode(row.image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WrongMessage(device, f"up/rows: the image of {row.key}: {error}") from None


def keep_image(folder: Path, device: str, key: str, data: bytes) -> None:
    """Writes it and waits for the disk. Raises OSError."""
    place = folder / device
    place.mkdir(parents=True, exist_ok=True)
    file = WholeFile(place / f"{key}.{_suffix(data)}", 0o640)
    try:
        file.write(data)
    except BaseException:
        file.discard()
        raise
    file.publish()


def _suffix(data: bytes) -> str:
    if data[128:132] == _DICOM:
        return "dcm"
    return next((suffix for start, suffix in _SUFFIXES if data.startswith(start)), "bin")
