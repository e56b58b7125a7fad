"""Options that several commands share, and the values that their callbacks get."""

import functools
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import click

from limiar.edge_app.errors import LimiarError, printable

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.inference.rule import OutsideRule
    from limiar.edge_app.inference.tiling import Tiling
    from limiar.edge_app.output.outputs import Output

FILE = click.Path(path_type=Path)
_TILE_PX = 4096  # as bundle/manifest.py has it, which --help need not load


class Finite(click.FloatRange):
    """A finite number in a range; click alone accepts nan in any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def dicom_window(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    """`-600,1500` -> (-600, 1500): centre and width; `file` stays."""
    if text is None or text == "file":
        return text
    if not (numbers := re.fullmatch(r"(-?\d{1,9}),(0*[1-9]\d{0,8})", text)):
        raise click.BadParameter(f"{text!r} is neither centre and width in whole numbers, such as -600,1500, nor file.")
    return int(numbers[1]), int(numbers[2])


def tiles(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """`40,8` -> (40, 8): size and stride, px of the picture."""
    if text is None:
        return None
    if not (sides := re.fullmatch(r"(\d{1,4}),(\d{1,4})", text)):
        raise click.BadParameter(f"{text!r} is not two numbers of pixels, such as 40,8.")
    size, stride = int(sides[1]), int(sides[2])
    if not 1 <= stride <= size <= _TILE_PX:
        raise click.BadParameter(f"{text!r}: a size has at most {_TILE_PX} pixels, and a stride 1 to the size.")
    return size, stride


class AnswerOptions(TypedDict):
    """Which model answers, and how it decides: keyword arguments of `limiar.scan`, `camera` and `open_classifier`."""

    file: str | None
    runtime: str | None
    threads: int | None
    refer_below: float | None
    outside: "OutsideRule"
    keys: "Keys | None"


file_option = click.option(
    "--file", metavar="NAME", help="Model file of the bundle, such as `tflite_int8`. Default: the bundle's own."
)
runtime_option = click.option(
    "--runtime", metavar="R", help="litert, tflite-runtime or onnxruntime. Default: the first that is installed."
)
state_option = click.option(
    "--state",
    type=FILE,
    metavar="DIR",
    callback=lambda context, option, given: given or _state_folder(),
    help="Default: limiar's state folder, which LIMIAR_STATE sets.",
)
plain_uids_option = click.option(
    "--plain-uids", is_flag=True, help="Keep and print the UIDs of new DICOM answers as they are, not hashed."
)
refer_below_option = click.option(
    "--refer-below",
    type=Finite(0, 1),
    metavar="P",
    help="Refer answers of lower confidence. Default: the bundle's own.",
)


def _state_folder() -> Path:
    from limiar.edge_app.store.state import state_folder

    return state_folder()


def with_extra(extra: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Makes a command say how to install the packages of an extra if one is missing. Put it below all options."""

    def add(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def callback(**options: Any) -> int:
            try:
                return command(**options)
            except ModuleNotFoundError as error:
                if str(error.name).partition(".")[0] == "limiar":
                    raise
                met = f"limiar {click.get_current_context().command_path.partition(' ')[2]} needs {error.name}"
                raise LimiarError(
                    "E-INSTALL-MISSING", f"{met}, which is not installed: pip install 'limiar[{extra}]'"
                ) from None

        return callback

    return add


def answering_options(picture: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """The options of AnswerOptions, for "an image" or "a frame"; the callback gets it as `answering`."""
    options = (
        file_option,
        runtime_option,
        click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="Inference threads. Default: 1."),
        refer_below_option,
        click.option(
            "--outside",
            type=click.Choice(["refer", "refuse", "ignore"]),
            default="refer",
            show_default=True,
            help=f"What to do with {picture} that is unlike the training images.",
        ),
        key_options,
    )

    def add(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def callback(
            *,
            file: str | None,
            runtime: str | None,
            threads: int | None,
            refer_below: float | None,
            outside: "OutsideRule",
            key_files: tuple[Path, ...],
            revoked_files: tuple[Path, ...],
            **others: Any,
        ) -> int:
            answering = AnswerOptions(
                file=file,
                runtime=runtime,
                threads=threads,
                refer_below=refer_below,
                outside=outside,
                keys=keys_of(key_files, revoked_files),
            )
            return command(answering=answering, **others)

        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), callback)

    return add


