"""DICOM as the rest of the project sees it: pictures, names, places, folders."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pydicom
import pytest

from dicom_files import ROOT, dicom_file
from limiar.edge_app.bundle.manifest import GOLDEN, DicomSpec, InputSpec, Window
from limiar.edge_app.errors import BundleError, ImageError
from limiar.edge_app.image.containers.dicom import inspect
from limiar.edge_app.image.containers.dicom_place import place, uid_hash
from limiar.edge_app.image.folder import walk
from limiar.edge_app.image.read import decode, opened
from limiar.edge_app.inference.golden import golden_tensors

PIXELS = np.random.default_rng(3).integers(-1024, 1000, (3, 40, 32)).astype(np.int16)
LUNG = InputSpec(height=40, width=40, channels=3, dicom=DicomSpec(window=Window(-600, 1500)))


def refused(data: bytes, name: str = "", spec: InputSpec | None = LUNG, frame: int | None = None) -> str:
    with pytest.raises(ImageError) as error:
        decode(data, name, spec, frame)
    return error.value.code


def test_a_bundle_with_the_rule_reads_dicom_and_one_without_refuses_it() -> None:
    data = dicom_file(PIXELS[0])
    assert decode(data, "IM0001", LUNG).shape == (40, 32)
    assert refused(data, spec=None) == "E-IMAGE-DICOM"
    assert refused(data, spec=InputSpec(height=40, width=40, channels=3)) == "E-IMAGE-DICOM"
    assert refused(bytes(128) + b"DICM", spec=None) == "E-IMAGE-DICOM"  # even if it is broken


def test_a_name_must_fit_the_content() -> None:
    assert refused(dicom_file(PIXELS[0]), "slice.png") == "E-IMAGE-EXTENSION"
    assert decode(dicom_file(PIXELS[0]), "slice.DCM", LUNG).shape == (40, 32)


def test_a_dicom_name_without_the_mark_is_told_how_to_get_it() -> None:
    bare = dicom_file(PIXELS[0], window=(-500, 1000))[132:]
    for name, code in (("a.dcm", "without the mark DICM.*dcmconv"), ("a.png", "not PNG")):
        with pytest.raises(ImageError, match=rf"E-IMAGE-FORMAT.*{code}"):
            decode(bare, name, LUNG)


def test_a_file_of_several_frames_is_read_frame_by_frame_or_not_at_all() -> None:
    data = dicom_file(PIXELS)
    assert opened(data, "", LUNG).frames == 3
    assert refused(data) == "E-IMAGE-FRAMES"
    pictures = [decode(data, "", LUNG, k) for k in range(3)]
    assert [picture.frame for picture in pictures] == [1, 2, 3]
    alone = [decode(dicom_file(frame), "", LUNG) for frame in PIXELS]
    assert all((a.pixels() == b.pixels()).all() for a, b in zip(pictures, alone, strict=True))
    assert alone[0].frame is None


def test_a_picture_has_its_place_with_hashed_uids() -> None:
    picture = decode(dicom_file(PIXELS[0], spacing=(0.7, 0.6), position=(-10.5, 20, 33.25), instance=7), "", LUNG)
    assert picture.place is not None
    assert picture.place.series == uid_hash(f"{ROOT}.1.1")
    assert (picture.place.number, picture.place.spacing_mm, picture.place.position_mm) == (7, (0.7, 0.6), (-10.5, 20.0, 33.25))
    assert (picture.place.across, picture.place.down) == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    assert ROOT not in repr(picture.place)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_plain_uids_are_given_only_if_they_are_numbers() -> None:
    found = place(inspect(dicom_file(PIXELS[0], StudyInstanceUID="SILVA^MARIA")), plain=True)
    assert found is not None
    assert found.series == f"{ROOT}.1.1"
    assert found.study == uid_hash("SILVA^MARIA")


def test_a_geometry_that_is_odd_is_left_out_and_a_missing_uid_leaves_no_place() -> None:
    found = place(
        inspect(dicom_file(PIXELS[0], spacing=(0, 1), position=(1, 2, 3), ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    )
    assert found is not None
    assert (found.spacing_mm, found.across, found.position_mm) == (None, None, (1.0, 2.0, 3.0))
    assert place(inspect(dicom_file(PIXELS[0], SeriesInstanceUID=None))) is None


def test_each_frame_has_the_place_of_its_own_group() -> None:
    groups = []
    for k in range(3):
        group, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, 2.5 * k]
        group.PlanePositionSequence = [position]
        groups.append(group)
    found = inspect(dicom_file(PIXELS, PerFrameFunctionalGroupsSequence=groups))
    places = [place(found, k) for k in range(3)]
    assert [one.position_mm for one in places if one] == [(0.0, 0.0, 0.0), (0.0, 0.0, 2.5), (0.0, 0.0, 5.0)]


def test_a_folder_gives_dicom_files_without_an_extension_but_not_their_directory(tmp_path: Path) -> None:
    for name in ("IM0001", "1.2.840.113619.2.1", "slice.dcm", "DICOMDIR"):
        (tmp_path / name).write_bytes(dicom_file(PIXELS[0]))
    (tmp_path / "README").write_text("no DICOM")
    taken = [os.path.basename(found.path) for found in walk(os.fsencode(tmp_path)) if found.kind is None]
    assert taken == [b"1.2.840.113619.2.1", b"IM0001", b"slice.dcm"]


class Golden:
    """A bundle of one golden image, as far as it is read here."""

    def __init__(self, data: bytes) -> None:
        record = {"images": [{"path": "golden/0.dcm", "tensor_sha256": "0" * 64}], "logits": {}}
        self._files = {GOLDEN: msgspec.json.encode(record), "golden/0.dcm": data}
        self.manifest = SimpleNamespace(input=LUNG)

    def read(self, path: str) -> bytes:
        return self._files[path]


def test_a_device_that_lacks_a_decoder_is_told_so_and_not_that_its_pixels_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = Golden(dicom_file(PIXELS[0], syntax="jpeg_ls"))
    assert golden_tensors(golden).differing == ("golden/0.dcm",)
    monkeypatch.setitem(sys.modules, "jpeg_ls", None)
    monkeypatch.delitem(sys.modules, "limiar.edge_app.image.decoders.dicom_jpeg_ls", raising=False)
    with pytest.raises(BundleError, match=r"E-INSTALL-MISSING.*limiar\[dicom\]"):
        golden_tensors(golden)


def test_a_device_without_the_decoders_of_dicom_reads_what_needs_none() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('pydicom', 'jpeg_ls', 'openjpeg', 'gdcm'))\n"
        "from limiar.edge_app.bundle.manifest import GOLDEN, DicomSpec, InputSpec\n"
        "from limiar.edge_app.image.read import decode\n"
        "data = sys.stdin.buffer.read()\n"
        "print(decode(data, '', InputSpec(40, 40, 3, dicom=DicomSpec())).shape)"
    )
    for syntax in ("explicit", "deflated", "rle"):
        data = dicom_file(PIXELS[0], syntax=syntax, window=(-500, 1000))
        done = subprocess.run([sys.executable, "-P", "-c", code], input=data, capture_output=True, check=True)
        assert done.stdout == b"(40, 32)\n"
