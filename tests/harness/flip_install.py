#!/usr/bin/env python3
"""Flips bits of a signed bundle and of its archive, one at a time, and tries to install it: none may be accepted (P5).

    tests/harness/flip_install.py [--bundle models/lung-nodule] [--count 12000] [--seed N] [--results FILE]

A copy of the bundle is signed and packed, and another one is installed before it, with the key. Half of the flips are in
manifest.json, manifest.sig and the archive's own structure, in every byte of them if --count allows it, and half in all files,
in the folder and in the archive in turn. The bundle before must stay current, byte for byte. A flip that would let the golden
images run counts as accepted. As a control, a bundle with one letter changed in the manifest's free text is installed on a
device without a key: that must be accepted, or this test could not fail. A release takes --count 100000. Exit status 1 if a
flip was accepted or the control was not. What is written is not flushed: this is about what is accepted, not about cuts.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import itertools
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from flip_bundle import ACCEPTED, Flip, Tally, every_byte, first_letter, invert, kind_of, print_tally, samples_of, signed_copy
from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.manifest import MANIFEST
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import Keys
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install import install as install_module
from limiar.edge_app.install import staging
from limiar.edge_app.install.install import install
from limiar.edge_app.install.proof import Proof

PROJECT = Path(__file__).resolve().parents[2]
ARCHIVE = "bundle.limiar"


class Believed(Exception):
    """A bundle got as far as its golden images."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--count", type=int, default=12_000)
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    options.add_argument("--results", type=Path, help="append the outcome to this file, a JSON line")
    asked = options.parse_args()
    for flush in ("fsync", "sync_directory"):
        setattr(staging, flush, lambda of: None)
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="limiar-flip-") as name:
        folder = Path(name)
        keys = prepared(asked.bundle, folder)
        before = current_bytes(folder)
        tally = tried(folder, flips(folder, rng, asked.count))
        unchanged = current_bytes(folder) == before
        control = outcome(folder / "new", folder / "bundle", first_letter(folder / "bundle"), folder / "bundle", None)
        whole = attempt(folder / "state", folder / ARCHIVE, keys)
    print(f"seed {asked.seed}")
    print_tally("install with the key", tally)
    print(f"control, the manifest's free text altered, on a device without a key: {control}; unaltered, with the key: {whole}")
    accepted = sum(count for (_, code), count in tally.items() if code == ACCEPTED)
    print(f"{tally.total()} flips, {accepted} accepted; the bundle before is {'unchanged' if unchanged else 'CHANGED'}")
    if asked.results:
        outcome_line = {"flips": tally.total(), "accepted": accepted, "seed": asked.seed, "control": control}
        with asked.results.open("ab") as file:
            file.write(msgspec.json.encode(outcome_line) + b"\n")
    return 0 if not accepted and unchanged and control == whole == ACCEPTED else 1


def prepared(source: Path, folder: Path) -> Keys:
    """A signed bundle, its archive, and a state folder in which another one is current; returns its keys."""
    keys = signed_copy(source, folder / "bundle", folder / "release.pub")
    write_archive(open_bundle(folder / "bundle"), folder / ARCHIVE)
    prove_by(lambda *of: Proof("any", "any"))
    install(folder / "state", folder / "bundle", keys)
    raise_counter(folder / "state")
    prove_by(refuse_to_go_on)
    return keys


def prove_by(function: Callable[..., Proof]) -> None:
    """Runs this in place of the golden images."""
    vars(install_module)["prove"] = function


def raise_counter(state: Path) -> None:
    """Makes the installed bundle another one, by its record alone, so that the same bytes are new to the device."""
    path = state / "bundles" / "slots.json"
    record = msgspec.json.decode(path.read_bytes())
    record["a"] |= {"bundle": "0" * 64, "release_counter": 0}
    path.write_bytes(msgspec.json.encode(record))


def refuse_to_go_on(bundle: Bundle, file: str | None, runtime: str | None) -> Proof:
    raise Believed


def current_bytes(folder: Path) -> dict[str, bytes]:
    bundles = folder / "state" / "bundles"
    return {str(path): path.read_bytes() for path in sorted(bundles.rglob("*")) if path.is_file()}


def flips(folder: Path, rng: random.Random, count: int) -> Iterator[tuple[Path, Flip]]:
    """What to flip, and where: in `bundle`, or in the archive."""
    bundle = folder / "bundle"
    fixed = [(bundle, flip) for flip in every_byte(bundle, rng)]
    fixed += [(folder, Flip(ARCHIVE, at, rng.randrange(8))) for at in structure(bundle)]
    yield from fixed if len(fixed) <= count // 2 else rng.sample(fixed, count // 2)
    size = (folder / ARCHIVE).stat().st_size
    for flip in itertools.islice(samples_of(bundle, rng), count // 4):
        yield bundle, flip
        yield folder, Flip(ARCHIVE, rng.randrange(size), rng.randrange(8))


def structure(bundle: Path) -> Iterator[int]:
    """The places of an archive's bytes that are not of a file."""
    manifest = open_bundle(bundle).manifest
    sizes = {MANIFEST: (bundle / MANIFEST).stat().st_size, "manifest.sig": 64} | {
        file.path: file.bytes for file in manifest.files
    }
    at = 0
    for name, size in sizes.items():
        yield from range(at, at + 30 + len(name))
        at += 30 + len(name) + size
    yield from range(at, at + sum(46 + len(name) for name in sizes) + 22)


def tried(folder: Path, chosen: Iterator[tuple[Path, Flip]]) -> Tally:
    tally: Tally = Counter()
    for number, (root, flip) in enumerate(chosen, 1):
        source = folder / "bundle" if flip.path != ARCHIVE else folder / ARCHIVE
        kind = "archive" if flip.path == ARCHIVE else kind_of(flip.path)
        tally[kind, outcome(folder / "state", root, flip, source, None)] += 1
        if sys.stderr.isatty() and number % 100 == 0:
            print(f"\r{number} flips ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return tally


def outcome(state: Path, root: Path, flip: Flip, source: Path, keys: Keys | None) -> str:
    """The code with which the source is refused while the bit is flipped, or ACCEPTED."""
    invert(root, flip)
    try:
        return attempt(state, source, keys)
    finally:
        invert(root, flip)


def attempt(state: Path, source: Path, keys: Keys | None) -> str:
    try:
        install(state, source, keys)
    except LimiarError as error:
        return error.code
    except Believed:
        return ACCEPTED
    finally:
        shutil.rmtree(state / "bundles" / "staging", ignore_errors=True)
    return ACCEPTED


if __name__ == "__main__":
    sys.exit(main())
