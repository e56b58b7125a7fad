"""PNG, BMP, PGM and PPM have the desktop's pixels on the phone, at every depth, and its refusals."""

import json
from pathlib import Path

import pytest

from both_decoders import open_codecs
from phone_modules import Kept, Modules

GOLDEN = Path(__file__).parents[2] / "models" / "lung-nodule" / "golden"
LOSSLESS = (".png", ".bmp", ".pgm", ".ppm")
SQUARE = {"height": 40, "width": 40, "channels": 3}


@pytest.fixture(scope="module")
def codecs(modules: Modules) -> Kept:
    return open_codecs(modules)


def test_the_golden_images_of_a_bundle_give_its_tensors(modules: Modules, codecs: Kept) -> None:
    images = [one for one in json.loads((GOLDEN / "golden.json").read_text())["images"] if one["path"].endswith(LOSSLESS)]
    assert len(images) > 40
    files = [((GOLDEN.parent / one["path"]).read_bytes(), one["path"], None, codecs) for one in images]
    pictures = modules.each("/image/index.js", "decode", files)
    tensors = modules.each("/image/index.js", "modelInput", [(picture, SQUARE) for picture in pictures])
    names = modules.each("/image/index.js", "tensorSha256", [(tensor,) for tensor in tensors])
    assert [one for one, name in zip(images, names, strict=True) if one["tensor_sha256"] != name] == []
