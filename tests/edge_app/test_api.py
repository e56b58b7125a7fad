"""The library: docs/api.md as it is printed, and what its functions promise beyond the commands."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from PIL import Image

import limiar
from limiar.edge_app.errors import BundleError, ImageError

PROJECT = Path(__file__).parents[2]
BUNDLE = PROJECT / "models" / "lung-nodule"


def blocks(page: str) -> list[str]:
    """The Python blocks of a page of docs."""
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docs/api.md names: the bundle, a patch, images with and without labels, a video and a key that signed nothing."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "models").symlink_to(PROJECT / "models")
    rng = np.random.default_rng(1)
    (folder / "images").mkdir()
    for number in range(5):
        noise = rng.integers(0, 60, (50, 50), dtype=np.uint8) + np.linspace(20, 180, 50).astype(np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.png")
    (folder / "images" / "cut.png").write_bytes((folder / "images" / "0.png").read_bytes()[:900])
    for label, number in (("neg", 0), ("pos", 1)):
        (folder / "labelled" / label).mkdir(parents=True)
        (folder / "labelled" / label / "0.png").write_bytes((folder / "images" / f"{number}.png").read_bytes())
    (folder / "patch.png").write_bytes((folder / "images" / "1.png").read_bytes())
    video = cv2.VideoWriter(str(folder / "ward.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 64))
    for _ in range(4):
        video.write(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    video.release()
    public = Ed25519PrivateKey.generate().public_key()
    (folder / "release.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "LIMIAR_STATE": str(tmp_path / "state")}


def python(code: str, place: Path, environment: dict[str, str]) -> str:
    """What the code prints, in a process of its own."""
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_runs_as_it_is_printed(place: Path, environment: dict[str, str]) -> None:
    said = python("".join(blocks((PROJECT / "docs" / "api.md").read_text())), place, environment)
    decision, label = said.split()[:2]
    assert decision in ("pos", "neg", "refer")
    assert label in ("pos", "neg")
    assert re.search(r"^images/0\.png (pos|neg|refer) [01]\.\d+ False$", said, re.MULTILINE)
    assert "images/cut.png E-IMAGE-TRUNCATED " in said
    assert re.search(r"^4 \d{4}-\d\d-\d\dT\S+Z (pos|neg|refer|refused)", said, re.MULTILINE)  # the video's last frame
    assert re.search(r"^True \[\('", said, re.MULTILINE)  # verify
    assert re.search(r"^E-BUNDLE-SIGNATURE-MISSING ", said, re.MULTILINE)
    assert re.search(r"^tflite_int8 (litert|tflite-runtime) 1 \d+\.\d+ \d+\.\d+ \d+\.\d+$", said, re.MULTILINE)  # bench


def test_the_page_names_what_is_public_and_the_reverse() -> None:
    named = set(re.findall(r"\blimiar\.([A-Za-z_]+)", (PROJECT / "docs" / "api.md").read_text()))
    assert set(limiar.__all__) - {"__version__"} == named


@pytest.mark.parametrize("name", [name for name in limiar.__all__ if name != "__version__"])
def test_what_is_public_is_there_and_says_what_it_is(name: str) -> None:
    found = _found(name)
    if isinstance(found, ImportError):  # on a device
        extra = "train|convert|dicom-export|archive|dask"
        met = rf"limiar\.{name} needs \w+, which is not installed: pip install 'limiar\[({extra})\]'"
        assert re.fullmatch(met, str(found))
        return
    assert inspect.getdoc(found)
    assert name in dir(limiar)


def _found(name: str) -> object:
    try:
        return getattr(limiar, name)
    except ImportError as error:
        return error


def test_to_import_limiar_loads_neither_numpy_nor_a_runtime(tmp_path: Path, environment: dict[str, str]) -> None:
    code = "import limiar, sys; dir(limiar); limiar.LimiarError; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in python(code, tmp_path, environment).split()}
    assert "limiar" in loaded
    assert not loaded & {"numpy", "PIL", "cv2", "click", "msgspec", "ai_edge_litert", "tflite_runtime", "onnxruntime", "keras"}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'limiar' has no attribute 'predict'"):
        limiar.predict  # noqa: B018


def test_a_path_its_bytes_and_its_pixels_have_the_same_answer(place: Path) -> None:
    path = place / "patch.png"
    with limiar.open_classifier(BUNDLE) as classify, Image.open(path) as image:
        answers = [classify(given) for given in (path, str(path), path.read_bytes(), np.asarray(image))]
    assert len({(answer.decision, answer.confidence, tuple(answer.probabilities.items())) for answer in answers}) == 1
    assert sum(answers[0].probabilities.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((40, 40, 3), np.float32), np.zeros((1, 40, 40, 3), np.uint8), np.zeros((40, 40, 4), np.uint8)],
    ids=["float32", "a batch", "four channels"],
)
def test_pixels_of_another_form_are_a_type_error_that_says_which(pixels: np.ndarray) -> None:
    with limiar.open_classifier(BUNDLE) as classify, pytest.raises(TypeError, match=r"pixels are \w+ \[.*\]: give uint8"):
        classify(pixels)


def test_errors_have_the_codes_of_the_commands(place: Path) -> None:
    with limiar.open_classifier(BUNDLE) as classify, pytest.raises(ImageError) as refused:
        classify(place / "images" / "cut.png")
    assert refused.value.code == "E-IMAGE-TRUNCATED"
    with pytest.raises(BundleError) as missing:
        limiar.open_classifier(place / "images")
    assert missing.value.code == "E-BUNDLE-MISSING"


def test_scan_gives_what_the_command_prints(place: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-P", "-m", "limiar", "scan", BUNDLE, "images", "--jsonl", "-", "--db", tmp_path / "c.db"]
    printed = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True).stdout.splitlines()
    code = f"""
