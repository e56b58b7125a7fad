"""Options that several commands of training share."""

import re
from collections.abc import Callable
from pathlib import Path

import click

from limiar.edge_app.commands.options import dicom_window


def _size(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """`40` or `48x32` -> (height, width) in pixels. Whether a network can be built for it is checked later."""
    sides = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value)
    if not sides:
        raise click.BadParameter(f"{value!r} is neither a number of pixels nor HEIGHTxWIDTH.")
    return int(sides[1]), int(sides[2] or sides[1])


def _number(context: click.Context, parameter: click.Parameter, value: str) -> int:
    return int(value)


_SIZE = click.option(
    "--size", callback=_size, metavar="N|HxW", default="40", show_default=True, help="Size of the model's input, in pixels."
)
_CHANNELS = click.option(
    "--channels",
    type=click.Choice(["1", "3"]),
    callback=_number,
    default="3",
    show_default=True,
    help="Channels of the model's input: 1 is grey, 3 is colour.",
)
_GREY_MAX = click.option(
    "--grey-max",
    type=click.IntRange(256, 65_535),
    metavar="N",
    help="Largest value of 16-bit images that do not declare their range, such as 4095 for 12 bits.",
)
_DICOM_WINDOW = click.option(
    "--dicom-window",
    callback=dicom_window,
    metavar="CENTRE,WIDTH|file",
    help="Also read DICOM: grey by this window (HU for CT), such as -600,1500, or by each file's own.",
)
_CSV = click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    help="Table with the columns file and label, and optionally split and group.",
)
_MODEL = (
    _CSV,
    click.option(
        "--model",
        type=click.Choice(["compact", "lenet", "windowed"]),
        help="Network to train. Default: compact, or lenet with --recipe course.",
    ),
    _SIZE,
    _CHANNELS,
    _GREY_MAX,
    _DICOM_WINDOW,
    click.option(
        "--recipe",
        type=click.Choice(["standard", "limiar", "reference", "course"]),
        help="How to train. Default: standard, or limiar with --quick, for lenet and in a sweep.",
    ),
    click.option("--positive", metavar="LABEL", help="The positive one of two labels. Default: pos, or the second by name."),
    click.option(
        "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of splits and training."
    ),
    click.option(
        "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a number of the recipe (see docs/training.md)."
    ),
)


def image_options(command: Callable[..., int]) -> Callable[..., int]:
    """Which images, and how a model gets them: in `limiar check`, before its own options."""
    for option in (_DICOM_WINDOW, _GREY_MAX, _CHANNELS, _SIZE, _CSV):
        command = option(command)
    return command


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Images, network and recipe: in `limiar train` and `limiar sweep`."""
    for option in reversed(_MODEL):
        command = option(command)
    return command
