#!/usr/bin/env python3
"""Has network cameras fail in every way, and looks whether an old frame ever becomes an answer (promise P11).

    tests/harness/camera_faults.py [--cases 50] [--at-once 5] [--seed N] [--bundle BUNDLE] [--results FILE]

Each camera is a real HTTP server that the service's own processes watch. It freezes, shows its last frames in turn, falls
silent, sends damaged, black or smaller pictures, hangs up, is gone, or the network holds its pictures up. All answered frames
are kept, and show their own number: so it is known when each was taken, and whether it was answered before. The loss must be
told within 5 s, and the camera be watched again within 10 s. The control runs without the check of freshness, and must answer
old frames, or this test could not fail. A release takes 500 cases.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # this process forks

# isort: split
import argparse
import contextlib
import datetime
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args
from unittest import mock

import msgspec
import numpy as np
from PIL import Image

from limiar.edge_app.camera import freshness, grab, mjpeg
from limiar.edge_app.camera.decisions import Beat, CameraSettings, Decided, Said, Trouble
from limiar.edge_app.inference.model import Model
from limiar.edge_app.inference.session import open_session
from limiar.edge_app.service.camera_child import CameraChild
from network_camera import Does, NetworkCamera, number_of

PROJECT = Path(__file__).resolve().parents[2]
NOTICED_S, BACK_S, OLD_S = 5.0, 10.0, 1.5  # as promised; and how long ago a frame may have been taken when it is read
PATIENCE_S = 60.0  # for what should have happened long ago
SETTLED_S = 2.5  # between two cases: the camera's clock is believed by then
AT_ONCE = 5  # cameras; each has three processes
LOST = dict.fromkeys(get_args(Does), NOTICED_S) | {"late": 2.5}  # how long a fault lasts at least; `late` is no loss
FAULTS: tuple[Does, ...] = tuple(does for does in get_args(Does) if does != "live")


class Case(msgspec.Struct):
    """A fault of a camera, and what came of it."""

    does: str
    fault_s: float  # how long it lasted
    noticed_s: float | None = None  # from its start; None: not noticed
    back_s: float | None = None  # from its end to the first answer; None: none came
    codes: list[str] = []
    answers: int = 0
    old: int = 0  # answers of frames that were answered before, or taken long ago

    def passed(self) -> bool:
        noticed = self.does == "late" or (self.noticed_s is not None and self.noticed_s <= NOTICED_S)
        back = self.back_s is not None and self.back_s <= BACK_S
        return self.old == 0 and noticed and back


class Lane:
    """One camera, its processes, and its cases one after the other."""

    def __init__(self, camera: NetworkCamera, child: CameraChild, state: Path, cases: list[Case]) -> None:
        self.camera, self.child = camera, child
        self.done: list[Case] = []
        self._state, self._cases = state, cases
        self._answered: set[int] = set()
        self._steps = self._life()
        self._said: list[Said] = []

    def turn(self) -> bool:
        """Whether it goes on."""
        self._said = self.child.turn()
        if not self.child.running:
            self.child.start()
        return next(self._steps, False)

    def _life(self) -> Iterator[bool]:
        start, began_s = Case("start", 0), time.monotonic()
        while start.answers < 3 and time.monotonic() - began_s < PATIENCE_S:
            self._hear(start)
            yield True
        for case in self._cases:
            began_s = time.monotonic()
            self.camera.does = case.does  # type: ignore[assignment]  # one of FAULTS
            while (passed_s := time.monotonic() - began_s) < case.fault_s:
                if self._hear(case) and case.noticed_s is None:
                    case.noticed_s = passed_s
                yield True
            self.camera.does = "live"
            ended_s, first = time.monotonic(), self.camera.number + 1
            while max(self._answered, default=0) < first and time.monotonic() - ended_s < PATIENCE_S:
                self._hear(case)
                yield True
            case.back_s = time.monotonic() - ended_s  # the whole patience, if it never was
            while time.monotonic() - ended_s < case.back_s + SETTLED_S:
                self._hear(case)
                yield True
            self.done.append(case)

    def _hear(self, case: Case) -> bool:
        """Deals with what was said; returns whether it was about a fault."""
        fault = False
        for said in self._said:
            match said:
                case Trouble(_, code, _):
                    case.codes.append(code)
                    fault = True
                case Beat(refused=refused) if refused:
                    case.codes += refused
                    fault = True
                case Decided():
                    case.answers += 1
                    case.old += self._is_old(said)
        self._said = []
        return fault

    def _is_old(self, said: Decided) -> bool:
        assert said.kept
        path = self._state / "frames" / said.kept.name
        with Image.open(path) as picture:
            number = number_of(np.asarray(picture.convert("RGB")))
        path.unlink()
        again = number in self._answered
        self._answered.add(number)
        return again or datetime.datetime.fromisoformat(said.taken).timestamp() - self.camera.taken[number] > OLD_S


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--cases", type=int, default=50)
    options.add_argument("--at-once", type=int, default=AT_ONCE, metavar="CAMERAS")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--results", type=Path, help="append the outcome to this file, a JSON line for each case")
    asked = options.parse_args()
    model = open_session(asked.bundle).model
    kept = campaign(model, asked.cases, asked.seed, at_once=asked.at_once)
    if asked.results:
        with asked.results.open("ab") as file:
            file.writelines(msgspec.json.encode(case) + b"\n" for case in kept)
    with without_the_check():
        control = campaign(model, AT_ONCE, asked.seed, ("frozen", "alternating", "late"))
    print(f"seed {asked.seed}")
    show(kept)
    old, answers = sum(case.old for case in control), sum(case.answers for case in control)
    print(f"control, without the check of freshness: {old} of {answers} answers are of old frames")
    passed = len(kept) == asked.cases and all(case.passed() for case in kept) and old > 0
    print("PASS" if passed else "FAIL")
    return 0 if passed else 3


def campaign(model: Model, count: int, seed: int, faults: tuple[Does, ...] = FAULTS, at_once: int = AT_ONCE) -> list[Case]:
    """Runs so many cases, on a few cameras at once."""
    rng = random.Random(seed)
    kinds = [faults[number % len(faults)] for number in range(count)]
    cases = [Case(does, LOST[does] + rng.uniform(0, 1.0)) for does in kinds]
    with tempfile.TemporaryDirectory(prefix="limiar-cameras-") as folder, ExitStack() as opened:
        lanes = []
        for number in range(min(at_once, count)):
            camera = NetworkCamera(rate_hz=rng.choice((8, 12, 20)), stamped=number % 2 == 0)
            settings = CameraSettings(f"camera-{number}", camera.address, 1, 1, 0.0, keep="png")
            child = CameraChild(settings, model, Path(folder, "frames"), 0)
            child.start()  # before there are threads: the camera's port is open already
            opened.callback(child.kill)
            lanes.append(Lane(camera, child, Path(folder), cases[number::at_once]))
        for lane in lanes:
            opened.enter_context(lane.camera)
        going = True
        while going:
            going = any(list(map(Lane.turn, lanes)))
            time.sleep(0.01)
        return [case for lane in lanes for case in lane.done]


@contextlib.contextmanager
def without_the_check() -> Iterator[None]:
    """The same processes, which take every frame for a new one."""

    class Believing(freshness.Freshness):
        def is_old(self, frame: object, stamp_s: float | None, now_s: float) -> bool:
            return False

        def proves(self, now_s: float) -> bool:
            return True

    with (
        mock.patch.object(grab, "Freshness", Believing),
        mock.patch.object(mjpeg.MjpegStream, "_was_silent", return_value=False),
    ):
        yield


def show(cases: list[Case]) -> None:
    print(f"{'fault':<12} {'cases':>5} {'answers':>8} {'old':>4} {'noticed <=':>11} {'back <=':>8}  codes")
    for does in FAULTS:
        of = [case for case in cases if case.does == does]
        if not of:
            continue
        noticed = max((case.noticed_s or 0.0 for case in of), default=0.0)
        back = max((case.back_s or float("inf") for case in of), default=0.0)
        codes = ", ".join(sorted({code for case in of for code in case.codes})) or "-"
        answers, old = sum(case.answers for case in of), sum(case.old for case in of)
        print(f"{does:<12} {len(of):>5} {answers:>8} {old:>4} {noticed:>9.1f} s {back:>6.1f} s  {codes}")


if __name__ == "__main__":
    sys.exit(main())
