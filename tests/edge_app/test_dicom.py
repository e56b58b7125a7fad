"""DICOM by the rule `dicom-v1`: stored values, levels, frames, and what is refused."""

import io
import struct
import sys
import zlib
from fractions import Fraction

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_files import SYNTAXES, dicom_file
from limiar.edge_app.bundle.manifest import DicomSpec, Window
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.containers import dicom as container
from limiar.edge_app.image.containers.dicom_elements import Reader
from limiar.edge_app.image.decoders import dicom as decoder
from limiar.edge_app.image.decoders import dicom_rle
from limiar.edge_app.image.decoders.dicom_levels import Window as ExactWindow
from limiar.edge_app.image.decoders.dicom_levels import levels

RNG = np.random.default_rng(1)
SIGNED = RNG.integers(-1024, 3000, (40, 33)).astype(np.int16)
TWELVE = RNG.integers(0, 4096, (40, 33)).astype(np.uint16)
GREY = RNG.integers(0, 256, (40, 33)).astype(np.uint8)
RGB = RNG.integers(0, 256, (40, 34, 3)).astype(np.uint8)
FILE, LUNG = DicomSpec(rule="dicom-v1", window=None), DicomSpec(rule="dicom-v1", window=Window(-600, 1500))
LOSSLESS = [name for name in SYNTAXES if name not in ("jpeg", "jpeg_ls_near", "j2k_lossy", "jpeg_lossless")]


def stored(data: bytes, frame: int = 0) -> np.ndarray:
    found = container.inspect(data)
    values = decoder.codes(found, frame).astype(np.int32)
    half = 1 << found.stored - 1
    return np.where(values >= half, values - 2 * half, values) if found.signed else values


def decoded(data: bytes, rule: DicomSpec = FILE, frame: int = 0) -> np.ndarray:
    return decoder.decode(container.inspect(data), rule, frame)


def code(data: bytes, rule: DicomSpec = FILE, frame: int = 0) -> str:
    try:
        decoded(data, rule, frame)
    except ImageError as error:
        return error.code
    return "answered"


def level(value: Fraction, centre: Fraction, width: Fraction) -> int:
    """PS3.3, C.11.2.1.2.1, as it is written there."""
    half = Fraction(1, 2)
    if value <= centre - half - (width - 1) / 2:
        return 0
    if value > centre - half + (width - 1) / 2:
        return 255
    exact = ((value - (centre - half)) / (width - 1) + half) * 255
    return int(exact + half)


def without(monkeypatch: pytest.MonkeyPatch, package: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"limiar.edge_app.image.decoders.{module}", raising=False)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("pixels", "more"), [(SIGNED, {}), (TWELVE, {"bits": 12}), (GREY, {}), (RGB, {"photometric": "RGB"})])
def test_every_lossless_syntax_gives_the_values_that_were_stored(syntax: str, pixels: np.ndarray, more: dict) -> None:
    assert (stored(dicom_file(pixels, syntax=syntax, **more)) == pixels).all()


def test_lossless_jpeg_needs_gdcm_and_gives_the_values_that_were_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gdcm", reason="needs limiar[gdcm]")
    data = dicom_file(SIGNED, syntax="jpeg_lossless")
    assert (stored(data) == SIGNED).all()
    without(monkeypatch, "gdcm", "dicom_gdcm")
    with pytest.raises(ImageError, match=r"E-INSTALL-MISSING.*limiar\[gdcm\]"):
        stored(data)


@pytest.mark.parametrize("syntax", ["jpeg_ls", "j2k"])
def test_a_device_without_the_decoder_says_what_to_install(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "jpeg_ls", "dicom_jpeg_ls")
    without(monkeypatch, "openjpeg", "dicom_jpeg_2000")
    with pytest.raises(ImageError, match=r"E-INSTALL-MISSING.*limiar\[dicom\]"):
        stored(dicom_file(SIGNED, syntax=syntax))


def test_near_lossless_jpeg_ls_is_as_near_as_it_says() -> None:
    assert np.abs(stored(dicom_file(SIGNED, syntax="jpeg_ls_near")) - SIGNED).max() == 2


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "RGB"])
def test_the_colours_of_a_jpeg_are_those_of_its_header(photometric: str) -> None:
    smooth = np.broadcast_to(np.uint8([200, 120, 40]), (32, 32, 3))
    assert np.abs(decoded(dicom_file(smooth, syntax="jpeg", photometric=photometric)).astype(int) - smooth).max() <= 2


