"""`convert_model`: all that `limiar convert` does, for a program."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from limiar.convert.child import ToParent, in_child
from limiar.convert.defaults import INTENDED_USE, LICENCE, VERSION
from limiar.convert.publish.card import read_card
from limiar.convert.publish.place import check_out, name_from, writing_to
from limiar.edge_app.bundle.manifest import DicomSpec, DicomWindow
from limiar.train.record.run_folder import read_run

if TYPE_CHECKING:
    from limiar.convert.report.release_report import ReleaseReport

StrPath = str | os.PathLike[str]
Numbers = float | Sequence[float]  # one, or one for each channel


class Conversion(msgspec.Struct, frozen=True):
    """The result of a conversion."""

    published: bool  # False: the gate refused the release, and there is no bundle
    folder: Path  # the bundle; if it was refused, BUNDLE.refused with the report
    verdict: str  # "PASS", "PASS, 2 files undecided, allowed by gate.toml", "REFUSED"
    report_json: bytes  # as in report.json
    summary: tuple[str, ...]  # lines for a person, the verdict last

    @property
    def report(self) -> "ReleaseReport":
        """Everything that was found, file by file. The first use imports NumPy and SciPy."""
        from limiar.convert.report.release_report import ReleaseReport

        return msgspec.json.decode(self.report_json, type=ReleaseReport)


def convert_model(
    run: StrPath | None = None,
    *,
    out: StrPath,
    replace: bool = False,
    data: StrPath | None = None,
    name: str | None = None,
    version: str = VERSION,
    release_counter: int = 1,
    licence: str = LICENCE,
    intended_use: str = INTENDED_USE,
    card: StrPath | None = None,
    model: StrPath | None = None,
    csv: StrPath | None = None,
    labels: StrPath | None = None,
    positive: str | None = None,
    size: tuple[int, int] | None = None,
    scale: Numbers | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    bgr: bool = False,
    grey_max: int | None = None,
    dicom_window: DicomWindow | None = None,
    tiles: tuple[int, int] | None = None,
    sought: str | None = None,
    require: Sequence[str] = (),
    margin: float | None = None,
    refer_below: float | None = None,
    allow_undecided: bool = False,
    allow_chance: bool = False,
    assessable: float | None = None,
    gate: StrPath | None = None,
    golden: StrPath | None = None,
    seed: int = 0,
    cam: bool = False,
    verify_repeatable: bool = False,
    verified: Sequence[StrPath] = (),
    sign: StrPath | None = None,
    thumbnails: bool = True,
) -> Conversion:
    """Converts a RUN of `limiar train`, or another Keras classifier, into a bundle that devices run.

    Each argument is the option of `limiar convert` with the same name, and has its default. Give `run`, or `model` and `data`;
    csv, labels, positive, size, bgr, grey_max, scale, mean and std go with `model`. size: height and width in pixels;
    dicom_window: (centre, width), or "file"; tiles: (size, stride) in pixels of the picture; margin: a loss, 0..0.5;
    refer_below: a probability, 0..1; assessable: a share, 0..1.

    Model files are left out of the bundle as the command leaves them out, and if one that the gate requires did not pass, the
    release is refused: no error is raised, but `published` is False.

    The work is done in a forked child process, because a converter can end its process. A program that has other threads, or
    has imported TensorFlow, cannot be forked: there it is done in the process itself. Progress goes to stderr.

    Raises TypeError if the arguments contradict each other; ConvertError, RunError, DataError, BundleError and KeyFileError
    with the code and the message of the command; KeyboardInterrupt on Ctrl-C. `out` is then as it was before.

        done = limiar.convert_model("runs/first", out="bundles/first", sign="release.key")
        if not done.published:
            print(*done.summary, sep="\\n")
        for file in done.report.files:
            print(file.name, file.verdict, file.bytes)
    """
    if (run is None) == (model is None):
        raise TypeError("give a RUN of limiar train, or model= with a .keras file")
    if model is not None and data is None:
        raise TypeError("model= needs data=, the folder of its images")
    of_a_model = (csv, labels, positive, size, scale, mean, std, grey_max, bgr or None)
    if run is not None and any(value is not None for value in of_a_model):
        raise TypeError("csv, labels, positive, size, scale, mean, std, bgr and grey_max go with model=: a RUN has its own")
    if sought is not None and tiles is None:
        raise TypeError("sought= goes with tiles=")
    dicom = DicomSpec.given(dicom_window)
    if run is not None and dicom and (other := contradicted(Path(run), dicom)):
        raise TypeError(f"dicom_window={dicom_window!r}: the RUN was trained with {other}")
    place = Path(out)

    def work(child: ToParent) -> Conversion:
        from limiar.convert.gate.gate_file import read_gate, with_options
        from limiar.convert.report.elsewhere import read_verified
        from limiar.convert.source.origin import KerasFile, RunFolder, Scaling
        from limiar.convert.steps import Steps
        from limiar.edge_app.bundle.signature import read_private_key

        # Loading TensorFlow takes seconds: what can be refused without it is refused first.
        asked = with_options(read_gate(_path(gate)), require, margin, refer_below, allow_undecided)
        key = read_private_key(Path(sign)) if sign is not None else None
        check_out(place, replace)
        text = read_card(_path(card))
        elsewhere = tuple(read_verified(Path(path)) for path in verified)
        origin: RunFolder | KerasFile
        if run is not None:
            origin = RunFolder(Path(run), _path(data), dicom)
            read_run(origin.folder)
        else:
            assert model is not None
            assert data is not None
            origin = KerasFile(
                path=Path(model),
                data=Path(data),
                table=_path(csv),
                positive=positive,
                scaling=Scaling.given(scale, mean, std, bgr),
                size=size,
                order=_path(labels),
                grey_max=msgspec.UNSET if grey_max is None else grey_max,
                dicom=dicom,
            )
        with Steps(child.at) as steps:
            with steps.loading("TensorFlow"):
                from limiar.convert.pipeline import ConvertRequest, convert_run
                from limiar.convert.publish.measure import publish_measured
                from limiar.convert.publish.publish import bundle_files, publish_bundle, publish_refusal
                from limiar.convert.publish.repeatable import Again, check_repeatable

            request = ConvertRequest(
                origin=origin,
                golden=_path(golden),
                gate=asked,
                name=name or name_from(place),
                version=version,
                licence=licence,
                intended_use=intended_use,
                seed=seed,
                thumbnails=thumbnails,
                verified=elsewhere,
                cam=cam,
                ended=child.ended,
                allow_chance=allow_chance,
                assessable=assessable,
                tiles=tiles,
                sought=sought,
                allowed_by="--allow-undecided" if allow_undecided else "gate.toml",
            )
            converted = convert_run(request, steps.note)
            for line in converted.source.notes:
                steps.tell(line)
            if not converted.report.published:
                with steps.writing(), writing_to(place):
                    return _done(converted.report, publish_refusal(place, converted))
            if verify_repeatable:
                steps.note("converting again in another process")
                files = bundle_files(converted, release_counter, seed, text)
                check_repeatable(Again(request, release_counter, text), files)
            check_out(place, replace)  # minutes have passed
            with steps.writing(), writing_to(place):
                publish_bundle(place, converted, release_counter, seed, text, key)
            steps.note("measuring latency (the bundle is complete)")
            publish_measured(place, converted)
            return _done(converted.report, place)

    return in_child(work)


def contradicted(run: Path, dicom: DicomSpec) -> str | None:
    """The window of a RUN that was trained on DICOM images with another one, as its option; None if there is no other."""
    own = read_run(run).input.dicom
    return own.option if own and own != dicom else None


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else Path(given)


def _done(report: "ReleaseReport", folder: Path) -> Conversion:
    from limiar.convert.report.outcome import outcome
    from limiar.convert.report.release_report import report_json

    return Conversion(report.published, folder, report.verdict, report_json(report), tuple(outcome(report, folder)))