import limiar, msgspec
for line in limiar.scan({str(BUNDLE)!r}, ["images"], db={str(tmp_path / "l.db")!r}):
    print(msgspec.json.encode(line).decode())
"""
    given = python(code, place, environment).splitlines()
    assert len(given) == 6

    def kept(line: str) -> dict[str, object]:
        return {key: value for key, value in json.loads(line).items() if key not in ("time", "ms")}

    assert [kept(line) for line in given] == [kept(line) for line in printed]


def test_a_scan_that_is_left_early_keeps_what_it_gave_and_frees_the_database(place: Path, tmp_path: Path) -> None:
    db = tmp_path / "results.db"
    given = []
    for line in limiar.scan(BUNDLE, [place / "images"], db=db):
        given.append(line.path)
        break
    again = {line.path: line.stored for line in limiar.scan(BUNDLE, [place / "images"], db=db)}
    assert again[given[0]]


def test_after_a_scan_the_collector_sees_everything_again(place: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    code = f"import gc, limiar; print(len(list(limiar.scan({str(BUNDLE)!r}, ['images'], db={str(tmp_path / 'r.db')!r}))))\n"
    assert python(f"{code}print(gc.get_freeze_count())", place, environment) == "6\n0\n"


def test_a_scan_ends_when_it_is_told_to_stop(place: Path, tmp_path: Path) -> None:
    assert list(limiar.scan(BUNDLE, [place / "images"], db=tmp_path / "r.db", stop=lambda: True)) == []


def test_a_scan_and_a_verification_work_beside_threads_that_compute(
    place: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    code = f"""
import threading
import numpy as np
import limiar
bundle = {str(BUNDLE)!r}
def compute():
    while True:
        np.random.default_rng(0).random((200, 200)) @ np.ones((200, 200))
for _ in range(3):
    threading.Thread(target=compute, daemon=True).start()
for turn in range(3):
    lines = list(limiar.scan(bundle, [{str(place / "images")!r}], db=f"{{turn}}.db"))
    print(len(lines), lines[-1].code)
print(limiar.verify(bundle).passed)
"""
    assert python(code, tmp_path, environment) == "6 E-IMAGE-TRUNCATED\n" * 3 + "True\n"


def test_a_line_as_json_has_the_keys_that_apply_and_no_others(place: Path, tmp_path: Path) -> None:
    lines = {line.path: line for line in limiar.scan(BUNDLE, [place / "images"], db=tmp_path / "r.db")}
    whole, cut = (msgspec.to_builtins(lines[str(place / "images" / name)]) for name in ("0.png", "cut.png"))
    assert list(whole) == [
        *("path", "sha256", "decision", "label", "confidence", "probabilities", "outside"),
        *("bundle", "file", "runtime", "verified", "app", "time", "stored", "ms"),
    ]
    assert list(cut) == [
        *("path", "sha256", "decision", "code", "message"),
        *("bundle", "file", "runtime", "verified", "app", "time", "stored"),
    ]
