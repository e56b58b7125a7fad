"""Where the images of a data set are kept once they are read: in memory, or in a file if they are too many for it.

Both keep model inputs, uint8, by row number, so that a caller cannot tell which it is.
"""

import errno
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError, printable
from limiar.edge_app.system.files import sync_directory

PIXELS = "pixels.bin"
_DIGEST_BYTES = 32  # sha256


class ImageStore(Protocol):
    """The images of a data set. Threads may share one."""

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """uint8 [len(rows), H, W, C], in the order asked for."""


class Shelf(ImageStore, Protocol):
    """A store that is being filled: in a `with` block, each row once."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None: ...

    def digest(self, row: int) -> bytes:
        """sha256 of the file that the row's image comes from, if an earlier run left it; else empty."""

    def put(self, row: int, digest: bytes, image: Pixels) -> None:
        """Keeps the row's image [H, W, C]."""


Keep = Callable[[int, InputSpec], Shelf]  # images, their form -> where to put them


class InMemory:
    """One array."""

    def __init__(self, count: int, spec: InputSpec) -> None:
        self._pixels = np.empty((count, spec.height, spec.width, spec.channels), np.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        pass

    def __len__(self) -> int:
        return len(self._pixels)

    def digest(self, row: int) -> bytes:
        """Another run leaves nothing in memory."""
        return b""

    def put(self, row: int, digest: bytes, image: Pixels) -> None:
        """Copies it."""
        self._pixels[row] = image

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """A copy of them."""
        return self._pixels[rows]


class RowsAlone(InMemory):
    """Keeps no image: for reading only the rows of a folder."""

    def __init__(self, count: int, spec: InputSpec) -> None:
        super().__init__(0, spec)

    def put(self, row: int, digest: bytes, image: Pixels) -> None:
        """Drops it."""


class Chosen:
    """Some images of another store."""

    def __init__(self, store: ImageStore, rows: NDArray[np.int64]) -> None:
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """By their numbers here."""
        return self._store.take(self._rows[rows])


class OnDisk:
    """A file of records, each the sha256 of an image's file and its model input: read by offset, so none stays in memory.

    (A mapped file would count as memory that this process uses.) The file has its name once it is whole; one that an
    interrupted run left is used again, as far as the images' files are the same.
    """

    def __init__(self, folder: Path, count: int, spec: InputSpec) -> None:
        self._shape = (spec.height, spec.width, spec.channels)
        self._record = _DIGEST_BYTES + spec.height * spec.width * spec.channels
        self._count = count
        # The name says by which rules the inputs were made: files made by other rules are not found.
        rules = [spec.decode, spec.resize, *([] if spec.grey_max is UNSET else [f"to-{spec.grey_max}"])]
        rules += [f"{spec.dicom.rule}-{spec.dicom.option}"] if spec.dicom else []
        self.path = folder / f"{spec.height}x{spec.width}x{spec.channels}.{'.'.join(rules)}.{PIXELS}"
        self._partial = self.path.with_name(f"{self.path.name}.partial")
        folder.mkdir(parents=True, exist_ok=True)
        self._whole = self.path.exists() and self.path.stat().st_size == count * self._record
        self._file = os.open(self.path if self._whole else self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        weakref.finalize(self, os.close, self._file)

    def __enter__(self) -> Self:
        if not self._whole:
            try:
                os.posix_fallocate(self._file, 0, self._count * self._record)
            except OSError as error:
                self._remove()
                raise self._full(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._remove()
        elif not self._whole:
            os.fsync(self._file)
            self._partial.rename(self.path)
            sync_directory(self.path.parent)

    def __len__(self) -> int:
        return self._count

    def digest(self, row: int) -> bytes:
        """The one in a whole file that was there already; else empty."""
        return os.pread(self._file, _DIGEST_BYTES, row * self._record) if self._whole else b""

    def put(self, row: int, digest: bytes, image: Pixels) -> None:
        """Writes it. Raises DataError if the disk does not take it."""
        try:
            os.pwritev(self._file, [digest, np.ascontiguousarray(image).data], row * self._record)
        except OSError as error:
            raise self._full(error) from None

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """Reads them. Raises DataError if the file has been cut short."""
        images = np.empty((len(rows), *self._shape), np.uint8)
        for image, row in zip(images, rows.tolist(), strict=True):
            if os.preadv(self._file, [image.data], row * self._record + _DIGEST_BYTES) != image.nbytes:
                raise DataError("E-DATA-STORE", f"{printable(str(self.path))} has been cut short: remove it and start again")
        return images

    def _remove(self) -> None:
        """Removes a file that is not whole, and its folder if that is then empty."""
        self._partial.unlink(missing_ok=True)
        if not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def _full(self, error: OSError) -> DataError:
        need_mb = self._count * self._record >> 20
        met = f"{printable(str(self._partial))}: {os.strerror(error.errno or errno.EIO)} ({need_mb} MB are needed)"
        cure = "free some space, give another --out, or keep the images in memory with --set memory_mb=N"
        return DataError("E-DATA-STORE", f"{met}: {cure}")
