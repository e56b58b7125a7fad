"""Answers as a Structured Report: TID 1500 of PS3.16, one document for each series of pictures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from limiar.convert.dicom_export import concepts
from limiar.convert.dicom_export.results import Answer, Finding, Picture
from limiar.convert.dicom_export.sources import copying
from limiar.edge_app.answer import Peak
from limiar.edge_app.bundle.open import Bundle

MANUFACTURER = "limiar"
_PLACES = 500  # of a document: highdicom takes 10 ms for each, and nobody reads more

PlaceGroup = sr.PlanarROIMeasurementsAndQualitativeEvaluations
PictureGroup = sr.MeasurementsAndQualitativeEvaluations


def reports(bundle: Bundle, answers: Sequence[Answer], refused: int, headers: Mapping[str, Dataset]) -> Iterator[Dataset]:
    """A document for each series, in the order of the answers. headers: of the pictures' files, by sha256.

    refused: pictures of the same run that have no answer.
    """
    series: dict[str, list[Answer]] = {}
    for answer in answers:
        series.setdefault(headers[answer.pictures[0].sha256].SeriesInstanceUID, []).append(answer)
    for of_series in series.values():
        used = {picture.sha256: headers[picture.sha256] for answer in of_series for picture in answer.pictures}
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=_device(bundle)),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=_Groups(bundle, of_series, used).all(refused),
            title=codes.DCM.ImagingMeasurementReport,
        )
        with copying():
            document = _document(list(used.values()), content)
        yield document


def _document(evidence: Sequence[Dataset], content: sr.MeasurementReport) -> Dataset:
    document: Dataset = sr.Comprehensive3DSR(
        evidence=evidence,
        content=content,
        series_instance_uid=generate_uid(prefix=None),
        series_number=1,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        specific_character_set="ISO_IR 192",  # UTF-8: a label may need it
        series_description=concepts.meaning(f"limiar: {concepts.NOTICE.lower()}"),
    )
    return document


def _device(bundle: Bundle) -> sr.ObserverContext:
    manifest = bundle.manifest
    identity = sr.DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{int(bundle.sha256[:32], 16)}",  # PS3.5, B.2; the same for each report of a bundle
        name=concepts.meaning(f"{manifest.name} {manifest.version}"),
        manufacturer_name=MANUFACTURER,
    )
    return sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=identity)


class _Groups:
    """The measurement groups of one document: TID 1410 for a place, TID 1501 for a picture."""

    def __init__(self, bundle: Bundle, answers: Sequence[Answer], headers: Mapping[str, Dataset]) -> None:
        self._manifest, self._answers, self._headers = bundle.manifest, answers, headers
        one = answers[0]
        self._algorithm = sr.AlgorithmIdentification(
            name=concepts.meaning(self._manifest.name),
            version=concepts.meaning(self._manifest.version),
            parameters=[f"manifest sha256 {bundle.sha256}", f"file {one.file}", f"runtime {one.runtime}", f"app {one.app}"],
            manufacturer=MANUFACTURER,
        )

    def all(self, refused: int) -> list[PlaceGroup | PictureGroup]:
        found = [(place, answer) for answer in self._answers for place in answer.places]
        listed = sorted(found, key=lambda one: -one[0].score)[:_PLACES]
        whole = [answer for answer in self._answers if answer.found is None]
        return [
            self._summary(refused, len(listed)),
            *(self._place(place, answer, f"finding {number}") for number, (place, answer) in enumerate(listed, 1)),
            *(self._picture(answer, f"picture {number}") for number, answer in enumerate(whole, 1)),
        ]

    def _summary(self, refused: int, listed: int) -> PictureGroup:
        """What was looked at, so that a report without findings says where none were found."""
        counts = [(concepts.ANSWERED, sum(len(answer.pictures) for answer in self._answers)), (concepts.REFUSED, refused)]
        found = [answer.found for answer in self._answers if answer.found is not None]
        if found:
            counts += [(concepts.FINDINGS, sum(found)), (concepts.LISTED, listed)]
        return PictureGroup(
            measurements=[sr.Measurement(name, count, codes.UCUM.NoUnits) for name, count in counts],
            qualitative_evaluations=[sr.QualitativeEvaluation(concepts.INTENDED_USE, concepts.RESEARCH)],
            **self._about("summary"),
        )

    def _place(self, place: Peak | Finding, answer: Answer, name: str) -> PlaceGroup:
        sought = answer.sought or (answer.tiles.sought if answer.tiles else answer.decision)
        return PlaceGroup(
            referenced_region=self._region(place, answer),
            finding_type=concepts.decision(self._manifest, sought),
            measurements=[self._probability(sought, place.score)],
            qualitative_evaluations=[self._decision(place.decision)],
            **self._about(name),
        )

    def _region(self, place: Peak | Finding, answer: Answer) -> sr.ImageRegion | sr.ImageRegion3D:
        """A point: of a finding in the patient, where the coordinates have a name (PS3.3 C.7.4.1); else in a picture."""
        picture = answer.pictures[place.slice - 1 if isinstance(place, Finding) else 0]
        space = self._headers[picture.sha256].get("FrameOfReferenceUID")
        if isinstance(place, Finding) and space:
            return sr.ImageRegion3D(sr.GraphicTypeValues3D.POINT, np.array([place.place_mm]), space)
        # PS3.3 C.18.6.1.1: 0\0 is the corner of the first pixel, whose middle is 0, 0 in an answer.
        return sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POINT,
            graphic_data=np.array([[place.x + 0.5, place.y + 0.5]]),
            source_image=sr.SourceImageForRegion(*self._reference(picture)),
        )

    def _picture(self, answer: Answer, name: str) -> PictureGroup:
        """One that was answered whole."""
        return PictureGroup(
            measurements=[self._probability(label, share) for label, share in (answer.probabilities or {}).items()],
            qualitative_evaluations=[self._decision(answer.decision)],
            source_images=[sr.SourceImageForMeasurementGroup(*self._reference(answer.pictures[0]))],
            **self._about(name),
        )

    def _reference(self, picture: Picture) -> tuple[str, str, list[int] | None]:
        header = self._headers[picture.sha256]
        return header.SOPClassUID, header.SOPInstanceUID, None if picture.frame is None else [picture.frame]

    def _about(self, name: str) -> dict[str, Any]:
        tracking = sr.TrackingIdentifier(uid=generate_uid(prefix=None), identifier=name)
        return {"tracking_identifier": tracking, "algorithm_id": self._algorithm}

    def _probability(self, label: str, value: float) -> sr.Measurement:
        return sr.Measurement(concepts.probability(self._manifest, label), round(value, 6), codes.UCUM.NoUnits)

    def _decision(self, word: str) -> sr.QualitativeEvaluation:
        return sr.QualitativeEvaluation(concepts.DECISION, concepts.decision(self._manifest, word))
