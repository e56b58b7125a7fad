"""What a camera or video gives."""

import msgspec

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.camera.damage import Place


class Frame(msgspec.Struct, frozen=True):
    """One camera frame."""

    pixels: Pixels  # uint8 [H, W, 3], RGB
    sequence: int  # counts the frames that the source delivered, from 1
    taken_ns: int  # UTC, nanoseconds since 1970
    dropped: int  # frames that were captured and passed over since the frame before
    place: Place | None = None  # in its video file
    doubtful: bool | None = None  # decoded beside damage, or built on a frame that is missing; None: nobody can tell
