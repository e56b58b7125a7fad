"""Every call is kept in the JSON, and what a stranger's JSON says is checked."""

import base64
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.edge_app.bench.samples import Samples, pack, unpack

ROUNDS = st.lists(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=5), max_size=4), max_size=3)


def data_of(*values: int) -> str:
    return base64.b64encode(zlib.compress(b"".join(value.to_bytes(8, "little") for value in values))).decode()


@given(ROUNDS)
def test_calls_come_back_in_their_order_through_json(processes: list[list[list[int]]]) -> None:
    written = msgspec.json.encode(pack(processes))
    assert unpack(msgspec.json.decode(written, type=Samples)) == processes


def test_the_form_is_little_endian_numbers_of_eight_bytes() -> None:
    packed = pack([[[31_000, 32_000], [33_000]], [[34_000]]])
    assert packed.processes == ((2, 1), (1,))
    assert zlib.decompress(base64.b64decode(packed.data))[:8] == (31_000).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("samples", "met"),
    [
        (Samples(((2,),), data_of(1, 2, 3)), "more bytes than its rounds have calls: 2"),
        (Samples(((4,),), data_of(1, 2, 3)), "fewer bytes than its rounds have calls: 4"),
        (Samples(((3, -1),), data_of(1, 2)), "a round has fewer than 0 calls"),
        (Samples(((10**15,),), data_of(1)), "1000000000000000 calls, more than 10000000"),
        (Samples(((1,),), "not base64!"), "base64"),
        (Samples(((1,),), "AAAA"), "unknown compression method"),
        (Samples(((1,),), data_of(1)[:8]), "fewer bytes"),
        (Samples(((1,),), base64.b64encode(base64.b64decode(data_of(1)) + b"more").decode()), "more bytes"),
        (Samples(((1,),), "é"), "ASCII"),
    ],
)
def test_what_does_not_fit_is_refused(samples: Samples, met: str) -> None:
    with pytest.raises(ValueError, match=met):
        unpack(samples)


def test_a_small_file_cannot_unpack_into_gigabytes() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(1 << 26))).decode()
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="more bytes than its rounds have calls: 3"):
        unpack(Samples(((3,),), bomb))
