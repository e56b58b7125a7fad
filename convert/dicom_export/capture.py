"""Maps as Secondary Captures: PS3.3 A.8.1, RGB pictures in a series of their own within the study of their sources."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import highdicom
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from limiar.convert.dicom_export import concepts
from limiar.convert.dicom_export.report import MANUFACTURER
from limiar.convert.dicom_export.results import Answer, Picture
from limiar.convert.dicom_export.sources import copying
from limiar.edge_app.arrays import Pixels
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import ConvertError, ImageError, printable
from limiar.edge_app.image.read import decode, read_file

_BAND_PX = 24  # below the map, for the notice
_FONT_PX = 14


def captures(bundle: Bundle, answers: Sequence[Answer], headers: Mapping[str, Dataset], maps: Path) -> Iterator[Dataset]:
    """One for each picture, of what `limiar scan --maps` wrote into `maps`. Raises ConvertError."""
    series: dict[str, str] = {}  # of the source -> of its captures
    names = _maps(maps)
    for number, picture in enumerate((picture for answer in answers for picture in answer.pictures), 1):
        header, pixels = headers[picture.sha256], _map(names, picture)
        uid = series.setdefault(header.SeriesInstanceUID, generate_uid(prefix=None))
        with copying():
            capture = _capture(bundle, picture, header, pixels, uid, number)
        yield capture


def _maps(folder: Path) -> dict[str, Path]:
    try:
        return {name: folder / name for name in sorted(os.listdir(folder)) if name.endswith(".png")}
    except OSError as error:
        met = f"{printable(str(folder))}: {error.strerror}"
        raise ConvertError("E-EXPORT-MAP", f"{met}: give --maps the folder that `limiar scan --maps` wrote") from None


def _map(names: Mapping[str, Path], picture: Picture) -> Pixels:
    """uint8 [H, W, 3]."""
    ending = f"-{picture.sha256[:8]}{'' if picture.frame is None else f'-{picture.frame}'}.png"
    found = [path for name, path in names.items() if name.endswith(ending)]
    if not found:
        met = f"there is no map that ends in {ending}"
        raise ConvertError("E-EXPORT-MAP", f"{met}: give --maps the folder that `limiar scan --maps` wrote with these results")
    try:
        return decode(read_file(os.fsencode(found[0])), found[0].name).pixels()
    except ImageError as error:
        met = f"{printable(str(found[0]))}: {error.message}"
        raise ConvertError("E-EXPORT-MAP", f"{met}; scan again with --maps") from None


def _capture(bundle: Bundle, picture: Picture, header: Dataset, pixels: Pixels, series: str, number: int) -> Dataset:
    image: Dataset = highdicom.sc.SCImage.from_ref_dataset(
        header,
        pixel_array=_with_notice(pixels, f"{bundle.manifest.name} {bundle.manifest.version}: {concepts.NOTICE.lower()}"),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series,
        series_number=1,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=number,
        manufacturer=MANUFACTURER,
        patient_orientation=_orientation(header) or ("L", "P"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",  # explicit, little endian: every viewer reads it
        specific_character_set="ISO_IR 192",
        series_description=concepts.meaning(f"limiar: {concepts.NOTICE.lower()}"),
    )
    if not _orientation(header):
        image.PatientOrientation = None  # it may be empty (type 2C), but highdicom asks for one
    image.Laterality = None  # type 2C, unknown here
    image.BurnedInAnnotation = "NO"  # no text in it names a patient
    image.DerivationDescription = f"map of {concepts.meaning(bundle.manifest.name)}, manifest sha256 {bundle.sha256}"
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if picture.frame is not None:
        source.ReferencedFrameNumber = picture.frame
    image.SourceImageSequence = [source]
    return image


def _orientation(header: Dataset) -> tuple[str, str] | None:
    """The sides of the patient that a row and a column run to (PS3.3 C.7.6.1.1.1), by the largest part of each direction."""
    directions = header.get("ImageOrientationPatient")
    if not directions or len(directions) != 6:
        return None
    across, down = directions[:3], directions[3:]
    sides = []
    for direction in (across, down):
        axis = max(range(3), key=lambda k: abs(direction[k]))
        sides.append(("LR", "PA", "HF")[axis][direction[axis] < 0])
    return sides[0], sides[1]


def _with_notice(pixels: Pixels, text: str) -> Pixels:
    """The picture with a line below that says what it is; a narrow one is widened, in black."""
    font = ImageFont.load_default(_FONT_PX)
    width = max(pixels.shape[1], round(font.getlength(text)) + 12)
    canvas = Image.new("RGB", (width, pixels.shape[0] + _BAND_PX))
    canvas.paste(Image.fromarray(pixels), ((width - pixels.shape[1]) // 2, 0))
    ImageDraw.Draw(canvas).text((6, pixels.shape[0] + 3), text, fill="white", font=font)
    return np.asarray(canvas)
