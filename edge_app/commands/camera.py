"""`limiar camera`."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import APP, exit_status
from limiar.edge_app.commands.options import Finite, check_distinct, file_of, key_options, keys_of
from limiar.edge_app.errors import printable
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.camera.messages import Roi
    from limiar.edge_app.camera.source import Settings
    from limiar.edge_app.inference.rule import OutsideRule


@click.command()
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
    check_distinct({"--db": database, "--jsonl": file_of(jsonl), "--csv": csv_file})
    if csv_file == Path("-"):
        raise click.UsageError("--csv is written whole, at the end: give a file. For stdout there is --jsonl -.")
    if quiet and verbose:
        raise click.UsageError("--quiet or --verbose, not both.")
    settings = Settings(_size(size) if size else None, rate_hz, pixel_format)
    _check_settings(settings, address.kind)
    view = View(address.name, realtime, _roi(roi) if roi else None)
    opened = open_bundle(bundle, keys_of(key_files, revoked_files))
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
    return interrupt.status or (exit_status.SOME_REFUSED if loss else 0)


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