def test_a_jpeg_whose_marker_contradicts_the_header_is_refused() -> None:
    data = dicom_file(RGB, syntax="jpeg", photometric="YBR_FULL")
    assert code(data.replace(b"YBR_FULL", b"RGB     ")) == "answered"  # JFIF alone says nothing: the header decides
    data = dicom_file(RGB, syntax="jpeg", photometric="RGB")
    assert b"Adobe" in data
    assert code(data.replace(b"RGB ", b"YBR_FULL", 1).replace(b"CS\x04\x00YBR_FULL", b"CS\x08\x00YBR_FULL")) == "E-IMAGE-COLOUR"


def test_irreversible_jpeg_2000_is_refused() -> None:
    assert code(dicom_file(SIGNED, syntax="j2k_lossy", window=(0, 100))) == "E-DICOM-SYNTAX"


@given(
    st.fractions(-3000, 3000, max_denominator=50),
    st.fractions(1, 5000, max_denominator=50),
    st.fractions(-4, 4, max_denominator=1000).filter(bool),
    st.fractions(-2000, 2000, max_denominator=100),
)
def test_a_window_is_the_standards_function_to_the_last_level(
    centre: Fraction, width: Fraction, slope: Fraction, intercept: Fraction
) -> None:
    found = levels(range(-128, 128), slope, intercept, ExactWindow(centre, width))
    assert found.tolist() == [level(slope * v + intercept, centre, width) for v in range(-128, 128)]


def test_a_window_of_width_one_is_a_step() -> None:
    found = levels(range(8), Fraction(1), Fraction(0), ExactWindow(Fraction(4), Fraction(1)))
    assert found.tolist() == [0, 0, 0, 0, 255, 255, 255, 255]


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_the_bundles_window_is_in_modality_units_and_the_files_window_does_not_matter(syntax: str) -> None:
    hu = np.arange(-1400, 400, dtype=np.int16)[:1800].reshape(40, 45)
    data = dicom_file(hu + 1024, syntax=syntax, slope=1, intercept=-1024, window=(40, 400))
    want = [level(Fraction(int(v)), Fraction(-600), Fraction(1500)) for v in hu.ravel()]
    assert decoded(data, LUNG).ravel().tolist() == want


def test_the_file_s_first_window_is_taken_if_the_bundle_says_so() -> None:
    data = dicom_file(SIGNED, window=[(40, 400), (-600, 1500)])
    assert decoded(data).ravel().tolist() == [level(Fraction(int(v)), Fraction(40), Fraction(400)) for v in SIGNED.ravel()]


def test_a_file_without_a_window_is_refused_if_the_bundle_leaves_it_to_the_file() -> None:
    assert code(dicom_file(SIGNED)) == "E-DICOM-WINDOW"
    assert code(dicom_file(SIGNED), LUNG) == "answered"
    assert code(dicom_file(SIGNED, window=(40, 400), VOILUTFunction="SIGMOID")) == "E-DICOM-WINDOW"
    assert (decoded(dicom_file(GREY)) == GREY).all()  # 8 bits are levels already


def test_monochrome1_is_inverted_and_padding_is_black() -> None:
    data = dicom_file(GREY, photometric="MONOCHROME1", PixelPaddingValue=int(GREY[0, 0]))
    want = 255 - GREY
    want[GREY[0, 0] == GREY] = 0
    assert (decoded(data) == want).all()


def test_a_range_of_padding_is_black_whatever_the_window() -> None:
    pixels = SIGNED.copy()
    pixels[:10] = -2000
    pixels[10:20] = 2500
    data = dicom_file(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990, slope=-1, intercept=0, window=(0, 100))
    assert (decoded(data)[:10] == 0).all()
    assert (decoded(dicom_file(pixels, slope=-1, intercept=0, window=(0, 100)))[:10] == 255).all()


def test_bits_beside_the_stored_ones_do_not_count() -> None:
    dirty = TWELVE << 4 | 0xF
    data = dicom_file(dirty, bits=12, HighBit=15)
    assert (stored(data) == TWELVE).all()
    assert (stored(dicom_file(TWELVE | 0xF000, bits=12)) == TWELVE).all()
    signed = RNG.integers(-2048, 2048, (9, 9)).astype(np.int16)
    assert (stored(dicom_file(signed & 0xFFF, bits=12)) == signed).all()


