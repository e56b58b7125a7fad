#!/usr/bin/env python3
"""Flips bits of a signed bundle, one at a time, and tries to use it with the key: none may be accepted.

    tests/harness/flip_bundle.py [--bundle models/lung-nodule] [--count 12000] [--commands 100] [--seed N]

A copy of the bundle is signed with a key made for it. One bit of every byte of manifest.json and manifest.sig is flipped, and
--count bits of its other files, as many in each. Each time the bundle is opened with the key and a model is read, as the app
does. --commands more are tried through `limiar verify --key`. As a control, a bundle with one letter changed in the
manifest's free text is opened without the key: that must be accepted, or this test could not fail. Exit status 1 if a flip
was accepted or the control was not.
"""

import _desktop  # noqa: F401  # before all that only an environment has

# isort: split
import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from limiar.edge_app.bundle.manifest import MANIFEST, SIGNATURE
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half, sign
from limiar.edge_app.errors import BundleError

PROJECT = Path(__file__).resolve().parents[2]
ACCEPTED = "accepted"
Tally = Counter[tuple[str, str]]  # (kind of file, code) -> flips


class Flip(msgspec.Struct, frozen=True):
    """One bit of one file."""

    path: str
    at: int  # byte
    bit: int  # 0..7


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=PROJECT / "models" / "lung-nodule")
    options.add_argument("--count", type=int, default=12_000, help="flips in the files that the manifest lists")
    options.add_argument("--commands", type=int, default=100, help="flips that are tried through `limiar verify --key`")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # not a secret
    asked = options.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="limiar-flip-") as folder:
        bundle, public = Path(folder, "bundle"), Path(folder, "release.pub")
        keys = signed_copy(asked.bundle, bundle, public)
        samples = samples_of(bundle, rng)
        opened = tried(bundle, itertools.chain(every_byte(bundle, rng), itertools.islice(samples, asked.count)), keys)
        few = itertools.chain.from_iterable(zip(every_byte_again(bundle, rng), samples, strict=False))
        commanded = tried(bundle, itertools.islice(few, asked.commands), public)
        control = outcome(bundle, first_letter(bundle), None)
    print(f"seed {asked.seed}")
    print_tally("open_bundle with the key", opened)
    print_tally("limiar verify --key", commanded)
    print(f"control, the manifest's free text altered, without the key: {control}")
    accepted = sum(flips for (_, code), flips in (opened + commanded).items() if code == ACCEPTED)
    print(f"{opened.total() + commanded.total()} flips, {accepted} accepted")
    return 1 if accepted or control != ACCEPTED else 0


def signed_copy(source: Path, bundle: Path, public: Path) -> Keys:
    """Copies the bundle, signs the copy and writes the public key."""
    key = Ed25519PrivateKey.generate()
    shutil.copytree(source, bundle)
    (bundle / SIGNATURE).write_bytes(sign((bundle / MANIFEST).read_bytes(), key))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Keys((public_half(key),))


def every_byte(bundle: Path, rng: random.Random) -> Iterator[Flip]:
    """One bit of each byte of the manifest and the signature."""
    for name in (MANIFEST, SIGNATURE):
        for at in range((bundle / name).stat().st_size):
            yield Flip(name, at, rng.randrange(8))


def every_byte_again(bundle: Path, rng: random.Random) -> Iterator[Flip]:
    """Bits of random bytes of the manifest and the signature in turn, endlessly."""
    while True:
        for name in (MANIFEST, SIGNATURE):
            yield Flip(name, rng.randrange((bundle / name).stat().st_size), rng.randrange(8))


def samples_of(bundle: Path, rng: random.Random) -> Iterator[Flip]:
    """Bits of all other files, file by file in turn, endlessly."""
    sizes = {file.path: file.bytes for file in open_bundle(bundle).manifest.files if file.bytes}
    for name, size in itertools.cycle(sizes.items()):
        yield Flip(name, rng.randrange(size), rng.randrange(8))


def first_letter(bundle: Path) -> Flip:
    """The lowest bit of a letter of the intended use: free text, which stays a valid manifest."""
    raw = (bundle / MANIFEST).read_bytes()
    text = open_bundle(bundle).manifest.intended_use
    letter = next(index for index, character in enumerate(text) if character.isascii() and character.isalpha())
    return Flip(MANIFEST, raw.index(text[: letter + 1].encode()) + len(text[:letter].encode()), 0)


def tried(bundle: Path, flips: Iterator[Flip], keys: Keys | Path) -> Tally:
    """Tries each flip alone. keys: Keys for open_bundle, or the Path of a key for the command."""
    tally: Tally = Counter()
    for number, flip in enumerate(flips, 1):
        tally[kind_of(flip.path), outcome(bundle, flip, keys)] += 1
        if sys.stderr.isatty() and number % 100 == 0:
            print(f"\r{number} flips ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return tally


def outcome(bundle: Path, flip: Flip, keys: Keys | Path | None) -> str:
    """The code with which the bundle is refused while the bit is flipped, or ACCEPTED."""
    invert(bundle, flip)
    try:
        return command_code(bundle, keys) if isinstance(keys, Path) else code(bundle, keys)
    finally:
        invert(bundle, flip)


def invert(bundle: Path, flip: Flip) -> None:
    descriptor = os.open(bundle / flip.path, os.O_RDWR)
    (byte,) = os.pread(descriptor, 1, flip.at)
    os.pwrite(descriptor, bytes([byte ^ 1 << flip.bit]), flip.at)
    os.close(descriptor)


def code(bundle: Path, keys: Keys | None) -> str:
    try:
        open_bundle(bundle, keys).model()
    except BundleError as error:
        return error.code
    return ACCEPTED


def command_code(bundle: Path, public: Path) -> str:
    command = [sys.executable, "-P", "-m", "limiar", "verify", str(bundle), "--key", str(public), "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    refused: str = json.loads(done.stdout)["error"].partition(":")[0]
    return refused if done.returncode == 3 and refused else ACCEPTED


def kind_of(path: str) -> str:
    """manifest, signature, golden, report, card, model or other."""
    if path.startswith("golden/"):
        return "golden"
    if path.endswith((".tflite", ".onnx")):
        return "model"
    kinds = {MANIFEST: "manifest", SIGNATURE: "signature", "MODEL_CARD.md": "card"}
    return kinds.get(path, "report" if path.startswith("report.") else "other")


def print_tally(title: str, tally: Tally) -> None:
    print(f"\n{title}")
    for (kind, code), flips in sorted(tally.items()):
        print(f"  {kind:<10} {code:<28} {flips:>6}")


if __name__ == "__main__":
    sys.exit(main())
