"""A frame, as the process that keeps the store has it: its pixels are in memory that processes share."""

import mmap
import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from limiar.edge_app.camera.damage import Place
from limiar.edge_app.camera.messages import FRAME_BYTES

if TYPE_CHECKING:  # that process loads no numpy
    from limiar.edge_app.arrays import Pixels


class SharedMemory:
    """FRAME_BYTES for the pixels of one frame, which other processes map by its descriptor."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("frame")
        os.ftruncate(self.descriptor, FRAME_BYTES)
        self.map = mmap.mmap(self.descriptor, FRAME_BYTES)

    def close(self) -> None:
        """Closes the descriptor. The memory is freed once no process maps it."""
        os.close(self.descriptor)


class Frame(Struct, frozen=True):
    """One camera frame."""

    memory: Any  # mmap.mmap or bytes: uint8 [H, W, 3], RGB; shared memory until the next frame is asked for
    height: int
    width: int
    sequence: int  # counts the frames that the source delivered, from 1
    taken_ns: int  # UTC, nanoseconds since 1970
    dropped: int  # frames passed over since the one before
    place: Place | None = None  # in its video file
    doubtful: bool | None = None  # decoded near damage, or built on a missing frame; None: unknown

    @property
    def pixels(self) -> "Pixels":
        """uint8 [H, W, 3], RGB: a view of the shared memory. Copy what you keep."""
        return pixels(self.memory, self.height, self.width)


def pixels(memory: mmap.mmap | bytes, height: int, width: int) -> "Pixels":
    """uint8 [H, W, 3]: a view of memory."""
    import numpy as np

    return np.frombuffer(memory, np.uint8, height * width * 3).reshape(height, width, 3)
