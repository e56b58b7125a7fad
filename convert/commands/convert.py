"""`limiar convert`. TensorFlow is imported when the command runs, not for --help."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.errors import BundleError, ConvertError, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from limiar.convert.gate.gate import Gate
    from limiar.convert.report.report import Report
    from limiar.convert.source.source import KerasFile, RunFolder

INTENDED_USE = "Research and education, not for diagnosis."
CARD_LIMIT = 1 << 20  # bytes
CARD = (
    "Nobody has described this model: give `limiar convert --card FILE.md` the data's source, licence, attribution and flaws."
)


def _numbers(context: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """A number such as 1/255, or several with commas."""
    if text is None:
        return None
    try:
        values = tuple(_number(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise click.BadParameter("give a number such as 1/255, or one for each channel: 0.485,0.456,0.406") from None
    if option.name == "std" and 0.0 in values:
        raise click.BadParameter("a standard deviation of 0 divides by zero")
    return values


def _sides(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """96x128: height, width."""
    if text is None:
        return None
    if not (sides := re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)) or "0" in sides.groups():
        raise click.BadParameter("give height and width in pixels, such as 96x128")
    return int(sides[1]), int(sides[2])


def _number(text: str) -> float:
    """1/255, 1/127.5, 0.485: exact until the end, so that 1/255 is the float that Python's 1 / 255 is."""
    above, line, below = text.partition("/")
    return float(Fraction(above) / Fraction(below)) if line else float(Fraction(above))


# As --help lists the options; --help itself comes last.
GROUPS = {
    "In and out": ("out", "replace", "data", "name", "version", "release_counter", "licence", "intended_use", "card"),
    "A classifier in place of a RUN": (
        *("model", "table", "labels", "positive", "size", "scale", "mean", "std", "bgr", "grey_max"),
    ),
    "What a model file must pass": (
        *("require", "margin", "refer_below", "allow_undecided", "allow_chance", "gate_file", "print_gate"),
    ),
    "How it is made, signed and shown": (
        *("golden", "seed", "cam", "verify_repeatable", "verified", "sign", "no_thumbnails", "as_json"),
    ),
}


