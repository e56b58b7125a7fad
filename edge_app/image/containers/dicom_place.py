"""Where a DICOM picture lies, and which series it belongs to: all that leaves its header besides the pixels."""

import hashlib
import math

from limiar.edge_app.answer import SlicePlace
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers.dicom import Dicom

Vector = tuple[float, float, float]

_STUDY, _SERIES, _INSTANCE, _NUMBER = 0x0020000D, 0x0020000E, 0x00080018, 0x00200013
_PLANE_POSITION, _POSITION = 0x00209113, 0x00200032
_PLANE_ORIENTATION, _ORIENTATION = 0x00209116, 0x00200037
_MEASURES, _SPACING = 0x00289110, 0x00280030
_FAR_MM = 1e6
_NEAR = 1e-3  # of unit vectors that are written with a few digits


def uid_hash(uid: str) -> str:
    """A name for a UID that does not tell it: 32 hexadecimal digits."""
    return hashlib.sha256(b"limiar-uid-v1\0" + uid.encode()).hexdigest()[:32]


def place(dicom: Dicom, frame: int = 0, *, plain: bool = False) -> SlicePlace | None:
    """PS3.3, C.7.6.2. None if a UID is missing; a geometry that is missing or odd is None in it. plain: UIDs as they are."""
    uids = [dicom.reader.text(dicom.elements.get(tag)) for tag in (_STUDY, _SERIES, _INSTANCE)]
    if not all(uids):
        return None
    study, series, instance = (uid if plain and _is_uid(uid) else uid_hash(uid) for uid in uids)
    position = _numbers(dicom, _POSITION, _PLANE_POSITION, frame, 3)
    orientation = _numbers(dicom, _ORIENTATION, _PLANE_ORIENTATION, frame, 6)
    spacing = _numbers(dicom, _SPACING, _MEASURES, frame, 2)
    across, down = _axes(orientation) or (None, None)
    return SlicePlace(
        study=study,
        series=series,
        instance=instance,
        number=_number(dicom),
        position_mm=(position[0], position[1], position[2]) if position else None,
        across=across,
        down=down,
        spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
    )


def _is_uid(text: str) -> bool:
    """PS3.5, 9.1: nothing that could be a name."""
    return len(text) <= 64 and not text.strip("0123456789.")


def _number(dicom: Dicom) -> int | None:
    text = dicom.reader.text(dicom.elements.get(_NUMBER))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _numbers(dicom: Dicom, tag: int, macro: int, frame: int, count: int) -> list[float] | None:
    try:
        found = [float(value) for value in dicom.reader.decimals(dicom.attribute(tag, macro, frame), "")]
    except (ImageError, OverflowError):
        return None
    return found if len(found) == count and max(map(abs, found)) < _FAR_MM else None


def _axes(cosines: list[float] | None) -> tuple[Vector, Vector] | None:
    """The two unit vectors of an image's plane; None unless they are that, at right angles."""
    if cosines is None:
        return None
    across, down = cosines[:3], cosines[3:]
    lengths = math.hypot(*across), math.hypot(*down)
    if max(abs(length - 1) for length in lengths) > _NEAR or abs(sum(a * d for a, d in zip(across, down, strict=True))) > _NEAR:
        return None
    (x, y, z), (u, v, w) = across, down
    return (x, y, z), (u, v, w)
