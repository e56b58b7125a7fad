"""What happens to images that are unlike the training images: `limiar scan --outside refer|refuse|ignore`."""

import csv
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import Decision, Envelope, InputSpec
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.bundle.write import write_bundle
from limiar.edge_app.errors import ImageError
from limiar.edge_app.image.read import decode, read_file
from limiar.edge_app.image.resize import model_input
from limiar.edge_app.image.statistics import measure
from limiar.edge_app.inference.classifier import Classifier
from limiar.edge_app.inference.rule import Rule
from limiar.edge_app.runtimes import open_preferred

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]
SPEC = InputSpec(height=40, width=40, channels=3)


def tensor_of(path: Path) -> Any:
    return model_input(decode(read_file(os.fsencode(path))), SPEC)


@pytest.fixture
def envelope(images: Path) -> Envelope:
    """The envelope of the folder's 40 images, which are then inside."""
    return measure(tensor_of(path) for path in sorted(images.iterdir()))


@pytest.fixture
def bundle(tiny_bundle: Bundle, envelope: Envelope, tmp_path: Path) -> Path:
    """The tiny bundle, with that envelope."""
    contents = {file.path: tiny_bundle.read(file.path) for file in tiny_bundle.manifest.files}
    write_bundle(tmp_path / "enveloped", msgspec.structs.replace(tiny_bundle.manifest, envelope=envelope), contents)
    return tmp_path / "enveloped"


@pytest.fixture
def blurred(images: Path) -> Path:
    """An image that is unlike them."""
    with Image.open(images / "00000.png") as image:
        soft = cv2.GaussianBlur(np.asarray(image), (0, 0), 3)
    Image.fromarray(soft).save(images / "blurred.png")
    return images / "blurred.png"


def lines_of(done: "subprocess.CompletedProcess[bytes]") -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(line["path"]).name: line for line in lines}


def test_an_image_outside_is_referred_and_each_line_says_in_what(
    bundle: Path, images: Path, blurred: Path, limiar: Limiar, tmp_path: Path
) -> None:
    done = limiar("scan", bundle, images, "--refer-below", "0", "--csv", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    lines = lines_of(done)
    soft = lines.pop("blurred.png")
    assert soft["decision"] == "refer"
    assert {"deviation", "sharpness"} <= set(soft["outside"])
    assert all(line["outside"] == [] and line["decision"] == line["label"] for line in lines.values())
    assert list(soft).index("outside") == list(soft).index("probabilities") + 1
    assert b"1 unlike the training images" in done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert rows["blurred.png"]["outside"] == " ".join(soft["outside"])
    assert rows["00000.png"]["outside"] == ""


def test_outside_ignore_decides_and_refuse_refuses_also_what_is_stored(
    bundle: Path, images: Path, blurred: Path, limiar: Limiar
) -> None:
    options = (bundle, images, "--refer-below", "0")
    refused = limiar("scan", *options, "--outside", "refuse")
    ignored = limiar("scan", *options, "--outside", "ignore")
    again = limiar("scan", *options, "--outside", "refuse")
    default = limiar("scan", *options)
    assert [done.returncode for done in (refused, ignored, again, default)] == [4, 0, 4, 0]
    first, second = lines_of(refused)["blurred.png"], lines_of(again)["blurred.png"]
    assert (first["decision"], first["code"], first["stored"]) == ("refused", "E-IMAGE-OUTSIDE", False)
    assert (second["code"], second["message"]) == (first["code"], first["message"])
    assert "sharpness" in first["message"]
    answer = lines_of(ignored)["blurred.png"]
    assert answer["decision"] == answer["label"]
    assert "sharpness" in answer["outside"]
    stored = lines_of(default)["blurred.png"]
    assert (stored["decision"], stored["stored"], stored["outside"]) == ("refer", True, answer["outside"])


def test_an_answer_from_before_the_store_kept_it_is_inferred_again(
    bundle: Path, images: Path, blurred: Path, limiar: Limiar, tmp_path: Path
) -> None:
    limiar("scan", bundle, images, "--db", tmp_path / "r.db")
    db = sqlite3.connect(tmp_path / "r.db")
    db.execute("UPDATE results SET outside = NULL, crc32 = NULL, decision = label")
    db.commit()
    db.close()
    for stored in (False, True):
        lines = lines_of(limiar("scan", bundle, images, "--db", tmp_path / "r.db", "--refer-below", "0")).values()
        assert {line["stored"] for line in lines} == {stored}
        assert sum(line["decision"] == "refer" for line in lines) == 1


def test_without_an_envelope_no_line_claims_to_have_looked(
    tiny_path: Path, images: Path, blurred: Path, limiar: Limiar
) -> None:
    for outside in ("refer", "refuse"):
        done = limiar("scan", tiny_path, images, "--outside", outside)
        assert done.returncode == 0
        assert not any("outside" in line for line in lines_of(done).values())


@pytest.mark.parametrize(("outside", "colour"), [("refer", (200, 0, 0)), ("ignore", (0, 128, 0))])
def test_an_annotated_image_is_framed_by_the_same_rule(
    bundle: Path, blurred: Path, limiar: Limiar, tmp_path: Path, outside: str, colour: tuple[int, ...]
) -> None:
    for _ in range(2):  # the second from the store
        limiar("scan", bundle, blurred, "--annotate", tmp_path / "drawn", "--refer-below", "0", "--outside", outside)
        (drawn,) = (tmp_path / "drawn").iterdir()
        with Image.open(drawn) as image:
            assert image.convert("RGB").getpixel((0, image.height - 1)) == colour


def test_a_classifier_decides_by_the_same_rule_and_refuses_before_it_infers(
    tiny_bundle: Bundle, envelope: Envelope, blurred: Path
) -> None:
    file, model = tiny_bundle.model()
    runtime = open_preferred(file.format, model)
    picture = decode(read_file(os.fsencode(blurred)))
    sure = Decision(refer_below=0.0)
    referred = Classifier(runtime, ("neg", "pos"), SPEC, sure, envelope).answer(picture)
    ignored = Classifier(runtime, ("neg", "pos"), SPEC, sure, envelope, "ignore").answer(picture)
    blind = Classifier(runtime, ("neg", "pos"), SPEC, sure).answer(picture)
    assert (referred.decision, ignored.decision, blind.decision) == ("refer", ignored.label, ignored.label)
    assert referred.outside == ignored.outside != ()
    assert blind.outside is None
    with pytest.raises(ImageError, match="E-IMAGE-OUTSIDE"):
        Classifier(runtime, ("neg", "pos"), SPEC, sure, envelope, "refuse").answer(picture)


@pytest.mark.parametrize("outside", ["refer", "refuse", "ignore"])
@pytest.mark.parametrize("found", [None, ()], ids=["no envelope", "inside"])
def test_what_is_inside_is_decided_by_confidence_alone(outside: Any, found: tuple[str, ...] | None) -> None:
    rule = Rule(Decision(refer_below=0.9), outside)
    assert (rule.decide("pos", 0.9, found), rule.decide("pos", 0.89, found)) == ("pos", "refer")
