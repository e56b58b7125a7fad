"""The `limiar` command. Only what a command needs is imported, and only when it runs: `limiar --help` loads no numpy."""

import itertools
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limiar.edge_app import APP, __version__
from limiar.edge_app.errors import LimiarError, ModelUnfit, OutputClosed, OutputError, SourceError, printable
from limiar.edge_app.system.clock import take_any_year
from limiar.edge_app.system.limits import limit_met
from limiar.edge_app.system.streams import open_streams
from limiar.edge_app.text import counted, for_json, without_passwords

if TYPE_CHECKING:
    from limiar.edge_app.bundle.signature import Keys
    from limiar.edge_app.camera.messages import Roi
    from limiar.edge_app.camera.source import Settings
    from limiar.edge_app.inference.rule import OutsideRule
    from limiar.edge_app.output.images import Output

EXIT_ERROR, EXIT_USAGE, EXIT_FAILED_CHECK, EXIT_SOME_REFUSED = 1, 2, 3, 4
EXIT_INTERRUPTED, EXIT_CLOSED_PIPE = 130, 141


class Finite(click.FloatRange):
    """click takes nan for a number of any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


# As --help lists them: in the order in which a person needs them.
GROUPS = {
    "On the desktop": ("phantoms", "check", "train", "sweep", "convert", "inspect", "compare", "keygen"),
    "On a device": ("scan", "camera", "explain", "verify", "bench", "doctor"),
}
_SUMMARY = 300  # characters of a command's first sentence: all of it, over as many lines as it needs


class Commands(click.Group):
    """The device's commands, and those that train and convert bring through the entry points `limiar.commands`."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        listed = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in commands if name not in listed)
        for title, names in (*GROUPS.items(), ("Others", others)):
            rows = [(name, commands[name].get_short_help_str(_SUMMARY)) for name in names if name in commands]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(entry.name for entry in _entry_points())})

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if any(word == "" or re.fullmatch(r"--[a-z-]+=", word) for word in args):
            raise click.UsageError("An argument is empty: is a variable of the shell not set?")
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # 5 ms that only a mistake takes

            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            raise click.UsageError(f"{error.message} Did you mean {near[0]}?", ctx) if near else error from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if command := super().get_command(ctx, cmd_name):
            return command
        # Reading entry points takes 40 ms in a desktop environment: only for --help and for names that are not here.
        for entry in _entry_points():
            if entry.name == cmd_name:
                command = entry.load()
                assert isinstance(command, click.Command)
                assert command.callback
                command.callback = _with_cure(command.callback, cmd_name, extra=entry.module.split(".")[1])
                return command
        return None


def _with_cure(callback: Callable[..., Any], name: str, extra: str) -> Callable[..., Any]:
    """A desktop command: where its packages are not installed, it says how to get them."""

    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return callback(*arguments, **options)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] == "limiar":
                raise
            met = f"limiar {name} needs {error.name}, which is not installed"
            raise LimiarError("E-INSTALL-MISSING", f"{met}: pip install 'limiar[{extra}]'") from None

    return run


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group="limiar.commands") if entry.module.startswith("limiar.")]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="limiar")
def limiar() -> None:
    """From a Keras image classifier to proven answers on a device.

    \b
    Example:
      limiar scan models/lung-nodule images/ --jsonl results.jsonl
    """


