"""What a conversion says of whole pictures: by which window devices read DICOM, and into which tiles they cut."""

import msgspec
import pytest

from limiar.convert.conversion import convert_model
from limiar.convert.pipeline import _tiles
from limiar.convert.source.origin import RunFolder
from limiar.convert.source.source_model import read_source
from limiar.edge_app.bundle.manifest import DicomSpec, TileSpec, Window
from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.errors import ConvertError

WINDOW = DicomSpec(window=Window(-600, 1500))


@pytest.fixture
def dicom_run(edited_run, run):
    """The RUN as if it had been trained on DICOM images."""
    from limiar.train.record.run_folder import read_run

    return edited_run(input=msgspec.structs.replace(read_run(run).input, dicom=WINDOW))


def test_a_run_of_png_patches_becomes_a_bundle_that_reads_dicom_in_tiles(limiar_convert, few_files, run, tmp_path):
    few_files()
    words = ["--dicom-window", "-600,1500", "--tiles", "24,8", "--require", "tflite_fp32"]
    done = limiar_convert(run, "--out", tmp_path / "out", *words)
    assert done.exception is None, done.output
    manifest = open_bundle(tmp_path / "out").manifest
    assert (manifest.input.dicom, manifest.tiles) == (WINDOW, TileSpec(size=24, stride=8, sought="pos"))
    for page in ("MODEL_CARD.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "dicom-v1 with window -600,1500" in text
        assert "tiles of 24x24 pixels, one every 8, searched for pos" in text


def test_the_run_s_own_window_is_taken_and_another_one_is_a_usage_error(limiar_convert, dicom_run, tmp_path):
    assert read_source(RunFolder(dicom_run), seed=0).input.dicom == WINDOW
    assert read_source(RunFolder(dicom_run, dicom=WINDOW), seed=0).input.dicom == WINDOW
    for other in ("file", "-600,1400"):
        done = limiar_convert(dicom_run, "--out", tmp_path / "out", "--dicom-window", other)
        assert done.exception.__class__.__name__ == "UsageError"
        assert "the RUN was trained with -600,1500" in done.exception.message
    with pytest.raises(TypeError, match="the RUN was trained with -600,1500"):
        convert_model(dicom_run, out=tmp_path / "out", dicom_window="file")
    assert not (tmp_path / "out").exists()


class Asked(msgspec.Struct):
    """As much of a request as tiles are made of, and of a source."""

    tiles: tuple[int, int] | None = (40, 8)
    sought: str | None = None
    labels: tuple[str, ...] = ("cyst", "none", "scar")
    positive: str | None = None


@pytest.mark.parametrize("sought", [None, "lung"])
def test_with_more_labels_than_two_the_sought_one_must_be_said(sought):
    asked = Asked(sought=sought)
    with pytest.raises(ConvertError, match="--sought with one of cyst, none, scar") as refused:
        _tiles(asked, asked)
    assert refused.value.code == "E-TILES-SOUGHT"
    chosen = Asked(sought="scar")
    assert _tiles(chosen, chosen) == TileSpec(size=40, stride=8, sought="scar")
