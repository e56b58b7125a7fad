"""DICOM files with a name planted in every attribute that can hold text, and the search for it in what commands write."""

import base64
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import config, datadict, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_files import ROOT, dicom_file

WORD, DAY = "Zilpah", "19370713"
WORDS = {
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "CS"), WORD.upper()),
    "PN": f"{WORD}^Planted",
    "DA": DAY,
    "DT": f"{DAY}171313",
    "TM": "171313",
    "AS": "091Y",
    "UI": f"{ROOT}.7713",
    "OB": WORD.encode(),
    "UN": WORD.encode(),
}
# Groups of messages, of the file itself, of its folder, and of how pixels are stored: what can be planted there is below.
_LEFT = (0x0000, 0x0002, 0x0004, 0x0028, 0x7FE0)
_URI = re.compile(rb"data:image/[a-z.+-]+;base64,([A-Za-z0-9+/=]+)")


def planted_file(pixels: NDArray[Any], **how: Any) -> bytes:
    """A DICOM file as `dicom_file` writes it, with a name, a day and UIDs wherever they can be."""
    data = dcmread(io.BytesIO(dicom_file(pixels, **how)))
    with config.disable_value_validation():
        for tag, (vr, *_, keyword) in datadict.DicomDictionary.items():
            if keyword and vr in WORDS and tag not in data and tag >> 16 not in _LEFT and keyword != "SpecificCharacterSet":
                data.add_new(tag, vr, WORDS[vr])
        data.WindowCenterWidthExplanation, data.RescaleType = WORD, WORD
        data.PatientWeight, data.PatientComments = "77.7", WORD * 1000
        data.OtherPatientIDsSequence = [_item(PatientID=WORD), _item(PatientID=WORD)]
        data.RequestAttributesSequence = [_item(ScheduledProcedureStepDescription=WORD)]
        data.IconImageSequence = [_item(Rows=1, Columns=6, PixelData=WORD.encode())]
        data.add_new(0x60000022, "LO", WORD)  # of an overlay
        for number, vr in enumerate(("LO", "PN", "UN", "OB"), 1):  # private, in a block of its own
            data.add_new(0x00110010, "LO", WORD)
            data.add_new(0x00111000 + number, vr, WORDS[vr])
        meta: Any = data.file_meta
        meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = meta.ImplementationVersionName = WORD
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = WORDS["UI"], WORD.encode()
        data.preamble = WORD.encode().ljust(128, b" ")
        file = io.BytesIO()
        data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        if keyword == "PixelData":
            item.add(DataElement(0x7FE00010, "OB", value))
        else:
            setattr(item, keyword, value)
    return item


def with_value(data: bytes, keyword: str, value: str) -> bytes:
    """The same file with text in an attribute that must not have it, such as a name in NumberOfFrames or in Rows."""
    whole = dcmread(io.BytesIO(data))
    with config.disable_value_validation():
        tag = datadict.tag_for_keyword(keyword)
        assert tag is not None
        element = DataElement(tag, "LO", value)  # which pydicom writes as it is
        if datadict.dictionary_VR(tag) in ("CS", "DS", "IS", "UI"):
            element.VR = datadict.dictionary_VR(tag)
        whole[tag] = element
        file = io.BytesIO()
        whole.save_as(file, enforce_file_format=False)
    return file.getvalue()


def traces(*places: Path | bytes) -> list[str]:
    """Where a planted name, day or UID is to be seen: in bytes, in files (also in folders), in pictures inside them."""
    return [f"{where}: {needle!r}" for place in places for where, data in _contents(place) for needle in _seen(data)]


def _contents(place: Path | bytes) -> Iterator[tuple[str, bytes]]:
    if isinstance(place, bytes):
        yield "output", place
        return
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_file():
            yield path.name, path.read_bytes()


def _seen(data: bytes) -> Iterator[str]:
    for text in _texts(data):
        small = text.lower()
        for needle in (WORD.lower(), DAY, ROOT):
            if needle.encode() in small or needle.encode("utf-16-le") in small:
                yield needle


def _texts(data: bytes) -> Iterator[bytes]:
    """The bytes, and those that are packed in them: of pictures in a page, and what a picture says of itself."""
    yield data
    pictures: Iterable[bytes] = [data] if data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1") else ()
    for picture in (*pictures, *(base64.b64decode(uri) for uri in _URI.findall(data))):
        yield picture
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            yield repr((image.info, dict(image.getexif()))).encode()


def ct(seed: int = 0, side: int = 56) -> NDArray[np.int16]:
    """Stored values of a slice: noise that no rule of assessable images refuses."""
    return np.random.default_rng(seed).integers(-1000, 400, (side, side)).astype(np.int16)


def labelled(folder: Path, studies: int) -> Path:
    """Class folders, neg and pos: two patches of each study, and one file with a name where a number belongs."""
    first, pixels = 1000, ct(side=40)  # last numbers of the studies' UIDs, of as many digits each
    template = planted_file(pixels, study=first)
    for number in range(2 * studies):
        label = ("neg", "pos")[number // 2 % 2]
        least = -600 if label == "neg" else 0  # far enough apart for a training of seconds
        noise = np.random.default_rng(number).integers(least, least + 400, pixels.shape).astype(np.int16)
        data = template.replace(pixels.tobytes(), noise.tobytes())
        (folder / label).mkdir(parents=True, exist_ok=True)
        path = folder / label / f"{number:03}.dcm"
        path.write_bytes(data.replace(f"{ROOT}.{first}".encode(), f"{ROOT}.{first + number // 2}".encode()))
    (folder / "neg" / "bad.dcm").write_bytes(with_value(template, "NumberOfFrames", WORD))
    return folder
