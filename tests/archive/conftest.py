"""What the tests of archives share: the reference bundle, generated images, and the real command."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def bundle(project: Path) -> Path:
    """The reference bundle. Read only."""
    return project / "models" / "lung-nodule"


@pytest.fixture
def limiar(tmp_path: Path) -> Limiar:
    """Runs the real command in a process of its own, with a state folder of its own: `limiar("archive", …, input=b"…")`."""

    def run(*arguments: str | bytes | Path, **options: object) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-P", "-m", "limiar", *map(os.fsencode, arguments)]
        environment = {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}
        return subprocess.run(command, **{"capture_output": True, "env": environment, "timeout": 300, **options})  # type: ignore[call-overload,no-any-return]

    return run


def write_images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Small grey PNGs, all different, in name order; the bundle gives them answers of all kinds."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.png" for number in range(count)]
    for path in paths:
        grey = rng.integers(0, 60, (50, 50), np.uint8) + np.linspace(rng.integers(0, 90), 180, 50).astype(np.uint8)
        cv2.imwrite(str(path), grey)
    return paths


@pytest.fixture
def draw() -> Callable[..., list[Path]]:
    """`draw(FOLDER, COUNT, seed=0)` writes that many small images, all different."""
    return write_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 40 images."""
    write_images(tmp_path / "images", 40)
    return tmp_path / "images"
