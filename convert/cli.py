"""`limiar convert`. TensorFlow is imported when the command runs, not for --help."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_app.errors import ConvertError, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from convert.report import Report

EXIT_REFUSED = 3
INTENDED_USE = "Research and education, not for diagnosis."
CARD = (
    "Nobody has described this model: give `limiar convert --card FILE.md` the data's source, licence, attribution and flaws."
)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The BUNDLE folder to make.")
@click.option("--data", type=click.Path(path_type=Path), help="The run's images; else the folder that train.json names.")
@click.option("--golden", type=click.Path(path_type=Path), help="A folder of golden images; else they are drawn.")
@click.option("--gate", "gate_file", type=click.Path(path_type=Path), help="A gate.toml of your own.")
@click.option("--card", type=click.Path(path_type=Path), help="Markdown for the model card: data, licence, flaws.")
@click.option("--name", help="Of the bundle; else the name of --out.")
@click.option("--version", default="1.0.0", show_default=True, help="Of the bundle.")
@click.option("--release-counter", type=click.IntRange(0), default=1, show_default=True, help="Devices refuse a lower one.")
@click.option("--licence", default="not stated", show_default=True, help="Of the model files.")
@click.option("--intended-use", default=INTENDED_USE, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of calibration and golden images."
)
@click.option("--no-thumbnails", is_flag=True, help="No image of the test split in the report, for private data.")
@click.option("--verify-repeatable", is_flag=True, help="Convert twice, in two processes; publish what is equal byte for byte.")
@click.option("--sign", type=click.Path(path_type=Path), metavar="KEY", help="Sign with this private key of `limiar keygen`.")
@click.option(
    "--verified",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.json",
    help="What `limiar verify BUNDLE --json` printed on another machine, for the manifest.",
)
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON on stdout.")
def convert(
    run: Path,
    out: Path,
    data: Path | None,
    golden: Path | None,
    gate_file: Path | None,
    card: Path | None,
    name: str | None,
    version: str,
    release_counter: int,
    licence: str,
    intended_use: str,
    seed: int,
    no_thumbnails: bool,
    verify_repeatable: bool,
    sign: Path | None,
    verified: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Convert a RUN of `limiar train` into a bundle that devices run.

    Makes TFLite and ONNX files, runs each on every runtime that is installed, and compares them with Keras. A file that lost
    too much is left out; if the gate requires it, no bundle is written, a report lies in BUNDLE.refused, and the exit status
    is 3.

    \b
    Example:
      limiar convert runs/first --out bundles/first --sign release.key
      limiar convert runs/first --out bundles/first --sign release.key --verified pi4.json --verified pi5.json
    """
    from convert.gate import DEFAULT, read_gate
    from convert.progress import Progress
    from convert.verified import read_verified

    key = _read_key(sign)  # first: nobody wants to hear of a wrong key after two minutes
    gate = read_gate(gate_file or DEFAULT)
    card_text = _read_card(card)
    elsewhere = tuple(map(read_verified, verified))
    with Progress() as progress:
        with progress.loading("TensorFlow"):
            from convert.measure import publish_measured
            from convert.pipeline import Request, convert_run
            from convert.publish import bundle_files, publish_bundle, publish_refusal
            from convert.repeatable import Again, check_repeatable

        request = Request(
            run=run,
            data=data,
            golden=golden,
            gate=gate,
            name=name or _name_from(out),
            version=version,
            licence=licence,
            intended_use=intended_use,
            seed=seed,
            thumbnails=not no_thumbnails,
            verified=elsewhere,
        )
        converted = convert_run(request, progress.note)
        report, written = converted.report, out
        if report.verdict == "PASS" and verify_repeatable:
            progress.note("converting again in another process")
            check_repeatable(
                Again(request, release_counter, card_text), bundle_files(converted, release_counter, seed, card_text)
            )
        if report.verdict == "PASS":
            with progress.writing():
                publish_bundle(out, converted, release_counter, seed, card_text, key)
            progress.note("measuring latency")
            publish_measured(out, converted)
        else:
            with progress.writing():
                written = publish_refusal(out, converted)
    _print(report, written, as_json)
    return 0 if report.verdict == "PASS" else EXIT_REFUSED


def _name_from(out: Path) -> str:
    """A folder's name as a bundle's: lower case, and - for what a name cannot hold."""
    return re.sub(r"[^a-z0-9_.-]+", "-", out.resolve().name.lower()).strip("-._")[:64] or "model"


def _read_key(path: Path | None) -> "Ed25519PrivateKey | None":
    from edge_app.signature import read_private_key

    return read_private_key(path) if path else None


def _read_card(card: Path | None) -> str:
    if card is None:
        return CARD
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        met = f"{printable(str(card))}: {printable(str(error))}"
        raise ConvertError("E-CONVERT-CARD", f"{met}: give --card a Markdown file in UTF-8") from None


def _print(report: "Report", written: Path, as_json: bool) -> None:
    """The outcome on stdout: for a person, or for a program."""
    from convert.report import kilobytes, report_json

    if as_json:
        click.echo(report_json(report), nl=False)
        return
    click.echo(f"{'file':<16}{'size':>9}  {'accuracy':>8}  {'highest loss':>12}  verdict")
    for file in report.files:
        test = file.test
        size = kilobytes(file.bytes) if file.bytes is not None else ""
        accuracy = f"{test.metrics['accuracy'].value:.3f}" if test and test.finite else ""
        bound = f"{max(loss.high for loss in test.losses):.3f}" if test and test.losses else ""
        click.echo(f"{file.name:<16}{size:>9}  {accuracy:>8}  {bound:>12}  {file.verdict}")
        for fault in file.faults:
            click.echo(f"  {fault}")
    margin = report.gate.noninferiority.margin
    smallest = ", ".join(f"{name} {100 * share:.1f}" for name, share in report.smallest_margin.items())
    click.echo(
        f"highest loss: the upper bound against Keras, on {report.images['test']} test images; it must be below {margin:g}."
    )
    click.echo(f"The smallest margin that they can decide, in points: {smallest}")
    elsewhere = [seen for file in report.files for seen in file.elsewhere]
    for seen in dict.fromkeys(elsewhere):
        click.echo(f"verified on {seen.line}: {elsewhere.count(seen)} model files")
    for line in report.not_checked:
        click.echo(line)
    click.echo(f"{report.verdict}: {printable(str(written))}")
