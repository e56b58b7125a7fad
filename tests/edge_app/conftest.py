"""What the tests of the device share: a real, tiny bundle, and the real command."""

import os

# Processes of the tests that replace a function of a worker must fork it: numpy's threads would have them start another Python.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# isort: split
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import (
    BundleFile,
    Decision,
    InputSpec,
    Manifest,
    MapGrid,
    ModelFile,
    Provenance,
    Tolerance,
    Verified,
)
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.runtimes import installed_runtimes

# The FFmpeg in OpenCV reads it when it is first used: here that may be a test that writes a video, and the capture process that
# is forked after it could not say it any more.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "24"

DATA = Path(__file__).parent / "data"
INT8_STEP = 0.134  # of a logit: the scale of the tiny int8 file's last layer

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


def tiny_contents() -> dict[str, bytes]:
    """The files of the tiny bundle, path in it -> bytes; made by make_tiny_models.py."""
    folder = DATA / "tiny"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tiny_manifest(contents: dict[str, bytes]) -> Manifest:
    """A manifest that describes `contents`; every .tflite and .onnx in it is a model file.

    It is as convert would write it here: verified on the runtimes that are installed (test_verify.py shows that they pass).
    """
    return Manifest(
        name="tiny",
        version="0.1.0",
        release_counter=1,
        licence="Apache-2.0",
        intended_use="the tests of limiar",
        labels=("neg", "pos"),
        positive="pos",
        input=InputSpec(height=40, width=40, channels=3),
        default_file="tflite_int8",
        files=tuple(_listed(path, data) for path, data in contents.items()),
        provenance=Provenance(run={}, data={}, tools={}, seeds={}),
    )


def _listed(path: str, data: bytes) -> BundleFile:
    stem, _, extension = path.partition(".")
    model = None
    if extension == "tflite" or extension == "onnx":
        onnx, int8 = extension == "onnx", stem.endswith("int8")
        model = ModelFile(
            name=stem,
            format="onnx" if onnx else "tflite",
            precision="int8" if int8 else "fp32",
            decision=Decision(),
            expected_runtime="onnxruntime" if onnx else "litert",
            # fp32: runtimes add in another order. int8: exact in one runtime, a step of the last layer across.
            tolerance=Tolerance(same_runtime=0.0, other_runtime=INT8_STEP) if int8 else Tolerance(1e-4, 1e-4),
            metrics={},
            verified=tuple(
                Verified(found.name, found.version, platform.machine())
                for found in installed_runtimes("onnx" if onnx else "tflite")
            ),
        )
    return BundleFile(path, len(data), hashlib.sha256(data).hexdigest(), model)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny bundle. Read only: to change it, use `tiny_copy`."""
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    contents = tiny_contents()
    write_bundle(path, tiny_manifest(contents), contents)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tiny_path: Path) -> Bundle:
    """Two labels, 40x40x3, as int8 and fp32 TFLite and fp32 ONNX, with golden images."""
    return open_bundle(tiny_path)


@pytest.fixture
def tiny_copy(tiny_path: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that the test may change."""
    return Path(shutil.copytree(tiny_path, tmp_path / "tiny"))


def _command(state: Path, *python: str) -> Limiar:
    def run(*arguments: str | bytes | Path, **options: object) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-P", *python, *map(os.fsencode, arguments)]
        environment = {**os.environ, "LIMIAR_STATE": str(state)}
        return subprocess.run(command, **{"capture_output": True, "env": environment, "timeout": 120, **options})  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def limiar(tmp_path: Path) -> Limiar:
    """Runs the real command in a process of its own, with a state folder of its own: `limiar("scan", …, input=b"…")`."""
    return _command(tmp_path / "state", "-m", "limiar")


@pytest.fixture
def quick_bench(tmp_path: Path) -> Limiar:
    """`quick_bench(BUNDLE, …)` is `limiar bench --preset quick BUNDLE …`."""
    code = "from limiar.edge_app.cli import main; main()"
    return _command(tmp_path / "state", "-c", code, "bench", "--preset", "quick")


def write_images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Small grey PNGs, all different, in name order."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        paths.append(folder / f"{index:05d}.png")
        Image.fromarray(rng.integers(0, 256, (50, 50), dtype=np.uint8)).save(paths[-1], compress_level=1)
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


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five frames of noise."""
    path = tmp_path / "noise.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(5):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="session")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 4,000 images: the lines of a scan are far more than an unread pipe can hold."""
    folder = tmp_path_factory.mktemp("many")
    write_images(folder, 4_000)
    return folder


@pytest.fixture(scope="session")
def often() -> str:
    """Python code to run before a command, which then commits fifty times as often.

    So a scan of many images has many commits on a machine of any speed, and a reader that stops reading stops it midway.
    """
    return "import limiar.edge_app.store.writer; limiar.edge_app.store.writer._COMMIT_AFTER_S = 0.004\n"


@pytest.fixture(scope="session")
def mapped_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle whose files give a class activation map too, made by make_mapped_models.py: read only."""
    path = tmp_path_factory.mktemp("bundles") / "mapped"
    made = {file.name: file.read_bytes() for file in sorted((DATA / "mapped").iterdir())}
    golden = made.pop("golden.json")
    images = {name: data for name, data in tiny_contents().items() if name.startswith("golden/")}
    contents = made | images | {"golden/golden.json": golden}
    manifest = tiny_manifest(contents)
    files = tuple(
        msgspec.structs.replace(
            file, model=file.model and msgspec.structs.replace(file.model, class_map=MapGrid(5, 5, (3.5, 3.5), (8.0, 8.0)))
        )
        for file in manifest.files
    )
    write_bundle(path, msgspec.structs.replace(manifest, files=files), contents)
    return path