class Grouped(click.Command):
    """Its options in groups, for they are many."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        records = {option.name: option.get_help_record(ctx) for option in options}
        listed = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in records if name not in listed)
        for title, names in (*GROUPS.items(), ("Others", others)):
            if rows := [record for name in names if (record := records.get(name))]:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.command(cls=Grouped)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model", type=click.Path(path_type=Path), metavar="M.keras", help="Any Keras classifier: a .keras file, or .h5."
)
@click.option("--out", type=click.Path(path_type=Path), help="The BUNDLE folder to make.")
@click.option("--replace", is_flag=True, help="Replace the bundle that is already at --out.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the images. A RUN names its own; --model needs it.")
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    help="Table with the columns file and label, and optionally split and group.",
)
@click.option(
    "--grey-max",
    type=click.IntRange(256, 65_535),
    metavar="N",
    help="Largest value of 16-bit images that do not declare their range, such as 4095 for 12 bits.",
)
@click.option("--positive", metavar="LABEL", help="Which of two labels is positive. Default: pos, else the second by name.")
@click.option("--scale", callback=_numbers, help="What pixels are multiplied by before the model sees them, such as 1/255.")
@click.option("--mean", callback=_numbers, help="What is subtracted next: one number, or one for each channel.")
@click.option("--std", callback=_numbers, help="What they are divided by last: one number, or one for each channel.")
@click.option(
    "--size", callback=_sides, metavar="HxW", help="Height and width in pixels, if the model takes images of any size."
)
@click.option(
    "--bgr", is_flag=True, help="The model takes blue, green, red, as OpenCV reads; give --mean and --std in that order too."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text file with the labels in the order of the outputs, one a line. Default: name order.",
)
@click.option(
    "--allow-chance",
    is_flag=True,
    help="Convert the model even if it is no better than chance on validation, or would be clearly better otherwise.",
)
@click.option("--golden", type=click.Path(path_type=Path), help="Folder of golden images. Default: limiar draws them.")
@click.option(
    "--gate",
    "gate_file",
    type=click.Path(path_type=Path),
    help="TOML file with those values of the gate that you want to change.",
)
@click.option(
    "--require", multiple=True, metavar="FILE", help="Write no bundle unless this model file, such as `tflite_int8`, passes."
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 0.5, True, True),
    help="Smallest loss that is too much; 0.1 is 10 points. Default: the gate's, 0.05.",
)
@click.option(
    "--refer-below",
    type=click.FloatRange(0, 1),
    help="Refer answers whose confidence is below this, such as 0.95. Default: fitted on validation.",
)
@click.option(
    "--allow-undecided", is_flag=True, help="Keep model files that the test images are too few to judge; the verdict says so."
)
@click.option("--print-gate", is_flag=True, help="Print the resulting gate as TOML, and exit.")
@click.option("--card", type=click.Path(path_type=Path), help="Markdown file for the model card: data, licence, flaws.")
@click.option("--name", help="Name of the bundle. Default: that of --out.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the bundle.")
@click.option(
    "--release-counter",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Number of the release, raised for each: it says which of two bundles is newer.",
)
@click.option("--licence", default="not stated", show_default=True, help="Licence of the model files.")
@click.option("--intended-use", default=INTENDED_USE, show_default=True, help="What the model is for.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of the calibration sample, the golden images, and the splits if they are drawn.",
)
@click.option("--no-thumbnails", is_flag=True, help="Show no test images in the report: for private data.")
@click.option("--cam", is_flag=True, help="Make model files that give a class activation map too, for `limiar explain`.")
@click.option(
    "--verify-repeatable",
    is_flag=True,
    help="Convert twice, in two processes; write the bundle only if both are equal byte for byte.",
)
@click.option("--sign", type=click.Path(path_type=Path), metavar="KEY", help="Sign with this private key of `limiar keygen`.")
@click.option(
    "--verified",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.json",
    help="Record what `limiar verify BUNDLE --json` printed on another machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def convert(
    run: Path | None,
    model: Path | None,
    out: Path | None,
    replace: bool,
    data: Path | None,
    table: Path | None,
    positive: str | None,
    grey_max: int | None,
    scale: tuple[float, ...] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    size: tuple[int, int] | None,
    bgr: bool,
    labels: Path | None,
    allow_chance: bool,
    golden: Path | None,
    gate_file: Path | None,
    require: tuple[str, ...],
    margin: float | None,
    refer_below: float | None,
    allow_undecided: bool,
    print_gate: bool,
    card: Path | None,
    name: str | None,
    version: str,
    release_counter: int,
    licence: str,
    intended_use: str,
    seed: int,
    no_thumbnails: bool,
    cam: bool,
    verify_repeatable: bool,
    sign: Path | None,
    verified: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Convert a RUN of `limiar train`, or any Keras classifier, into a bundle that devices run.

    A classifier is a .keras or .h5 file that ends in softmax or logits. Its labels are those of the images in name order,
    found as `limiar train` finds them, unless --labels lists them in another order. It takes pixels from 0 to 255. If it was
    trained on scaled pixels, say how with --scale, --mean and --std: x * scale, then (x - mean) / std.

    Makes TFLite and ONNX files, runs each on every runtime that is installed, and compares it with Keras. A file that loses
    too much is left out, and so is one that the test images are too few to judge. If no file of full precision passes, or if
    one that you --require does not, no bundle is written: the report is in BUNDLE.refused and the exit status is 3.

    \b
    Example:
      limiar convert runs/first --out bundles/first --sign release.key
      limiar convert runs/first --out bundles/first --replace --sign release.key --verified pi4.json --verified pi5.json
      limiar convert --model m.keras --data images/ --csv labels.csv --scale 1/255 --out bundles/mine
    """

    def gate() -> "Gate":
        from limiar.convert.gate.gate_file import read_gate, with_options

        return with_options(read_gate(gate_file), require, margin, refer_below, allow_undecided)

    if print_gate:
        from limiar.convert.gate.gate_file import gate_toml

        click.echo(gate_toml(gate()), nl=False)
        return 0
    scaling = {"--scale": scale, "--mean": mean, "--std": std}
    given: dict[str, object] = {
        "--csv": table,
        "--positive": positive,
        "--labels": labels,
        "--size": size,
        "--grey-max": grey_max,
        "--bgr": bgr or None,
        **scaling,
    }
    if out is None:
        raise click.UsageError("Missing option '--out', the BUNDLE folder to make.")
    if (run is None) == (model is None):
        raise click.UsageError("give a RUN of limiar train, or --model with a .keras file.")
    if model and not data:
        raise click.UsageError("--model needs --data, the folder of its images.")
    if run and (foreign := [name for name, value in given.items() if value is not None]):
        raise click.UsageError(f"{foreign[0]} goes with --model: a RUN has its own.")
    from limiar.convert.child import Child, in_child

    def work(child: Child) -> int:
        from limiar.convert.progress import Progress
        from limiar.convert.report.verified import read_verified
        from limiar.train.record.run_folder import read_run

        asked = gate()
        key = _read_key(sign)  # first: nobody wants to hear of a wrong key or RUN after TensorFlow was loaded
        _check_out(out, replace)
        card_text = _read_card(card)
        elsewhere = tuple(map(read_verified, verified))
        if run:
            read_run(run)
        with Progress(child.at) as progress:
            with progress.loading("TensorFlow"):
                from limiar.convert.pipeline import Request, convert_run
                from limiar.convert.publish.measure import publish_measured
                from limiar.convert.publish.publish import bundle_files, publish_bundle, publish_refusal
                from limiar.convert.publish.repeatable import Again, check_repeatable

            request = Request(
                origin=_origin(run, model, data, table, positive, grey_max, (scale, mean, std), bgr, labels, size),
                golden=golden,
                gate=asked,
                name=name or _name_from(out),
                version=version,
                licence=licence,
                intended_use=intended_use,
                seed=seed,
                thumbnails=not no_thumbnails,
                verified=elsewhere,
                cam=cam,
                ended=child.ended,
                allow_chance=allow_chance,
                allowed_by="--allow-undecided" if allow_undecided else "gate.toml",
            )
            converted = convert_run(request, progress.note)
            report, written = converted.report, out
            for line in converted.source.notes:
                progress.tell(line)
            if report.published and verify_repeatable:
                progress.note("converting again in another process")
                check_repeatable(
                    Again(request, release_counter, card_text), bundle_files(converted, release_counter, seed, card_text)
                )
            if report.published:
                _check_out(out, replace)  # minutes have passed
                with progress.writing(), _place(out):
                    publish_bundle(out, converted, release_counter, seed, card_text, key)
                progress.note("measuring latency (the bundle is whole)")
                publish_measured(out, converted)
            else:
                with progress.writing(), _place(out):
                    written = publish_refusal(out, converted)
        _print(report, written, as_json)
        return 0 if report.published else exit_status.FAILED_CHECK

    return in_child(work)


