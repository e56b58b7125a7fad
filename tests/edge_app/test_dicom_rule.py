"""The rule dicom-v1 on made files of every depth, sign, rescale, table and window: levels as fractions give them."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_files import dicom_file
from dicom_reference import grey_levels, stored_bits
from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec, Window
from limiar.edge_app.image.read import decode


def spec(window: tuple[int, int] | None) -> InputSpec:
    rule = DicomSpec(window=window and Window(centre=window[0], width=window[1]))
    return InputSpec(height=40, width=40, channels=3, dicom=rule)


def agreed(data: bytes, window: tuple[int, int] | None) -> np.ndarray:
    """The levels, which are those of the reference."""
    header = pydicom.dcmread(io.BytesIO(data))
    levels = decode(data, "", spec(window))[:]
    assert np.array_equal(levels, grey_levels(header, stored_bits(header)[0], window))
    return levels


decimals = st.one_of(
    st.integers(-2000, 2000).map(str),
    st.decimals(-2000, 2000, places=3).map(str),
    st.sampled_from(["1e-3", "3.774114", "0.000061", "-1E2", "+7", ".5", "1.", "1234567890.12345", "-0"]),
)


@given(
    bits=st.integers(2, 16),
    spare=st.integers(0, 8),
    signed=st.booleans(),
    inverted=st.booleans(),
    slope=decimals.filter(lambda text: float(text) != 0),
    intercept=decimals,
    window=st.one_of(
        st.tuples(decimals, decimals.filter(lambda text: float(text) >= 1)),
        st.tuples(st.integers(-1100, 3000), st.integers(1, 5000)),
    ),
    padding=st.none() | st.tuples(st.integers(-100, 100), st.integers(-100, 100)),
    chance=st.randoms(),
)
def test_any_depth_sign_rescale_window_and_padding_gives_the_levels_of_the_fractions(
    bits: int, spare: int, signed: bool, inverted: bool, slope: str, intercept: str, window: Any, padding: Any, chance: Any
) -> None:
    high = min(15, bits - 1 + spare)
    cells = np.array([chance.getrandbits(16) for _ in range(30 * 8)], np.uint16).reshape(
        8, 30
    )  # unused bits too, as overlays use
    own = isinstance(window[0], str)
    attributes: dict[str, Any] = {"RescaleSlope": slope, "RescaleIntercept": intercept, "BitsStored": bits, "HighBit": high}
    if own:
        attributes |= {"WindowCenter": window[0], "WindowWidth": window[1]}
    if padding and (signed or min(padding) >= 0):
        attributes |= {"PixelPaddingValue": padding[0], "PixelPaddingRangeLimit": padding[1]}
    kind = "MONOCHROME1" if inverted else "MONOCHROME2"
    agreed(dicom_file(cells.view(np.int16) if signed else cells, photometric=kind, **attributes), None if own else window)


def table(first: int, values: np.ndarray, bits: int, kind: str = "HU") -> Dataset:
    """An item of a ModalityLUTSequence or VOILUTSequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) & 0xFFFF, first & 0xFFFF, bits])
    item.ModalityLUTType = kind
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize("first", [-20, 0, 30])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_modality_table_comes_before_the_window(first: int, bits: int) -> None:
    stored = np.arange(-64, 64, dtype=np.int16).reshape(8, 16)
    values = np.random.default_rng(bits).integers(0, 1 << bits, 50)
    lut = table(first, values, bits)
    levels = agreed(dicom_file(stored, ModalityLUTSequence=Sequence([lut])), (1 << bits - 1, 1 << bits))
    assert len(np.unique(levels)) > 10


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_a_voi_table_takes_the_place_of_a_window_that_is_not_there(bits: int) -> None:
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16)
    values = np.sort(np.random.default_rng(bits).integers(0, 1 << bits, 200))
    data = dicom_file(stored, bits=12, slope=1.0, intercept=-20.0, VOILUTSequence=Sequence([table(10, values, bits)]))
    assert len(np.unique(agreed(data, None))) > 50


def test_a_window_of_the_bundle_counts_before_the_files_own_and_its_table() -> None:
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16)
    data = dicom_file(stored, window=(10, 20), VOILUTSequence=Sequence([table(0, np.arange(256), 8)]))
    assert np.array_equal(agreed(data, (128, 256)), stored)  # PS3.3, C.11.2.1.2.1: a window of 256 around 128 is the identity
    assert not np.array_equal(agreed(data, None), stored)


@pytest.mark.parametrize("width", ["1", "2", "0.5", "255", "4095.5"])
def test_an_exact_window_is_a_little_wider(width: str) -> None:
    stored = np.arange(-128, 128, dtype=np.int16).reshape(16, 16)
    agreed(dicom_file(stored, WindowCenter="3.25", WindowWidth=width, VOILUTFunction="LINEAR_EXACT"), None)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_eight_bits_in_big_endian_are_bytes_or_words(vr: str) -> None:
    """PS3.5, 8.1.1 and A.3: two pixels share a word of OW, whose bytes are swapped in big endian."""
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    header = pydicom.dcmread(io.BytesIO(dicom_file(stored, syntax="big")))
    header["PixelData"].VR = vr
    if vr == "OW":
        header.PixelData = stored.reshape(-1, 2)[:, ::-1].tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, header, enforce_file_format=True)
    assert np.array_equal(decode(file.getvalue(), "", spec((128, 256)))[:], stored)
