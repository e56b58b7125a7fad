"""Lets picamera2 drive libcamera's virtual camera, which shows files. Every Python loads it that has this folder in PYTHONPATH.

The real picamera2 and libcamera run. Only what a Raspberry Pi has and a machine without a camera lacks is replaced.
"""

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

# For every frame libcamera reports that its buffer is no DMA buffer, as an error.
os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:FATAL")


class Picamera2Finder(importlib.abc.MetaPathFinder):
    """Adapts picamera2 when it is imported: in the capture process, not in the one that must stay without numpy."""

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "picamera2":
            return None
        from unittest.mock import MagicMock  # here: every Python that starts imports this file

        sys.meta_path.remove(self)
        # For a preview on a screen and for raw files. Debian has neither, and limiar asks for neither.
        sys.modules |= {absent: MagicMock() for absent in ("pykms", "pidng", "pidng.camdefs", "pidng.core")}
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                adapt()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def adapt() -> None:
    import libcamera
    from picamera2 import Picamera2
    from picamera2.allocators import dmaallocator
    from picamera2.dma_heap import UniqueFD

    def modes(self: Any) -> list[dict[str, Any]]:
        """The original's modes, but for the picture: the virtual camera has no raw stream, and answers None."""
        formats = self.camera.generate_configuration([libcamera.StreamRole.VideoRecording]).at(0).formats
        found = [(str(pixels), size) for pixels in formats.pixel_formats for size in formats.sizes(pixels)]
        return [{"format": pixels, "size": (size.width, size.height)} for pixels, size in found]

    class Heap:
        """Shared memory in place of a Raspberry Pi's DMA buffers."""

        def alloc(self, name: str, size: int) -> Any:
            memory = os.memfd_create(name)
            os.ftruncate(memory, size)
            return UniqueFD(memory)

        def close(self) -> None:
            pass  # there is no device

    class FrameBuffer:
        """The one plane that picamera2 describes, as the two that the virtual camera writes: its frames are NV12."""

        Plane = libcamera.FrameBuffer.Plane

        def __new__(cls, planes: list[Any]) -> Any:
            (luma,) = planes  # the very plane: picamera2 remembers its descriptor
            whole, colours = luma.length, cls.Plane()
            luma.length = colours.offset = whole * 2 // 3
            colours.fd, colours.length = luma.fd, whole - luma.length
            return libcamera.FrameBuffer([luma, colours])

    Picamera2._get_raw_modes = modes
    dmaallocator.DmaHeap = Heap
    dmaallocator.libcamera = SimpleNamespace(FrameBuffer=FrameBuffer)
    sync = dmaallocator.DmaAllocator.DmaSync
    sync.__enter__ = sync.get_buffer  # without the ioctl around it, which shared memory has not
    sync.__exit__ = lambda *_: None


sys.meta_path.insert(0, Picamera2Finder())
