"""Whole machines in QEMU, with Debian's kernel: a release check. limiar is built as a wheel and installed as on a device.

-M virt, a Cortex-A72: `limiar camera` on vivid (V4L2) and on libcamera's virtual camera through to stored results, the memory of
`limiar scan`, and power cuts in the middle of a scan: what was reported must be there at the next boot. Two controls must lose
results: SQLite that does not wait for the disk, and ext4 that never has it flush its cache. Then -M raspi3b and -M raspi4b with
Debian's own device trees: `limiar doctor`, `limiar verify`, memory.

    scripts/virtual_pi machine
    scripts/virtual_pi machine --cuts 20 --log machine.log
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from virtualpi import Failed, qemu
from virtualpi.boot import BOARDS, VIRT, Board, Said, booted
from virtualpi.image import Image, make_image
from virtualpi.logwrites import LogError
from virtualpi.outcome import Outcome, progress, report
from virtualpi.powercuts import Rows, Series, cut_again_and_again, make_disk
from wheelhouse import WheelhouseError

SCAN_MB = 110  # the largest process of `limiar scan`
CONTROL_CUTS = 1  # one is enough to lose something
CONTROLS = {"SQLite does not wait": "control_sqlite.py", "ext4 does not flush": "scan.py"}


class Peak(msgspec.Struct):
    """What guest/peak.py prints."""

    largest_mb: float
    together_mb: float


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuts", type=int, default=3, help="power cuts; a release has 20 (default: 3)")
    parser.add_argument("--seed", type=int, help="of their times (default: by chance; it is printed)")
    parser.add_argument("--log", type=Path, help="gets all that the machines said, and every cut")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