def _origin(
    run: Path | None,
    model: Path | None,
    data: Path | None,
    table: Path | None,
    positive: str | None,
    grey_max: int | None,
    scaling: tuple[tuple[float, ...] | None, ...],
    bgr: bool,
    labels: Path | None,
    size: tuple[int, int] | None,
) -> "RunFolder | KerasFile":
    import msgspec

    from limiar.convert.source.ends import Scaling
    from limiar.convert.source.source import KerasFile, RunFolder

    if run:
        return RunFolder(run, data)
    assert model is not None  # usage has been checked
    assert data is not None
    given = {name: values for name, values in zip(Scaling().values, scaling, strict=True) if values is not None}
    asked = Scaling(given.get("scale", (1.0,)), given.get("mean", (0.0,)), given.get("std", (1.0,)), bgr)
    declared = msgspec.UNSET if grey_max is None else grey_max
    return KerasFile(model, data, table, positive, asked if given or bgr else None, size, labels, declared)


def _name_from(out: Path) -> str:
    """A folder's name as a bundle's: lower case, and - for what a name cannot hold."""
    return re.sub(r"[^a-z0-9_.-]+", "-", out.resolve().name.lower()).strip("-._")[:64] or "model"


def _read_key(path: Path | None) -> "Ed25519PrivateKey | None":
    from limiar.edge_app.bundle.signature import read_private_key

    return read_private_key(path) if path else None


def _read_card(card: Path | None) -> str:
    from limiar.edge_app.system.files import read_bounded

    if card is None:
        return CARD
    try:
        return read_bounded(card, CARD_LIMIT, follow=True).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        met = f"{printable(str(card))}: {printable(str(error))}"
        raise ConvertError("E-CONVERT-CARD", f"{met}: give --card a Markdown file in UTF-8") from None


@contextmanager
def _place(out: Path) -> Iterator[None]:
    """Where a folder cannot be made or filled, that in one line."""
    try:
        yield
    except OSError as error:
        met = f"{printable(str(out))}: {error.strerror or printable(str(error))}"
        raise BundleError("E-BUNDLE-OUT", f"{met}: give --out a name in a folder that can be written and has room") from None


def _check_out(out: Path, replace: bool) -> None:
    """Before the work: nothing that is there is lost unasked. Raises BundleError."""
    from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE

    with _place(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(out):
        return
    where = printable(str(out))
    if not (out / MANIFEST).is_file():
        raise BundleError("E-BUNDLE-OUT", f"{where} exists and is not a bundle: choose another --out, or move it away")
    if not replace:
        kind = "a signed bundle" if os.path.lexists(out / SIGNATURE) else "a bundle"
        raise BundleError("E-BUNDLE-OUT", f"{where} holds {kind} already: give --replace to replace it, or another --out")


def _print(report: "Report", written: Path, as_json: bool) -> None:
    """The outcome on stdout: for a person, or for a program."""
    from limiar.convert.report.outcome import outcome
    from limiar.convert.report.report import report_json

    if as_json:
        click.echo(report_json(report), nl=False)
        return
    for line in outcome(report, written):
        click.echo(line)