def test_a_modality_table_comes_before_the_window() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [3, 10, 16], "HU", [0, 500, 1000]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    pixels = np.uint16([[0, 10, 11, 12, 99]]).repeat(4, axis=0)
    data = dicom_file(pixels, ModalityLUTSequence=[table], window=(501, 1001))
    assert decoded(data)[0].tolist() == [0, 0, 127, 255, 255]


def test_a_table_of_the_file_stands_in_for_a_window() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, -1, 12], [0, 1365, 2730, 4095]
    table["LUTDescriptor"].VR, table["LUTData"].VR = "SS", "US"
    data = dicom_file(np.int16([[-5, -1, 0, 1, 2, 9]]).repeat(4, axis=0), VOILUTSequence=[table])
    assert decoded(data)[0].tolist() == [0, 0, 85, 170, 255, 255]


@pytest.mark.parametrize("wide", [8, 16])
def test_a_palette_becomes_rgb(wide: int) -> None:
    colours: dict = {}
    for k, name in enumerate(("Red", "Green", "Blue")):
        entries = np.arange(256) * (k + 1) % 256
        colours[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, wide]
        stored = entries.astype(np.uint8) if wide == 8 else (entries << 8).astype("<u2")
        colours[f"{name}PaletteColorLookupTableData"] = stored.tobytes()
    data = dicom_file(GREY, photometric="PALETTE COLOR", **colours)
    assert (decoded(data) == np.stack([GREY * np.uint8(k) for k in (1, 2, 3)], axis=-1)).all()


def test_ybr_becomes_rgb_by_whole_numbers() -> None:
    data = dicom_file(RGB, photometric="YBR_FULL")
    y, cb, cr = (RGB[..., k].astype(float) - (128 if k else 0) for k in range(3))
    want = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)  # PS3.3, C.7.6.3.1.2
    assert np.abs(decoded(data) - np.clip(want, 0, 255)).max() < 0.51


def test_colours_in_planes_and_in_pixels_are_the_same() -> None:
    planes = dicom_file(RGB, photometric="RGB", PlanarConfiguration=1, PixelData=RGB.transpose(2, 0, 1).tobytes())
    assert (decoded(planes) == RGB).all()


def test_big_endian_words_of_8_bits_are_swapped_in_frames_of_an_odd_size_too() -> None:
    pixels = RNG.integers(0, 256, (3, 5, 7)).astype(np.uint8)
    swapped = np.frombuffer(pixels.tobytes() + b"\0", ">u2").astype("<u2").tobytes()
    little = dicom_file(pixels, syntax="big", PixelData=swapped)
    words = little.replace(b"\x7f\xe0\x00\x10OB", b"\x7f\xe0\x00\x10OW")
    assert words != little
    assert all((stored(words, k) == pixels[k]).all() for k in range(3))


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_frame_is_decoded_by_its_number(syntax: str) -> None:
    pixels = np.stack([SIGNED, SIGNED[::-1], SIGNED + 7])
    data = dicom_file(pixels, syntax=syntax)
    assert container.inspect(data).frames == 3
    assert all((stored(data, k) == pixels[k]).all() for k in range(3))
    assert code(data, LUNG, 3) == "E-IMAGE-FRAMES"


def test_a_frame_has_the_window_and_rescale_of_its_own_group() -> None:
    groups = []
    for k in range(2):
        group, voi, rescale = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        voi.WindowCenter, voi.WindowWidth = 100 * k, 400
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, -10 * k
        group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [voi], [rescale]
        groups.append(group)
    data = dicom_file(np.stack([SIGNED, SIGNED]), PerFrameFunctionalGroupsSequence=groups)
    for k in range(2):
        want = [level(Fraction(int(v) - 10 * k), Fraction(100 * k), Fraction(400)) for v in SIGNED.ravel()]
        assert decoded(data, FILE, k).ravel().tolist() == want


