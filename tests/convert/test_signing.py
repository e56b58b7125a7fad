"""`limiar keygen`, and `limiar convert --sign`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from limiar.convert.defaults import CARD
from limiar.convert.pipeline import Converted
from limiar.convert.publish.publish import publish_bundle
from limiar.edge_app.bundle.manifest import SIGNATURE
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half, read_private_key, read_public_key
from limiar.edge_app.cli import limiar as limiar_group
from limiar.edge_app.errors import LimiarError

Convert = Callable[..., Result]
Few = Callable[..., None]


def keygen(*words: str | Path) -> Result:
    return CliRunner().invoke(limiar_group, ["keygen", *map(str, words)], standalone_mode=False)


def code(result: Result) -> str:
    assert isinstance(result.exception, LimiarError), result.exception
    return result.exception.code


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key file, with its .pub next to it."""
    assert keygen(tmp_path / "release").return_value == 0
    return tmp_path / "release.key"


def test_a_new_pair_belongs_together_and_its_private_half_to_its_owner_alone(tmp_path: Path) -> None:
    result = keygen(tmp_path / "release")
    private, public = tmp_path / "release.key", tmp_path / "release.pub"
    assert private.stat().st_mode & 0o777 == 0o600
    assert public_half(read_private_key(private)) == read_public_key(public)
    assert read_public_key(public).fingerprint in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release.key", "release.pub"]


def test_every_pair_is_another_and_a_program_reads_its_fingerprint(tmp_path: Path) -> None:
    found = [json.loads(keygen(tmp_path / name, "--json").stdout) for name in ("a", "b")]
    assert found[0]["fingerprint"] == read_public_key(tmp_path / "a.pub").fingerprint
    assert found[0]["fingerprint"] != found[1]["fingerprint"]


@pytest.mark.parametrize("there", ["release.key", "release.pub"])
def test_no_key_is_written_over_and_no_half_pair_is_left(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("the only copy")
    assert code(keygen(tmp_path / "release")) == "E-KEY-EXISTS"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "the only copy")]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert code(keygen(tmp_path / "none" / "release")) == "E-KEY-WRITE"


def test_keygen_loads_neither_tensorflow_nor_numpy(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-X", "importtime", "-m", "limiar", "keygen", str(tmp_path / "release")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "cryptography" in loaded
    assert not {"tensorflow", "keras", "numpy", "onnx", "onnxruntime"} & loaded


def test_a_wrong_key_is_refused_before_anything_else_is_looked_at(limiar_convert: Convert, key: Path, tmp_path: Path) -> None:
    key.chmod(0o644)
    for sign, expected in (
        (key, "E-KEY-MODE"),
        (tmp_path / "none.key", "E-KEY-MISSING"),
        (key.with_suffix(".pub"), "E-KEY-TYPE"),
    ):
        result = limiar_convert(tmp_path / "no-run", "--out", tmp_path / "out", "--sign", sign)
        assert code(result) == expected
    assert code(limiar_convert(tmp_path / "no-run", "--out", tmp_path / "out")) == "E-RUN-MISSING"  # it would have come next


def test_a_signed_conversion_is_the_unsigned_one_and_a_signature(
    limiar_convert: Convert, few_files: Few, run: Path, key: Path, tmp_path: Path
) -> None:
    few_files()
    out, unsigned = tmp_path / "signed" / "small", tmp_path / "unsigned" / "small"
    assert limiar_convert(run, "--out", out, "--sign", key).return_value == 0
    assert limiar_convert(run, "--out", unsigned).return_value == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = limiar_convert(run, "--out", out)
    assert code(again) == "E-BUNDLE-OUT"
    assert "already has a signed bundle: give --replace" in str(again.exception)
    assert code(limiar_convert(run, "--out", unsigned)) == "E-BUNDLE-OUT"
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    opened = open_bundle(out, Keys((read_public_key(key.with_suffix(".pub")),)))
    assert opened.signed_by == public_half(read_private_key(key))
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(files.pop(Path(SIGNATURE))) == 64
    assert {file: (unsigned / file).read_bytes() for file in files} == files


def test_a_bundle_published_again_without_a_key_is_unsigned(converted: Converted, key: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_bundle(out, converted, release_counter=1, seed=0, card=CARD, key=read_private_key(key))
    assert (out / SIGNATURE).is_file()
    publish_bundle(out, converted, release_counter=1, seed=0, card=CARD)
    assert not (out / SIGNATURE).exists()


def test_a_name_that_is_not_utf_8_is_printable_in_json(tmp_path: Path) -> None:
    done = keygen(tmp_path / os.fsdecode(b"\xff"), "--json")
    assert json.loads(done.stdout)["private"] == f"{tmp_path}/\\xff.key"
