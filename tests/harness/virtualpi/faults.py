"""Plants faults that `scripts/virtual_pi user` must catch: each one must fail the check that is named for it.

scripts/virtual_pi faults
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

import wheelhouse
from limiar.edge_app.bundle.manifest import GOLDEN
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from virtualpi import PROJECT, Failed, debian
from virtualpi.answers import ask_here, ask_there, compared, is_on, is_whole
from virtualpi.device import make_device
from virtualpi.outcome import Outcome, progress, report
from virtualpi.pictures import WHAT, levels_compared, levels_here, levels_there, made_files
from virtualpi.pictures import written as in_folder
from virtualpi.user import ALL, at, opened, verified

FILE = "tflite_int8"
# Debian 12's own, whatever version its last security update has.
QEMU_7 = debian.Package("qemu-user-static", None, "bookworm", None)


class Ground:
    """A device, a bundle with one model file, and this machine's answers, without a fault."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.limiar = wheelhouse.build_wheel(scratch)
        self.device = make_device("bookworm", self.limiar, self.folder())
        self.bundle = written(self.folder() / "bundle", open_bundle(PROJECT / "models" / "lung-nodule"))
        self.here = ask_here(Path(sys.executable), self.bundle, self.folder(), ("litert",), (FILE,))

    def folder(self) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def replaced(self, there: str, planted: Path) -> dict[str, Path]:
        """The bind that puts a file in the place of one of limiar's, such as edge_app/text.py."""
        (limiar,) = (path for path, folder in self.device.binds.items() if folder == self.device.folders[0])
        return {f"{limiar}/limiar/{there}": planted}

    def answers(self, binds: Mapping[str, Path] | None = None, **changes: Any) -> Iterator[Outcome]:
        """The checks of `user` with more or other files in the root, or another QEMU. binds, changes: a Root's fields."""
        with opened(self.device, self.bundle, self.folder(), binds) as root:
            planted = dataclasses.replace(root, **changes)
            yield (place := is_on("planted", planted, ALL))
            if not place.passed:
                return
            there = ask_there(planted, self.device, ("litert",), (FILE,))
        yield from is_whole("planted", self.here, there)
        yield from compared("planted", self.bundle, self.here, there, (FILE,))


def written(path: Path, source: Bundle, golden: bytes | None = None) -> Bundle:
    """Writes the bundle with only one model file and, if given, another golden.json, and with a manifest to match."""
    files, contents = [], {}
    for file in source.manifest.files:
        if file.model is None or file.model.name == FILE:
            data = golden if golden is not None and file.path == GOLDEN else source.read(file.path)
            files.append(msgspec.structs.replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
            contents[file.path] = data
    write_bundle(path, msgspec.structs.replace(source.manifest, files=tuple(files), default_file=FILE), contents)
    return open_bundle(path)


def nothing(ground: Ground) -> Iterator[Outcome]:
    """The control: without a fault nothing fails."""
    yield from ground.answers()
    yield from golden_with(ground, lambda golden: golden)


def old_qemu(ground: Ground) -> Iterator[Outcome]:
    """QEMU 7.2 with -cpu max: LiteRT never answers on it, or answers wrongly."""
    yield from ground.answers(qemu=debian.unpack(QEMU_7, "./usr/bin/qemu-aarch64-static"), cpu="max")


def golden_byte(ground: Ground) -> Iterator[Outcome]:
    """One byte of the expected answers is changed, and the manifest has the hash of the changed file."""
    first = ground.bundle.read(GOLDEN).index(b'"tensor_sha256":"') + len(b'"tensor_sha256":"')

    def changed(golden: bytes) -> bytes:
        return golden[:first] + (b"0" if golden[first : first + 1] != b"0" else b"1") + golden[first + 1 :]

    yield from golden_with(ground, changed)


def golden_with(ground: Ground, change: Callable[[bytes], bytes]) -> Iterator[Outcome]:
    bundle = written(ground.folder() / "bundle", ground.bundle, change(ground.bundle.read(GOLDEN)))
    with opened(ground.device, bundle, ground.folder()) as root:
        yield from verified("planted", at(root, ALL), ground.device, ground.folder() / "verified.json")


def tensorflow(ground: Ground) -> Iterator[Outcome]:
    """A wheel that requires TensorFlow."""
    wheel = ground.folder() / ground.limiar.name
    with zipfile.ZipFile(ground.limiar) as before, zipfile.ZipFile(wheel, "w") as after:
        for name in before.namelist():
            asks = b"Requires-Dist: click", b"Requires-Dist: tensorflow>=2.21\nRequires-Dist: click"
            data = before.read(name)
            after.writestr(name, data.replace(*asks, 1) if name.endswith("/METADATA") else data)
    make_device("bookworm", wheel, ground.folder())
    yield from ()


def without_xnnpack(ground: Ground) -> Iterator[Outcome]:
    """A device on which the quick kernels are not used."""
    there = "edge_app/runtimes/interpreter.py"
    code = (PROJECT / there).read_text()
    planted = ground.folder() / "interpreter.py"
    planted.write_text(code.replace("module.OpResolverType.AUTO", "module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES"))
    yield from ground.answers(ground.replaced(there, planted))


def levels_rounded_down(ground: Ground) -> Iterator[Outcome]:
    """A device that rounds the levels of DICOM pictures down."""
    there = "edge_app/image/decoders/dicom_levels.py"
    planted = ground.folder() / "dicom_levels.py"
    planted.write_text((PROJECT / there).read_text().replace("(level - _HALF)", "level"))
    files = in_folder(ground.folder() / "dicom", made_files())
    with opened(ground.device, ground.bundle, ground.folder(), {**ground.replaced(there, planted), "/dicom": files}) as root:
        yield levels_compared("planted", levels_here(files), levels_there(at(root, ALL), ground.device))


def foreign_library(ground: Ground) -> Iterator[Outcome]:
    """A library for x86-64 among the others, though nothing loads it."""
    ours = Path(str(msgspec._core.__file__))  # a compiled module
    yield from ground.answers({"/usr/lib/aarch64-linux-gnu/planted.so": ours})


FAULTS: dict[
    Callable[[Ground], Iterator[Outcome]], str
] = {  # fault -> what must catch it: a part of a check's name, or of its message
    old_qemu: "machine",
    golden_byte: f"verify: {FILE} on litert",
    tensorflow: "tensorflow",
    without_xnnpack: f"{FILE} litert: kernels",
    levels_rounded_down: WHAT,
    foreign_library: "ELF machines of all libraries",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def main(asked: argparse.Namespace) -> None:
    """Raises Unavailable, Failed."""
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as scratch:
        ground = Ground(Path(scratch))

        def caught(plant: Callable[[Ground], Iterator[Outcome]]) -> Outcome:
            what = str(plant.__doc__).rstrip(".")
            progress(what)
            try:
                seen = [f"{one.what}: {one.found}" for one in plant(ground) if not one.passed]
            except Failed as error:
                seen = [str(error)]
            sees = FAULTS.get(plant)
            passed = any(sees in one for one in seen) if sees else not seen
            found = next((one[one.index(sees) :] for one in seen if sees and sees in one), "; ".join(seen) or "nothing")
            return Outcome("planted" if sees else "control", what, found[:100], f"{sees or 'nothing'} …", passed)

        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            outcomes = list(pool.map(caught, [nothing, *FAULTS]))
    report(outcomes, asked.json)
