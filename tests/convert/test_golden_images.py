"""The golden images that convert draws, and those that a user gives."""

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from limiar.convert.run.golden_images import AT_LEAST, DRAWN, GoldenFile, draw_golden_images, take_golden_images
from limiar.edge_app.bundle.manifest import DicomSpec, InputSpec, Window
from limiar.edge_app.errors import ConvertError
from limiar.edge_app.image.containers.dicom import JPEG, JPEG_2000, JPEG_LS, NATIVE, RLE, inspect
from limiar.edge_app.image.read import decode
from limiar.edge_app.image.resize import check_assessable, model_input

RGB = InputSpec(height=40, width=40, channels=3)


@pytest.fixture(scope="module")
def drawn() -> list[GoldenFile]:
    return draw_golden_images(RGB, seed=0)


def test_they_are_many_of_every_format_depth_and_of_several_sizes(drawn: list[GoldenFile]) -> None:
    pictures = [Image.open(io.BytesIO(file.data)) for file in drawn]
    assert len(drawn) >= AT_LEAST
    assert {picture.format for picture in pictures} == {"PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM"}
    assert {"1", "L", "P", "RGB", "RGBA", "I;16"} <= {picture.mode for picture in pictures}
    assert len({picture.size for picture in pictures}) >= 30
    assert any(picture.width < 40 for picture in pictures)
    assert any(picture.width >= 80 for picture in pictures)  # a box mean before the resize
    assert len({file.path for file in drawn}) == len(drawn)
    assert sum(len(file.data) for file in drawn) < 300_000


def test_swapped_channels_are_another_input_for_at_least_16(drawn: list[GoldenFile]) -> None:
    differing = [file for file in drawn if np.abs(file.tensor.astype(int) - file.tensor[..., ::-1]).mean() > 10]
    assert len(differing) >= 16


def test_no_two_are_the_same_input(drawn: list[GoldenFile]) -> None:
    assert len({file.tensor.tobytes() for file in drawn}) == len(drawn)


def test_each_is_one_that_a_device_would_answer(drawn: list[GoldenFile]) -> None:
    for file in drawn:
        check_assessable(decode(file.data, file.path), file.tensor)


def test_a_seed_draws_the_same_again_and_another_seed_others(drawn: list[GoldenFile]) -> None:
    assert [file.data for file in draw_golden_images(RGB, seed=0)] == [file.data for file in drawn]
    assert not {file.data for file in draw_golden_images(RGB, seed=1)} & {file.data for file in drawn}


def test_a_grey_model_gets_grey_inputs() -> None:
    assert {file.tensor.shape for file in draw_golden_images(InputSpec(30, 20, 1), seed=0)} == {(1, 30, 20, 1)}


def write_images(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (30, 30), np.uint8)).save(folder / f"patient {index:03}.PNG")


def test_images_of_a_folder_are_taken_in_name_order_and_lose_their_names(tmp_path: Path) -> None:
    write_images(tmp_path, AT_LEAST)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._a copy of macOS.png").write_bytes(b"no image")
    taken = take_golden_images(tmp_path, RGB)
    assert [file.path for file in taken] == [f"golden/{index:02}.png" for index in range(AT_LEAST)]
    assert taken[5].data == (tmp_path / "patient 005.PNG").read_bytes()


def test_too_few_broken_or_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="E-CONVERT-GOLDEN"):
        take_golden_images(tmp_path / "nowhere", RGB)
    write_images(tmp_path, AT_LEAST - 1)
    with pytest.raises(ConvertError, match=f"E-CONVERT-GOLDEN: .* has {AT_LEAST - 1} images"):
        take_golden_images(tmp_path, RGB)
    (tmp_path / "zz.png").write_bytes(b"GIF89a")
    with pytest.raises(ConvertError, match=r"E-CONVERT-GOLDEN: .*zz\.png: .*E-IMAGE-FORMAT"):
        take_golden_images(tmp_path, RGB)


def test_drawn_images_of_16_bits_reach_as_far_as_the_model_s_do() -> None:
    full = draw_golden_images(RGB, seed=0)
    twelve = draw_golden_images(msgspec.structs.replace(RGB, grey_max=4095), seed=0)
    assert [file.path for file in twelve] == [file.path for file in full]
    changed = [k for k in range(len(full)) if twelve[k].data != full[k].data]
    assert len(changed) == 12  # of three encodings
    assert max(int(np.abs(twelve[k].tensor.astype(int) - full[k].tensor).max()) for k in changed) <= 1


@pytest.mark.parametrize("window", [Window(-600, 1500), Window(40, 80), None])
def test_a_bundle_that_reads_dicom_proves_each_decoder_of_it(drawn: list[GoldenFile], window: Window | None) -> None:
    spec = msgspec.structs.replace(RGB, dicom=DicomSpec(window=window))
    files = draw_golden_images(spec, seed=0)
    more = files[len(drawn) :]
    assert [file.data for file in files[: len(drawn)]] == [file.data for file in drawn]
    found = [inspect(file.data) for file in more]
    assert {RLE, JPEG, JPEG_LS[0], JPEG_LS[1], JPEG_2000[0], *NATIVE} == {dicom.syntax for dicom in found}
    assert {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"} <= {dicom.photometric for dicom in found}
    assert {(dicom.signed, dicom.stored) for dicom in found} >= {(True, 12), (True, 16), (False, 12), (False, 16), (False, 8)}
    assert len({file.tensor.tobytes() for file in files}) == len(files)
    for file in more:
        check_assessable(decode(file.data, file.path, spec), file.tensor)


def test_another_window_makes_other_inputs_of_grey_dicom_files() -> None:
    spec, other = (msgspec.structs.replace(RGB, dicom=DicomSpec(window=Window(centre, 1500))) for centre in (-600, -590))
    for file in draw_golden_images(spec, seed=0)[DRAWN:]:
        changed = model_input(decode(file.data, file.path, other), other)
        assert (changed != file.tensor).any() == (inspect(file.data).samples == 1)
