"""`limiar convert`. TensorFlow is imported when the command runs, not for --help."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from limiar.convert.defaults import INTENDED_USE, LICENCE, VERSION
from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import dicom_window, tiles

GATE = ("gate", "require", "margin", "refer_below", "allow_undecided")  # the options that change the gate
OF_A_MODEL = ("csv", "positive", "labels", "size", "grey_max", "bgr", "scale", "mean", "std")


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
        *("model", "csv", "labels", "positive", "size", "scale", "mean", "std", "bgr", "grey_max"),
    ),
    "Pictures that devices read": ("dicom_window", "tiles", "sought"),
    "What a model file must pass": (
        *("require", "margin", "refer_below", "allow_undecided", "allow_chance", "gate", "print_gate"),
    ),
    "How it is made, signed and shown": (
        *("golden", "seed", "cam", "assessable", "verify_repeatable", "verified", "sign", "thumbnails", "as_json"),
    ),
}


class Grouped(click.Command):
    """Its many options in groups."""

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
@click.option("--model", type=click.Path(path_type=Path), metavar="M.keras", help="Any Keras classifier: a .keras or .h5 file.")
@click.option("--out", type=click.Path(path_type=Path), help="The BUNDLE folder to make.")
@click.option("--replace", is_flag=True, help="Replace the bundle that is already at --out.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the images. A RUN names its own; --model needs it.")
@click.option(
    "--csv",
    type=click.Path(path_type=Path),
    help="Table with the columns file and label, and optionally split and group.",
)
@click.option(
    "--grey-max",
    type=click.IntRange(256, 65_535),
    metavar="N",
    help="Largest value of 16-bit images that do not declare their range, such as 4095 for 12 bits.",
)
@click.option(
    "--dicom-window",
    callback=dicom_window,
    metavar="CENTRE,WIDTH|file",
    help="Have devices read DICOM: grey by this window (HU for CT), such as -600,1500, or by each file's own. "
    "A RUN of DICOM images has its own.",
)
@click.option(
    "--tiles",
    callback=tiles,
    metavar="SIZE,STRIDE",
    help="Have devices answer a picture in tiles of SIZE pixels, one every STRIDE, such as 40,8.",
)
@click.option("--sought", metavar="LABEL", help="The label that tiles are searched for. Default: the positive one of two.")
@click.option("--positive", metavar="LABEL", help="The positive one of two labels. Default: pos, or the second by name.")
@click.option("--scale", callback=_numbers, help="Multiply pixels by this before the model sees them: a number such as 1/255.")
@click.option("--mean", callback=_numbers, help="Subtract this next: one number, or one for each channel.")
@click.option("--std", callback=_numbers, help="Divide by this last: one number, or one for each channel.")
@click.option(
    "--size", callback=_sides, metavar="HxW", help="Height and width in pixels, for a model that takes images of any size."
)
@click.option(
    "--bgr", is_flag=True, help="The model takes blue, green, red, as OpenCV reads; give --mean and --std in that order too."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text file with the labels in the order of the outputs, one per line. Default: name order.",
)
@click.option(
    "--allow-chance",
    is_flag=True,
    help="Convert the model even if it is no better than chance on validation, or would be clearly better with other options.",
)
@click.option("--golden", type=click.Path(path_type=Path), help="Folder of golden images. Default: limiar draws them.")
@click.option(
    "--gate",
    type=click.Path(path_type=Path),
    help="TOML file with the values of the gate to change.",
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
@click.option("--version", default=VERSION, show_default=True, help="Version of the bundle.")
@click.option(
    "--release-counter",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Number of the release, raised for each: it says which of two bundles is newer.",
)
@click.option("--licence", default=LICENCE, show_default=True, help="Licence of the model files.")
@click.option("--intended-use", default=INTENDED_USE, show_default=True, help="What the model is for.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of the calibration sample, the golden images, and the splits if they are drawn.",
)
@click.option(
    "--no-thumbnails",
    "thumbnails",
    is_flag=True,
    callback=lambda context, option, hidden: not hidden,
    help="Show no test images in the report: for private data.",
)
@click.option("--cam", is_flag=True, help="Make model files that also give a class activation map, for `limiar explain`.")
@click.option(
    "--assessable",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Have devices refuse what is too blurred, dark, bright or noisy: at most this share of validation, such as 0.005.",
)
@click.option(
    "--verify-repeatable",
    is_flag=True,
    help="Convert twice, in two processes; write the bundle only if both are equal byte for byte.",
)
@click.option("--sign", type=click.Path(path_type=Path), metavar="KEY", help="Sign with this private key from `limiar keygen`.")
@click.option(
    "--verified",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.json",
    help="Record what `limiar verify BUNDLE --json` printed on another machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def convert(print_gate: bool, as_json: bool, **options: Any) -> int:
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
    if print_gate:
        from limiar.convert.gate.gate_file import gate_toml, read_gate, with_options

        file, *changes = (options[name] for name in GATE)
        click.echo(gate_toml(with_options(read_gate(file), *changes)), nl=False)
        return 0
    _check_usage(options)
    from limiar.convert.conversion import convert_model

    done = convert_model(**options)
    click.echo(done.report_json if as_json else "\n".join((*done.summary, "")), nl=False)
    return 0 if done.published else exit_status.FAILED_CHECK


def _check_usage(options: dict[str, Any]) -> None:
    """Raises UsageError: options are missing, or contradict each other."""
    if options["out"] is None:
        raise click.UsageError("Missing option '--out', the BUNDLE folder to make.")
    if (options["run"] is None) == (options["model"] is None):
        raise click.UsageError("give a RUN of limiar train, or --model with a .keras file.")
    if options["model"] and not options["data"]:
        raise click.UsageError("--model needs --data, the folder of its images.")
    if options["run"] and (foreign := [name for name in OF_A_MODEL if options[name] not in (None, False)]):
        raise click.UsageError(f"--{foreign[0].replace('_', '-')} goes with --model: a RUN has its own.")
    if options["sought"] is not None and options["tiles"] is None:
        raise click.UsageError("--sought goes with --tiles.")
    if options["run"] and options["dicom_window"]:
        from limiar.convert.conversion import contradicted
        from limiar.edge_app.bundle.manifest import DicomSpec

        dicom = DicomSpec.given(options["dicom_window"])
        if dicom and (other := contradicted(options["run"], dicom)):
            raise click.UsageError(f"--dicom-window: the RUN was trained with {other}: leave it out.")