@pytest.mark.parametrize("syntax", [*LOSSLESS, "jpeg"])
def test_a_cut_file_has_no_answer_wherever_it_is_cut(syntax: str) -> None:
    pixels = GREY[:34, :34] if syntax != "jpeg" else GREY
    data = dicom_file(pixels, syntax=syntax, window=(128, 256))
    assert code(data) == "answered"
    last = len(data) - (1 if syntax == "deflated" else 0)  # its last byte may be padding
    found = {code(data[:end]) for end in [*range(140, last, max(1, len(data) // 150)), last - 2]}
    assert "answered" not in found


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "E-IMAGE-DEPTH"),
        ({"BitsStored": 17, "HighBit": 16}, "E-DICOM-ATTRIBUTE"),
        ({"Rows": 41}, "E-DICOM-LENGTH"),
        ({"Rows": 60000, "Columns": 60000}, "E-IMAGE-PIXELS"),
        ({"Rows": None}, "E-DICOM-ATTRIBUTE"),
        ({"NumberOfFrames": 2}, "E-DICOM-LENGTH"),
        ({"NumberOfFrames": 100_000}, "E-IMAGE-FRAMES"),
        ({"PhotometricInterpretation": "HSV"}, "E-IMAGE-COLOUR"),
        ({"PhotometricInterpretation": "RGB"}, "E-DICOM-ATTRIBUTE"),
        ({"RescaleSlope": 0}, "E-DICOM-ATTRIBUTE"),
        ({"PixelData": None}, "E-DICOM-NO-IMAGE"),
        ({"WindowWidth": 0}, "E-DICOM-ATTRIBUTE"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_its_code(change: dict, want: str) -> None:
    assert code(dicom_file(SIGNED, window=(40, 400), slope=1, **change)) == want


def test_a_document_and_an_unknown_syntax_are_refused_by_their_codes() -> None:
    document = dicom_file(SIGNED, PixelData=None, EncapsulatedDocument=b"%PDF-1.7 ")
    assert code(document) == "E-DICOM-NO-IMAGE"
    video = dicom_file(SIGNED).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.100".ljust(20, b"\0")[:20])
    assert code(video) == "E-DICOM-SYNTAX"


def test_a_bomb_is_refused_by_its_header() -> None:
    data = dicom_file(SIGNED, syntax="deflated", window=(40, 400))
    found = Reader(data, explicit=True).elements(132, len(data), only_group=2)[1]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = data[:found] + packer.compress(bytes(100_000_000)) + packer.flush()
    assert len(bomb) < 200_000
    assert code(bomb) == "E-IMAGE-BYTES"


def test_sequences_may_not_nest_without_end() -> None:
    opened = b"\x40\0\x30\xa7SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    data = dicom_file(SIGNED)
    at = data.index(b"\x28\0\x02\0US")
    assert code(data[:at] + b"\x09\0\x01\x10" + opened[4:] + opened * 5000) == "E-IMAGE-BROKEN"


def test_attributes_twice_or_out_of_order_are_refused() -> None:
    data = dicom_file(SIGNED, window=(40, 400))
    at = data.index(b"\x28\0\x10\0US")
    rows = data[at : at + 10]
    assert code(data[:at] + rows + data[at:]) == "E-IMAGE-BROKEN"


def test_padding_after_the_pixels_is_named_and_anything_else_is_refused() -> None:
    data = dicom_file(SIGNED, window=(40, 400))
    assert container.inspect(data + bytes(100)).trailing == "padding"
    assert code(data + b"PK\3\4 and so on") != "answered"


@pytest.mark.parametrize(
    ("old", "new"), [(b"CS\x0c\0MONOCHROME2 ", b"CS\x0c\0PLANTEDNAME "), (b"DS\x04\00040.0", b"DS\x04\0PLAN")]
)
def test_no_value_of_a_header_is_in_a_message(old: bytes, new: bytes) -> None:
    data = dicom_file(SIGNED, window=(40.0, 400.0))
    assert old in data
    with pytest.raises(ImageError) as refused:
        decoded(data.replace(old, new))
    assert "PLAN" not in refused.value.message


def test_rle_that_unpacks_to_more_or_less_than_a_segment_is_refused() -> None:
    data = dicom_file(np.zeros((40, 40), np.uint8), syntax="rle", window=(128, 256))
    runs = data.index(struct.pack("<16I", 1, 64, *[0] * 14)) + 64
    assert code(data[:runs] + b"\x82" + data[runs + 1 :]) in ("E-IMAGE-BROKEN", "E-IMAGE-TRUNCATED")
    assert dicom_rle.unpacked(b"\xff\x07\x80\x01\x01\x02", 4) == b"\x07\x07\x01\x02"


def test_what_pydicom_reads_is_what_is_read_here() -> None:
    """A second reader, which knows nothing of this one."""
    for syntax in LOSSLESS:
        data = dicom_file(SIGNED, syntax=syntax)
        assert (pydicom.dcmread(io.BytesIO(data)).pixel_array == stored(data)).all()
