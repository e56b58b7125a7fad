"""An image file asked of both decoders, edge_app's and the phone page's in Chromium: pixels, depth and refusals must agree."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode
from phone_modules import JsError, Kept, Modules, Parts


class File(msgspec.Struct, frozen=True):
    """A file to decode."""

    what: str  # for the reader of a failure
    name: str
    data: bytes
    grey_max: int | None = None  # of the bundle


Found = tuple[str, tuple[int, ...], bytes] | str  # trailing, [height, width, channels], its pixels; or the code of its refusal


def open_codecs(modules: Modules) -> Kept:
    return modules.keep("/codecs/index.js", "openCodecs", Parts("/"))


def here(file: File) -> Found:
    """What edge_app finds."""
    grey_max: int | UnsetType = UNSET if file.grey_max is None else file.grey_max
    try:
        picture = decode(file.data, file.name, InputSpec(height=40, width=40, channels=3, grey_max=grey_max))
    except ImageError as error:
        return error.code
    pixels = picture[0 : picture.shape[0]]
    return picture.trailing, (*pixels.shape, 1)[:3], np.ascontiguousarray(pixels).tobytes()


def there(modules: Modules, codecs: Kept, files: Sequence[File]) -> list[Found]:
    """What the phone's modules find."""
    asked: list[tuple[Any, ...]] = [(file.data, file.name, file.grey_max, codecs) for file in files]
    return [_found(one) for one in modules.each("/image/index.js", "decode", asked)]


def _found(one: Any) -> Found:
    if isinstance(one, JsError):
        return one.code or str(one)
    return one["trailing"], (one["height"], one["width"], one["channels"]), one["pixels"]


def differences(modules: Modules, codecs: Kept, files: Sequence[File]) -> list[str]:
    """One line for each file on which the two disagree."""
    pairs = zip(files, map(here, files), there(modules, codecs, files), strict=True)
    return [f"{file.what}: {_short(one)} here, {_short(other)} there" for file, one, other in pairs if one != other]


def _short(found: Found) -> str:
    return found if isinstance(found, str) else f"{found[1]} {found[0]} {found[2][:12].hex()}…"