def main() -> None:
    """Runs the command line and exits: 0 done, 1 refused or failed, 2 usage, 3 a check did not pass, 4 some inputs refused."""
    open_streams()
    stdout = sys.stdout
    take_any_year()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see limiar/__main__.py
            signal.signal(signal.SIGINT, signal.default_int_handler)
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"  # no-color.org
        status = limiar.main(prog_name="limiar", standalone_mode=False, color=False if plain else None)
        sys.stdout.flush()
    except click.ClickException as error:
        error.message = without_passwords(error.message)  # type: ignore[misc]  # it quotes what was given
        error.show()
        status = error.exit_code
    except LimiarError as error:
        click.echo(str(error), err=True)
        status = EXIT_FAILED_CHECK if isinstance(error, ModelUnfit) else EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        status = EXIT_INTERRUPTED
    except OutputClosed:
        status = EXIT_CLOSED_PIPE
    except SystemExit:  # click's, which has replaced a stdout that nobody reads any more
        if sys.stdout is stdout:
            raise
        status = EXIT_CLOSED_PIPE
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if not (limit := limit_met(error)):
            raise
        click.echo(str(limit), err=True)
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries once more when it ends
        status = EXIT_ERROR
    sys.exit(status if isinstance(status, int) else 0)


def key_options(command: Callable[..., int]) -> Callable[..., int]:
    """--key and --revoked, each any number of times, as `key_files` and `revoked_files`: for what opens a bundle."""
    file = click.Path(path_type=Path)
    key = click.option(
        "--key",
        "key_files",
        type=file,
        multiple=True,
        metavar="PUB",
        help="Refuse what this public key has not signed.",
    )
    revoked = click.option(
        "--revoked", "revoked_files", type=file, multiple=True, metavar="PUB", help="Refuse what this public key has signed."
    )
    return key(revoked(command))


def _keys(key_files: tuple[Path, ...], revoked_files: tuple[Path, ...]) -> "Keys | None":
    """The public keys, read; None where no signature is asked for."""
    if not key_files:
        if revoked_files:
            raise click.UsageError("--revoked says which signatures do not count: give --key with one that does.")
        return None
    from limiar.edge_app.bundle.signature import Keys, read_public_key

    return Keys(tuple(map(read_public_key, key_files)), tuple(map(read_public_key, revoked_files)))


