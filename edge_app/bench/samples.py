"""Every single call of a measurement, small enough for its JSON."""

import base64
import binascii
import itertools
import zlib
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

_BYTES = 8  # of a call
_MOST_CALLS = 10_000_000  # that are unpacked from somebody's file: 80 MB


class Samples(Struct, frozen=True):
    """The nanoseconds of every call, in the order in which they were taken."""

    processes: tuple[tuple[int, ...], ...]  # the calls of each round, for each repeat process
    data: str  # base64 of zlib of little-endian uint64


def pack(processes: Sequence[Sequence[Sequence[int]]]) -> Samples:
    """Nanoseconds by process and round -> what the JSON keeps of them."""
    taken = itertools.chain.from_iterable(itertools.chain.from_iterable(processes))
    data = zlib.compress(np.array([*taken], dtype="<u8").tobytes(), level=9)
    return Samples(tuple(tuple(map(len, rounds)) for rounds in processes), base64.b64encode(data).decode("ascii"))


def unpack(samples: Samples) -> list[list[list[int]]]:
    """What the JSON keeps -> nanoseconds by process and round. Raises ValueError if it holds anything else."""
    taken = iter(calls_of(samples).tolist())
    return [[[*itertools.islice(taken, count)] for count in rounds] for rounds in samples.processes]


def calls_of(samples: Samples) -> NDArray[np.uint64]:
    """What the JSON keeps -> uint64 [calls], nanoseconds. Raises ValueError if it holds anything else."""
    counts = [*itertools.chain.from_iterable(samples.processes)]
    calls = sum(counts)
    if min(counts, default=0) < 0:
        raise ValueError("samples: a round has fewer than 0 calls")
    if calls > _MOST_CALLS:
        raise ValueError(f"samples: {calls} calls, more than {_MOST_CALLS}")
    return np.frombuffer(_inflated(samples.data, calls * _BYTES), dtype="<u8").astype(np.uint64, copy=False)


def _inflated(data: str, size: int) -> bytes:
    """Exactly `size` bytes. Raises ValueError."""
    unzip = zlib.decompressobj()
    try:
        found = unzip.decompress(base64.b64decode(data, validate=True), size + 1)  # one more shows that there is more
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"samples: {error}") from None
    if len(found) != size or not unzip.eof or unzip.unused_data:
        met = "more" if len(found) > size or unzip.unused_data else "fewer"
        raise ValueError(f"samples: {met} bytes than its rounds have calls: {size // _BYTES}")
    return found
