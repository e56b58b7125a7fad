"""tests/harness/flip_bundle.py on the tiny bundle: no flipped bit is accepted with the key."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def said(project: Path, tiny_path: Path) -> str:
    command = [sys.executable, project / "tests" / "harness" / "flip_bundle.py", "--bundle", tiny_path, "--seed", "5"]
    done = subprocess.run([*command, "--count", "200", "--commands", "4"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def flips(text: str, kind: str) -> int:
    return sum(map(int, re.findall(rf"^  {kind} +E-BUNDLE-[A-Z-]+ +(\d+)$", text, re.MULTILINE)))


def test_no_flip_is_accepted_with_the_key_and_one_is_without(said: str) -> None:
    assert said.startswith("seed 5\n")
    assert "without the key: accepted\n" in said
    assert said.endswith(", 0 accepted\n")


def test_every_byte_of_manifest_and_signature_and_some_of_every_other_kind_were_tried(said: str, tiny_path: Path) -> None:
    opened, commanded = said.split("limiar verify --key")
    assert flips(opened, "manifest") == (tiny_path / "manifest.json").stat().st_size
    assert flips(opened, "signature") == 64
    assert flips(opened, "golden") + flips(opened, "model") == 200
    assert flips(commanded, "[a-z]+") == 4
