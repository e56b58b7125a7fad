"""`limiar camera`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from limiar.edge_app import exit_status
from limiar.edge_app.commands.options import FILE, AnswerOptions, Finite, Reporting, answering_options, reporting_options
from limiar.edge_app.text import counted

if TYPE_CHECKING:
    from limiar.edge_app.camera.messages import Roi
    from limiar.edge_app.camera.source import Settings
    from limiar.edge_app.camera.watch import Watch
    from limiar.edge_app.output.count import FrameCount


@click.command()
@click.argument("bundle", type=FILE)
@click.argument("source")
@answering_options("a frame")
@click.option("--roi", metavar="X,Y,W,H", help="Look at this part of each frame, in pixels from the top left corner.")
@click.option("--agree", metavar="K/N", help="Answer only what K of the last N frames agree on.")
@click.option("--seconds", type=Finite(min=0, min_open=True), metavar="S", help="Stop after so many seconds.")
@click.option("--realtime", is_flag=True, help="Play a video file at its own rate; frames are dropped as from a camera.")
@click.option("--size", metavar="WxH", help="Ask the camera for frames of this size.")
@click.option("--fps", "rate_hz", type=Finite(min=0, min_open=True), metavar="N", help="Ask the camera for this frame rate.")
@click.option(
    "--format",
    "pixel_format",
    type=click.Choice(["MJPG", "YUYV"]),
    help="Ask a USB camera for this format; most give large frames only as MJPG.",
)
@reporting_options("frame")
def camera(
    bundle: Path,
    source: str,
    answering: AnswerOptions,
    roi: str | None,
    agree: str | None,
    seconds: float | None,
    realtime: bool,
    size: str | None,
    rate_hz: float | None,
    pixel_format: str | None,
    reporting: Reporting,
) -> int:
    """Answer the frames of a camera or video: video:FILE, v4l2:/dev/video0, rtsp://…, http://… (MJPEG) or picamera:0.

    From a camera, the latest frame is answered and the skipped ones are counted; from a video file, every frame is answered.
    Each answer is kept in the database before it is printed. A camera that gives no new frame for 5 seconds is an error. Exit
    status 4: the video ended, but parts of it could not be read.

    Without --file, --runtime and --threads, the choice that `limiar bench --save-best` kept on this device is used, if there is
    one for the bundle.

    \b
    Example:
      limiar camera models/lung-nodule v4l2:/dev/video0 --roi 200,120,400,400
      limiar camera models/lung-nodule video:ward.mp4 --jsonl answers.jsonl
    """
    from limiar.edge_app.camera.source import Settings, find_source
    from limiar.edge_app.camera.watch import camera as start
    from limiar.edge_app.system.interrupt import Interrupt

    kind = find_source(source).kind
    reporting.check()
    settings = Settings(_size(size) if size else None, rate_hz, pixel_format)
    _check_settings(settings, kind)
    with Interrupt() as interrupt, start(
        bundle,
        source,
        **answering,
        roi=_roi(roi) if roi else None,
        agree=_agree(agree) if agree else None,
        realtime=realtime,
        settings=settings,
        seconds=seconds,
        db=reporting.db,
        annotate=reporting.annotate,
        tell=reporting.tell,
        stop=interrupt.__bool__,
    ) as running:  # fmt: skip
        count = _report(running, reporting)
    reporting.summarize(count.text())
    return interrupt.status or (exit_status.SOME_REFUSED if _damaged(running, count) else 0)


def _report(running: "Watch", reporting: Reporting) -> "FrameCount":
    """Writes the lines as they come. Raises LimiarError."""
    from limiar.edge_app.output.count import FrameCount
    from limiar.edge_app.output.outputs import write_groups

    reporting.say(running.session.describe(running.origin))
    count = FrameCount(reporting.shows_progress)
    outputs = [*reporting.outputs(running.session.manifest.labels, frames=True), count]
    write_groups(running.groups(), outputs)
    return count


def _damaged(running: "Watch", count: "FrameCount") -> bool:
    """Whether parts of a video could not be read; if so, says which."""
    loss = running.loss
    if not loss and count.doubtful:
        loss = f"{counted(count.doubtful, 'frame')} near damage so far, referred"
    if loss:
        cure = "copy the file again, or go back to the recording"
        click.echo(f"E-SOURCE-DAMAGED: {running.source}: {loss}: {cure}", err=True)
    return bool(loss)


def _check_settings(settings: "Settings", kind: str) -> None:
    """Raises UsageError for a setting that this kind of source does not have."""
    asked = {"--size": settings.size, "--fps": settings.rate_hz, "--format": settings.pixel_format}
    possible = {"v4l2": ("--size", "--fps", "--format"), "picamera": ("--size", "--fps")}.get(kind, ())
    for option, value in asked.items():
        if value is not None and option not in possible:
            met = f"{option} does not work with this source"
            raise click.UsageError(f"{met}: v4l2 takes --size, --fps and --format, picamera takes --size and --fps.")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text, re.IGNORECASE | re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is not WxH in pixels, such as 1280x720.", param_hint="--size")
    return int(found[1]), int(found[2])


def _agree(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", text, re.ASCII)
    if not found or int(found[1]) > int(found[2]):
        raise click.BadParameter(f"{text!r} is not K/N frames, K at most N, such as 3/5.", param_hint="--agree")
    return int(found[1]), int(found[2])


def _roi(text: str) -> "Roi":
    from limiar.edge_app.camera.messages import Roi

    try:
        x, y, width, height = map(int, text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not X,Y,W,H in pixels, such as 9,9,40,40.", param_hint="--roi") from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise click.BadParameter(f"{text!r} is outside the frame, or empty.", param_hint="--roi")
    return Roi(x, y, width, height)