class Reporting(NamedTuple):
    """The outputs of a run."""

    jsonl: str | None
    csv: Path | None
    db: Path
    annotate: Path | None
    quiet: bool
    verbose: bool

    def check(self, **others: Path | None) -> None:
        """Checks the options before any work. others: further outputs, by option. Raises UsageError: two are one."""
        for option, given in {"csv": self.csv, **others}.items():
            if given == Path("-"):
                name = option.replace("_", "-")
                raise click.UsageError(f"--{name} is written as a whole, at the end: give a file. For stdout, use --jsonl -.")
        if self.quiet and self.verbose:
            raise click.UsageError("Give --quiet or --verbose, not both.")
        jsonl = None if self.jsonl in (None, "-") else Path(self.jsonl)
        of: dict[str, str] = {}
        for option, path in {"db": self.db, "jsonl": jsonl, "csv": self.csv, "annotate": self.annotate, **others}.items():
            name = f"--{option.replace('_', '-')}"
            if path and (other := of.setdefault(os.path.realpath(path), name)) != name:
                raise click.UsageError(f"{other} and {name} are the same file or folder: {printable(str(path))}.")

    def outputs(self, labels: tuple[str, ...], *, frames: bool) -> "list[Output]":
        """Opens the outputs. Raises OutputError."""
        from limiar.edge_app.output.outputs import open_outputs

        return open_outputs(self.jsonl, self.csv, labels, quiet=self.quiet, frames=frames)

    @property
    def shows_progress(self) -> bool:
        """Whether the terminal is free for it: no lines are printed there, and --quiet was not given."""
        return not (self.quiet or sys.stdout.isatty())

    def summarize(self, *texts: str) -> None:
        """Prints those that are not empty on stderr, one per line, unless --quiet was given."""
        if not self.quiet:
            click.echo("\n".join(filter(None, texts)), err=True)

    def tell(self, note: str) -> None:
        """Prints what a person should know on stderr, unless --quiet was given."""
        if not self.quiet:
            click.echo(note, err=True)

    def say(self, text: str) -> None:
        """Prints a line on stderr if --verbose was given."""
        if self.verbose:
            click.echo(f"{text}; {printable(str(self.db))}", err=True)


class TileOptions(NamedTuple):
    """How pictures are cut into tiles, and what is shown of them."""

    tiles: "Tiling"
    maps: Path | None
    scores: bool


tiles_option = click.option(
    "--tiles",
    metavar="SIZE,STRIDE",
    callback=lambda context, option, given: given and _tiling(given),
    help="Cut each picture into tiles of SIZE pixels, STRIDE apart, and answer each. Default: as the bundle says.",
)


def tiling_options(command: Callable[..., int]) -> Callable[..., int]:
    """--tiles and --no-tiles; the callback gets them as `tiles`."""

    @tiles_option
    @click.option("--no-tiles", is_flag=True, help="Answer each picture as one image, whatever the bundle says.")
    @functools.wraps(command)
    def callback(*, tiles: tuple[int, int] | None, no_tiles: bool, **others: Any) -> int:
        if tiles and no_tiles:
            raise click.UsageError("Give --tiles or --no-tiles, not both.")
        return command(tiles=None if no_tiles else tiles or "bundle", **others)

    return callback


def tile_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of TileOptions; the callback gets it as `tiling`."""

    @tiling_options
    @click.option("--maps", type=FILE, metavar="DIR", help="Write each picture under the scores of its tiles.")
    @click.option("--scores", is_flag=True, help="Add the scores of all tiles to JSON lines.")
    @functools.wraps(command)
    def callback(*, tiles: "Tiling", maps: Path | None, scores: bool, **others: Any) -> int:
        return command(tiling=TileOptions(tiles, maps, scores), **others)

    return callback


def _tiling(given: str) -> tuple[int, int]:
    from limiar.edge_app.inference.tiling import parse_tiling

    try:
        return parse_tiling(given)
    except ValueError as error:
        raise click.BadParameter(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def reporting_options(picture: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """The options of Reporting, for images or frames; the callback gets it as `reporting`."""
    options = (
        click.option("--jsonl", metavar="FILE|-", help="Write JSON lines to a file, or to stdout with -."),
        click.option("--csv", type=FILE, metavar="FILE", help="Write a spreadsheet."),
        click.option("--db", type=FILE, metavar="FILE", help="Results database. Default: results.db in limiar's state folder."),
        click.option("--annotate", type=FILE, metavar="DIR", help=f"Write each {picture} enlarged, with its answer."),
        click.option("--quiet", "-q", is_flag=True, help="Show only errors and JSON lines."),
        click.option("--verbose", "-v", is_flag=True, help="Show which model answers, and each file that is passed over."),
    )

    def add(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def callback(
            *,
            jsonl: str | None,
            csv: Path | None,
            db: Path | None,
            annotate: Path | None,
            quiet: bool,
            verbose: bool,
            **others: Any,
        ) -> int:
            from limiar.edge_app.store.state import default_path

            return command(reporting=Reporting(jsonl, csv, db or default_path(), annotate, quiet, verbose), **others)

        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), callback)

    return add


def key_options(command: Callable[..., int]) -> Callable[..., int]:
    """--key and --revoked, each any number of times, as `key_files` and `revoked_files`: for commands that open a bundle."""
    file = click.Path(path_type=Path)
    key = click.option(
        "--key",
        "key_files",
        type=file,
        multiple=True,
        metavar="PUB",
        help="Refuse a bundle that this public key has not signed.",
    )
    revoked = click.option(
        "--revoked",
        "revoked_files",
        type=file,
        multiple=True,
        metavar="PUB",
        help="Refuse a bundle that this public key has signed.",
    )
    return key(revoked(command))


def keys_of(key_files: tuple[Path, ...], revoked_files: tuple[Path, ...]) -> "Keys | None":
    """The public keys, read; None if no signature is asked for."""
    if not key_files:
        if revoked_files:
            raise click.UsageError("--revoked says which signatures do not count: give --key for one that does.")
        return None
    from limiar.edge_app.bundle.signature import read_keys

    return read_keys(*key_files, revoked=revoked_files)