@limiar.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=False, type=click.Path(allow_dash=True))
@click.option("--file", "name", metavar="NAME", help="Model file of the bundle, as `tflite_int8`; else its default file.")
@click.option("--runtime", metavar="R", help="litert, tflite-runtime or onnxruntime; else the first that is installed.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Inference threads of a worker.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--refer-below", type=Finite(0, 1), metavar="P", help="Refer below this confidence; else the bundle's.")
@click.option(
    "--outside",
    type=click.Choice(["refer", "refuse", "ignore"]),
    default="refer",
    show_default=True,
    help="What becomes of an image unlike the training images.",
)
@click.option("--jsonl", metavar="FILE|-", help="JSON lines into a file, or - for stdout.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="FILE", help="A spreadsheet.")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results database; else results.db in limiar's state folder.",
)
@click.option("--annotate", type=click.Path(path_type=Path), metavar="DIR", help="Write each image enlarged, with its answer.")
@click.option("--again", is_flag=True, help="Infer also what the database has an answer for.")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Of folders take only files that match, whatever they are called."
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of folders leave out files and folders that match.")
@click.option("--follow", is_flag=True, help="Follow links to files and folders; each folder is entered once.")
@click.option(
    "--passed-over",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Name what folders hold beside pictures: JSON lines, or a spreadsheet if FILE ends in .csv.",
)
@click.option(
    "--quiet", "-q", is_flag=True, help="No table, progress or summary: only errors, and the lines that are asked for."
)
@click.option("--verbose", "-v", is_flag=True, help="Say also what answers, and what is passed over as it is met.")
@click.option("-0", "nul", is_flag=True, help="Read paths from stdin, separated by NUL.")
@key_options
def scan(
    bundle: Path,
    paths: tuple[str, ...],
    name: str | None,
    runtime: str | None,
    threads: int,
    workers: int,
    refer_below: float | None,
    outside: "OutsideRule",
    jsonl: str | None,
    csv_file: Path | None,
    db: Path | None,
    annotate: Path | None,
    again: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    passed_over: Path | None,
    quiet: bool,
    verbose: bool,
    nul: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Answer images: files, folders (recursive, in name order), - for paths on stdin, one a line.

    On a terminal a table, into a pipe JSON lines. Every answer is kept in the database before it is printed; an image that
    has an answer is not inferred twice. Exit status 4: finished, but some images were refused.

    In a folder hidden names, the bins and caches of systems, and what is no picture by its name are passed over and counted;
    a file given by name is always tried. A GLOB with a slash is matched against the path below the folder (** are any folders),
    one without against the name.

    \b
    Example:
      limiar scan models/lung-nodule images/ --csv results.csv
      find /data -name '*.png' -print0 | limiar scan models/lung-nodule -0 --workers 2
    """
    from limiar.edge_app.bundle.manifest import REFUSED
    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.inference.job import job_of
    from limiar.edge_app.scan.fork import fork_worker

    if not paths and not nul:
        raise click.UsageError("Give images, folders, or - to read paths from stdin.")
    for option, given in (("--csv", csv_file), ("--passed-over", passed_over)):
        if given == Path("-"):
            raise click.UsageError(f"{option} is written whole, at the end: give a file. For stdout there is --jsonl -.")
    if quiet and verbose:
        raise click.UsageError("--quiet or --verbose, not both.")
    if any(without_passwords(path) != path and not os.path.lexists(path) for path in paths):
        raise click.UsageError("An address is not a file or folder: `limiar camera` answers its frames.")
    if (nul or "-" in paths) and not sys.stdin:
        raise click.UsageError("Paths are to come from stdin, which is closed.")
    processes = [fork_worker() for _ in range(workers)]  # see fork.py: after what both sides import, before all else

    from limiar.edge_app.image.folder import Choice
    from limiar.edge_app.inference.rule import Rule
    from limiar.edge_app.inference.verified import ensure_verified
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.output.images import PassedOver, Summary
    from limiar.edge_app.output.lines import Origin
    from limiar.edge_app.scan.paths import Files, listed
    from limiar.edge_app.scan.pool import Workers
    from limiar.edge_app.scan.scan import Scan
    from limiar.edge_app.store.state import default_path
    from limiar.edge_app.store.writer import BundleKey, Store
    from limiar.edge_app.system.clock import utc_now
    from limiar.edge_app.system.interrupt import Interrupt

    database = db or default_path()
    _distinct({"--db": database, "--jsonl": _file(jsonl), "--csv": csv_file, "--passed-over": passed_over})
    opened = open_bundle(bundle, _keys(key_files, revoked_files))
    manifest = opened.manifest
    file, model = opened.model(name)
    rule = Rule(file.decision.referring(refer_below), outside)
    if annotate:
        with writable(annotate):
            annotate.mkdir(parents=True, exist_ok=True)
    stdin = listed(sys.stdin.buffer, b"\0" if nul else b"\n") if nul or "-" in paths else ()
    job = job_of(manifest, file, model, runtime, threads, rule, follow, str(annotate) if annotate else None)
    with Interrupt() as interrupt, Workers(processes) as pool, Store(database) as store:
        loaded = pool.start(job)
        on = f"{loaded.runtime} {loaded.version}"
        verified = ensure_verified(opened, file, loaded.runtime, loaded.version)
        store.use(BundleKey(opened.sha256, manifest.name, manifest.version, file.name, on, manifest.labels), verified)
        origin = Origin(opened.sha256, file.name, on, verified, APP)
        if verbose:
            met = f"{manifest.name} {manifest.version}, {file.name} on {on}, verified by {verified}"
            click.echo(f"{met}; refer below {rule.decision.refer_below:g}; {printable(str(database))}", err=True)
        summary = Summary(show_progress=not (quiet or sys.stdout.isatty()))
        passed = PassedOver(passed_over, aloud=verbose)
        try:
            outputs = _outputs(jsonl, csv_file, manifest.labels, quiet)
        except OutputError:
            passed.discard()
            raise
        listing = itertools.chain((os.fsencode(path) for path in paths if path != "-"), stdin)
        files = Files(listing, Choice(include, exclude, follow), passed.add, without=annotate)
        with ExitStack() as closing:  # also after an error: what was answered is in the files
            closing.callback(passed.close)
            for output in (*outputs, summary):
                closing.callback(output.close)
            enveloped = manifest.envelope is not None
            for lines in Scan(pool, store, files, origin, rule, enveloped, again, utc_now, stop=interrupt.__bool__):
                for output in (*outputs, summary):
                    output.write(lines)
    if not quiet:
        click.echo("\n".join(filter(None, (summary.text(), passed.text()))), err=True)
    if interrupt:
        return interrupt.status
    if not summary.decisions:
        globs = ", and what --include and --exclude name" if include or exclude else ""
        raise SourceError(
            "E-SOURCE-EMPTY", f"no image was found in what was given: check the paths and their extensions{globs}"
        )
    return EXIT_SOME_REFUSED if summary.decisions[REFUSED] or passed.links else 0


@limiar.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON object.")
@key_options
def verify(bundle: Path, as_json: bool, key_files: tuple[Path, ...], revoked_files: tuple[Path, ...]) -> int:
    """Check a bundle on this machine: every file's size and hash, and every golden image on every runtime installed here.

    With --key also who signed it. Exit status 3 where anything differs. What --json prints can be given to `limiar convert
    --verified`, so that the bundle says that it was verified here.

    \b
    Example:
      limiar verify models/lung-nodule
      limiar verify bundles/first --key release.pub --key next.pub --revoked stolen.pub
    """
    import msgspec

    from limiar.edge_app.inference.verify import print_table
    from limiar.edge_app.inference.verify import verify as verified

    found = verified(bundle, _keys(key_files, revoked_files))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_table(found)
    return 0 if found.passed else EXIT_FAILED_CHECK


@limiar.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("--file", "name", metavar="NAME", help="Model file of the bundle, as `tflite_int8`; else its default file.")
@click.option("--runtime", metavar="R", help="litert, tflite-runtime or onnxruntime; else the first that is installed.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Inference threads.")
@click.option("--refer-below", type=Finite(0, 1), metavar="P", help="Refer below this confidence; else the bundle's.")
@click.option(
    "--outside",
    type=click.Choice(["refer", "refuse", "ignore"]),
    default="refer",
    show_default=True,
    help="What becomes of a frame unlike the training images.",
)
@click.option("--roi", metavar="X,Y,W,H", help="Look at this part of each frame, in pixels from the top left corner.")
@click.option("--seconds", type=Finite(min=0, min_open=True), metavar="S", help="Stop after so long.")
@click.option("--realtime", is_flag=True, help="Play a video file at its own rate; frames are dropped as a camera's are.")
@click.option("--size", metavar="WxH", help="Ask the camera for frames of this size.")
@click.option("--fps", "rate_hz", type=Finite(min=0, min_open=True), metavar="N", help="Ask the camera for so many a second.")
@click.option(
    "--format",
    "pixel_format",
    type=click.Choice(["MJPG", "YUYV"]),
    help="Ask a USB camera for this; most give large frames only as MJPG.",
)
@click.option("--jsonl", metavar="FILE|-", help="JSON lines into a file, or - for stdout.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="FILE", help="A spreadsheet.")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results database; else results.db in limiar's state folder.",
)
@click.option("--annotate", type=click.Path(path_type=Path), metavar="DIR", help="Write each frame enlarged, with its answer.")
@click.option(
    "--quiet", "-q", is_flag=True, help="No table, progress or summary: only errors, and the lines that are asked for."
)
@click.option("--verbose", "-v", is_flag=True, help="Say also what answers.")
@key_options
def camera(
    bundle: Path,
    source: str,
    name: str | None,
    runtime: str | None,
    threads: int,
    refer_below: float | None,
    outside: "OutsideRule",
    roi: str | None,
    seconds: float | None,
    realtime: bool,
    size: str | None,
    rate_hz: float | None,
    pixel_format: str | None,
    jsonl: str | None,
    csv_file: Path | None,
    db: Path | None,
    annotate: Path | None,
    quiet: bool,
    verbose: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Answer the frames of a camera or video: video:FILE, v4l2:/dev/video0, rtsp://…, http://… (MJPEG) or picamera:0.

    Of a camera the latest frame wins, and those passed over are counted; of a video file every frame is answered. Each answer
    is kept in the database before it is printed. A camera that gives no new frame for 5 seconds is an error. Exit status 4:
    the video ended, but parts of it could not be read.

    \b
    Example:
      limiar camera models/lung-nodule v4l2:/dev/video0 --roi 200,120,400,400
      limiar camera models/lung-nodule video:ward.mp4 --jsonl answers.jsonl
    """
    import functools
    import time

    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.camera.capture import Capture
    from limiar.edge_app.camera.messages import View
    from limiar.edge_app.camera.source import Settings, find_source, open_source
    from limiar.edge_app.inference.job import job_of
    from limiar.edge_app.inference.verified import ensure_verified
    from limiar.edge_app.output.lines import Origin
    from limiar.edge_app.scan.pool import try_model
    from limiar.edge_app.store.state import default_path
    from limiar.edge_app.store.writer import BundleKey, Store
    from limiar.edge_app.system.interrupt import Interrupt

    address = find_source(source)
    database = db or default_path()
    _distinct({"--db": database, "--jsonl": _file(jsonl), "--csv": csv_file})
    if csv_file == Path("-"):
        raise click.UsageError("--csv is written whole, at the end: give a file. For stdout there is --jsonl -.")
    if quiet and verbose:
        raise click.UsageError("--quiet or --verbose, not both.")
    settings = Settings(_size(size) if size else None, rate_hz, pixel_format)
    _check_settings(settings, address.kind)
    view = View(address.name, realtime, _roi(roi) if roi else None)
    opened = open_bundle(bundle, _keys(key_files, revoked_files))
    manifest = opened.manifest
    file, model = opened.model(name)
    decision = file.decision.referring(refer_below)
    try_model(job_of(manifest, file, model, runtime, threads))
    opening = functools.partial(open_source, address, realtime, settings)
    tell = functools.partial(click.echo, err=True) if not quiet else lambda note: None
    with Interrupt() as interrupt, Capture(opening, view, tell) as capture, Store(database) as store:
        # numpy and the runtime, now that the capture process is forked
        from limiar.edge_app.camera.watch import Watch, boot_id
        from limiar.edge_app.inference.classifier import Classifier
        from limiar.edge_app.output.frames import Annotations, FrameCount, frame_outputs
        from limiar.edge_app.runtimes import open_preferred
        from limiar.edge_app.system.clock import utc_now

        loaded = open_preferred(file.format, model, runtime, threads)
        on = f"{loaded.name} {loaded.version}"
        verified = ensure_verified(opened, file, loaded.name, loaded.version)
        store.use(BundleKey(opened.sha256, manifest.name, manifest.version, file.name, on, manifest.labels), verified)
        if verbose:
            met = f"{manifest.name} {manifest.version}, {file.name} on {on}, verified by {verified}"
            click.echo(f"{met}; refer below {decision.refer_below:g}; {printable(str(database))}", err=True)
        end = time.monotonic() + (seconds or float("inf"))
        watch = Watch(
            capture=capture,
            classifier=Classifier(loaded, manifest.labels, manifest.input, decision, manifest.envelope, outside),
            store=store,
            source=address.name,
            boot_id=boot_id(),
            origin=Origin(opened.sha256, file.name, on, verified, APP),
            now=utc_now,
            stop=lambda: bool(interrupt) or time.monotonic() >= end,
            annotate=Annotations(annotate) if annotate else None,
        )
        count = FrameCount(show_progress=not (quiet or sys.stdout.isatty()))
        outputs = [*frame_outputs(jsonl, csv_file, manifest.labels, quiet), count]
        with ExitStack() as closing:  # also after an error: what was answered is in the files
            for output in outputs:
                closing.callback(output.close)
            for lines in watch:
                for output in outputs:
                    output.write(lines)
    if not quiet:
        click.echo(count.text(), err=True)
    loss = capture.loss or (f"{counted(count.doubtful, 'frame')} until now beside damage, referred" if count.doubtful else "")
    if loss:
        cure = "copy the file again, or go back to the recording"
        click.echo(f"E-SOURCE-DAMAGED: {address.name}: {loss}: {cure}", err=True)
    return interrupt.status or (EXIT_SOME_REFUSED if loss else 0)


@limiar.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--file", "files", multiple=True, metavar="NAME", help="Model file, as `tflite_int8`; several, or A,B; else all.")
@click.option(
    "--runtime", "runtimes", multiple=True, metavar="R", help="Runtime; several, or A,B; else all that are installed."
)
@click.option("--threads", default="1", show_default=True, metavar="N,N", help="Inference threads, as 1,2.")
@click.option("--count", type=click.IntRange(20), default=1000, show_default=True, help="Calls each; 1000 give p99.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which variants take turns.")
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Print JSON in place of the table; with FILE write it there beside the table.",
)
@key_options
def bench(
    bundle: Path,
    files: tuple[str, ...],
    runtimes: tuple[str, ...],
    threads: str,
    count: int,
    seed: int,
    json_file: str | None,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Measure latency, start-up and memory of a bundle's model files on the runtimes that are installed here.

    Variants take turns in one process; start-up and memory come from fresh processes. Close other programs first.

    \b
    Example:
      limiar bench models/lung-nodule --file tflite_int8,tflite_fp32 --threads 1,2 --json bench.json
    """
    import msgspec

    from limiar.edge_app.bench.latency import bench as measured
    from limiar.edge_app.bench.latency import print_table
    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.output.files import writable
    from limiar.edge_app.system.files import check_replaceable, write_whole
    from limiar.edge_app.system.progress import Progress

    try:
        counts = [int(number) for number in threads.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= number <= 64 for number in counts):
        raise click.BadParameter(f"{threads!r} is not a list of numbers from 1 to 64.", param_hint="--threads")
    opened = open_bundle(bundle, _keys(key_files, revoked_files))
    if json_file and json_file != "-":
        with writable(Path(json_file)):  # said before minutes of measuring
            Path(json_file).parent.mkdir(parents=True, exist_ok=True)
            check_replaceable(Path(json_file))
    with Progress() as progress:
        result = measured(opened, _listed(files), _listed(runtimes), counts, count, seed, progress)
    data = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    if json_file == "-":
        click.echo(data, nl=False)
        return 0
    print_table(result)
    if json_file:
        with writable(Path(json_file)):
            write_whole(Path(json_file), data)
    return 0


def _listed(names: tuple[str, ...]) -> list[str]:
    """`--file A --file B,C` -> A, B, C, each once."""
    return list(dict.fromkeys(name for given in names for name in given.split(",") if name))


@limiar.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("image")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE.png", help="Where the picture goes.")
@click.option("--file", "name", metavar="NAME", help="Model file of the bundle, as `tflite_int8`; else its default file.")
@click.option("--runtime", metavar="R", help="litert, tflite-runtime or onnxruntime; else the first that is installed.")
@click.option("--refer-below", type=Finite(0, 1), metavar="P", help="Refer below this confidence; else the bundle's.")
@click.option("--json", "as_json", is_flag=True, help="Answer and map as one JSON object.")
@key_options
def explain(
    bundle: Path,
    image: str,
    out: Path,
    name: str | None,
    runtime: str | None,
    refer_below: float | None,
    as_json: bool,
    key_files: tuple[Path, ...],
    revoked_files: tuple[Path, ...],
) -> int:
    """Answer one image as `limiar scan` does, and show where in it the model finds the label.

    The bundle must have been converted with --cam. The picture shows the image, and beside it the image under the label's
    class activation map: red where the evidence for the label is strongest, blue where it is weakest, on the scale below. It
    shows what the model looks at, not whether that is right. Nothing is kept in the database.

    \b
    Example:
      limiar explain bundles/first image.png --out why.png
    """
    import msgspec

    from limiar.edge_app.bundle.open import open_bundle
    from limiar.edge_app.inference.explain import describe
    from limiar.edge_app.inference.explain import explain as explained

    found = explained(open_bundle(bundle, _keys(key_files, revoked_files)), name, runtime, refer_below, image, out)
    click.echo(for_json(msgspec.json.encode(found)) if as_json else describe(found, out))
    return 0


@limiar.command()
@click.option("--json", "as_json", is_flag=True, help="What was found as one JSON object.")
def doctor(as_json: bool) -> int:
    """Say what this machine is, what is installed, and what is missing with the command that gets it.

    Exit status 3 where something that limiar needs is missing or broken.

    \b
    Example:
      limiar doctor --json
    """
    import msgspec

    from limiar.edge_app.doctor import diagnose, print_diagnosis

    found = diagnose()
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        print_diagnosis(found)
    return 0 if not found.problems else EXIT_FAILED_CHECK


def _outputs(jsonl: str | None, csv_file: Path | None, labels: tuple[str, ...], quiet: bool) -> "list[Output]":
    from limiar.edge_app.output.images import CsvFile, JsonFile, JsonStream, Table

    outputs: list[Output] = []
    if jsonl == "-" or (jsonl is None and not sys.stdout.isatty()):
        outputs.append(JsonStream())
    elif sys.stdout.isatty() and not quiet:
        outputs.append(Table())
    lines = JsonFile(path) if (path := _file(jsonl)) else None
    try:
        sheet = CsvFile(csv_file, labels) if csv_file else None
    except OutputError:
        if lines:
            lines.discard()
        raise
    return [*outputs, *(output for output in (lines, sheet) if output)]


def _file(jsonl: str | None) -> Path | None:
    """What --jsonl names, where that is no stream."""
    return None if jsonl in (None, "-") else Path(str(jsonl))


def _distinct(files: dict[str, Path | None]) -> None:
    """One output would take the place of another, of the database even. Raises UsageError."""
    of: dict[str, str] = {}
    for option, path in files.items():
        if path and (other := of.setdefault(os.path.realpath(path), option)) != option:
            raise click.UsageError(f"{other} and {option} are the same file: {printable(str(path))}.")


def _check_settings(settings: "Settings", kind: str) -> None:
    """Raises UsageError for what such a source cannot be asked for."""
    asked = {"--size": settings.size, "--fps": settings.rate_hz, "--format": settings.pixel_format}
    possible = {"v4l2": ("--size", "--fps", "--format"), "picamera": ("--size", "--fps")}.get(kind, ())
    for option, value in asked.items():
        if value is not None and option not in possible:
            raise click.UsageError(f"{option} is for cameras that take it: v4l2, and picamera but for --format.")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text, re.IGNORECASE | re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is not WxH in pixels, as 1280x720.", param_hint="--size")
    return int(found[1]), int(found[2])


def _roi(text: str) -> "Roi":
    from limiar.edge_app.camera.messages import Roi

    try:
        x, y, width, height = map(int, text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not X,Y,W,H in whole pixels.", param_hint="--roi") from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise click.BadParameter(f"{text!r} lies outside the frame, or is empty.", param_hint="--roi")
    return Roi(x, y, width, height)
