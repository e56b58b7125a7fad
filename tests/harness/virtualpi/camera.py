"""The app's source for Raspberry Pi cameras on the real picamera2 and the real libcamera, without a board.

limiar's built wheel runs in a Debian 13 root of this machine's architecture, with libcamera 0.7 from backports, whose virtual
camera shows files. The tests are in tests/virtual_pi. Then faults are planted, and the tests must find each one.

    scripts/virtual_pi camera
    scripts/virtual_pi camera --json
"""

import argparse
import concurrent.futures
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import wheelhouse
from virtualpi import PROJECT, Failed, Unavailable, camera_stack, debian, page
from virtualpi.device import PYTHONS
from virtualpi.namespace import scratch_root
from virtualpi.outcome import Outcome, progress, report

ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}  # this machine's name -> Debian's
ON_PAGE = ("it is the real", "red is red", "limiar camera answers")
_SOURCE = "limiar/edge_app/camera/picamera.py"
_CHECKOUT = {f"/opt/project/{name}": PROJECT / name for name in ("tests", "models", "pyproject.toml")}


class Fault(NamedTuple):
    """A mistake in the app's source, and the test that must find it."""

    name: str
    right: str
    wrong: str
    test: str


FAULTS = (
    Fault("red and blue exchanged", "COLOR_YUV2RGB_NV12", "COLOR_YUV2BGR_NV12", "red_is_red"),
    Fault("Cb and Cr exchanged", "COLOR_YUV2RGB_NV12", "COLOR_YUV2RGB_NV21", "red_is_red"),
    Fault("the format asked for is believed", 'str(stream["format"])', '"BGR888"', "red_is_red"),
    Fault("closed without giving the camera back", "self._camera.close()", "self._camera.stop()", "again_in_the_same_process"),
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    page.option(parser)


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    if asked.docs:
        times, outcomes = page.measured("camera")
        page.write("camera", times + [(one.what, one.found) for one in outcomes if one.what.startswith(ON_PAGE)])
        return
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as name, concurrent.futures.ThreadPoolExecutor(2) as pool:
        tests = Tests(Path(name))
        running = [pool.submit(tests.all), *(pool.submit(tests.planted, fault) for fault in FAULTS)]
        outcomes = [outcome for future in running for outcome in future.result()]
    report(outcomes, asked.json)


class Tests:
    """Runs tests/virtual_pi in a root that has the cameras."""

    def __init__(self, folder: Path) -> None:
        """folder: for the files of this run. Raises Unavailable, Failed."""
        machine = platform.machine()
        if machine not in ARCHES:
            raise Unavailable(f"runs on {' and '.join(ARCHES)}, and this machine is {machine}")
        packages = ("python3", "dash", "coreutils", "libc-bin", "base-files", *camera_stack.PACKAGES)
        progress("a Debian root, picamera2, and limiar's wheel")
        self._root = debian.root(camera_stack.SUITE, ARCHES[machine], packages, camera_stack.BACKPORTS)
        self._folder, self._where = folder, f"{camera_stack.SUITE}, {machine}"
        self._limiar, frames = folder / "limiar", folder / "frames"
        wheel = wheelhouse.build_wheel(folder)
        wheelhouse.install(self._limiar, folder, [str(wheel)], PYTHONS[camera_stack.SUITE], "--no-deps", arch=machine)
        camera_stack.make_frames(frames)
        site = camera_stack.make_site(self._root, machine)
        self._binds = {**_CHECKOUT, **camera_stack.binds(site, frames), "/opt/limiar": self._limiar}

    def all(self) -> list[Outcome]:
        """Runs every test: what each saw."""
        said, cases = self._run("all")
        if not all(map(_passed, cases)):
            print(said, file=sys.stderr)
        return [Outcome(self._where, _sentence(case), _found(case), "so", _passed(case)) for case in cases]

    def planted(self, fault: Fault) -> list[Outcome]:
        """Plants a fault: did its test find it?"""
        source = (self._limiar / _SOURCE).read_text()
        if fault.right not in source:
            raise Failed(f"the fault cannot be planted: {_SOURCE} has no {fault.right}: see tests/harness/virtualpi/camera.py")
        folder = self._folder / re.sub(r"\W+", "-", fault.name)
        folder.mkdir()
        wrong = folder / "picamera.py"
        wrong.write_text(source.replace(fault.right, fault.wrong))
        _, cases = self._run(folder.name, {f"/opt/limiar/{_SOURCE}": wrong}, "-k", fault.test)
        failed = sum(not _passed(case) for case in cases)
        found = f"{failed} of {len(cases)} tests failed"
        return [Outcome(self._where, f"planted fault: {fault.name}", found, "found", failed == len(cases) > 0)]

    def _run(self, name: str, more: dict[str, Path] | None = None, *arguments: str) -> tuple[str, list[ElementTree.Element]]:
        """pytest's output, and the test cases of its JUnit file. Raises Failed if pytest itself could not run them."""
        progress(f"tests/virtual_pi: {name}")
        out = self._folder / f"{name}.out"
        out.mkdir()
        environ = {"PYTHONPATH": f"{camera_stack.SHIM}:/opt/limiar:{camera_stack.SITE}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            "python3",
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-ojunit_family=xunit1",
            "--junitxml=/opt/out/tests.xml",
        ]
        with scratch_root(self._root, binds={**self._binds, "/opt/out": out, **(more or {})}) as root:
            done = root.run(*command, "tests/virtual_pi", *arguments, environ=environ, folder="/opt/project", check=False)
        if done.returncode not in (0, 1):  # 1: a test failed
            raise Failed(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-1500:]}")
        return done.stdout, list(ElementTree.parse(out / "tests.xml").iter("testcase"))


def _sentence(case: ElementTree.Element) -> str:
    """test_red_is_red[0] -> red is red [0]"""
    name, bracket, parameters = case.attrib["name"].removeprefix("test_").partition("[")
    return name.replace("_", " ") + (f" {bracket}{parameters}" if bracket else "")


def _passed(case: ElementTree.Element) -> bool:
    return not any(child.tag in ("failure", "error", "skipped") for child in case)


def _found(case: ElementTree.Element) -> str:
    """What went wrong, or what the test saw."""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            return child.attrib.get("message", "").partition("\n")[0]
    return next((one.attrib["value"] for one in case.iter("property") if one.attrib["name"] == "found"), "so")
