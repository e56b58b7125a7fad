"""`limiar convert --verify-repeatable`: made twice in two processes, published if every byte is the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from limiar.convert.defaults import CARD
from limiar.convert.gate.gate_file import read_gate
from limiar.convert.pipeline import Converted, ConvertRequest
from limiar.convert.publish.publish import bundle_files
from limiar.convert.publish.repeatable import Again, check_repeatable
from limiar.convert.source.origin import RunFolder
from limiar.edge_app.errors import ConvertError, LimiarError

Convert = Callable[..., Result]
Few = Callable[..., None]


def test_a_conversion_that_does_not_repeat_is_not_published(
    limiar_convert: Convert, few_files: Few, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_files("onnx_fp32")
    monkeypatch.setattr("limiar.convert.publish.publish.model_card", lambda report, card: b"another card in this process\n")
    result = limiar_convert(run, "--out", tmp_path / "out", "--verify-repeatable")
    assert isinstance(result.exception, LimiarError)
    assert result.exception.code == "E-CONVERT-REPEAT"
    assert "differ in MODEL_CARD.md, manifest.json, and nothing was written" in result.exception.message
    assert list(tmp_path.iterdir()) == []


def test_a_second_conversion_that_fails_is_said_with_its_reason(converted: Converted, tmp_path: Path) -> None:
    gone = ConvertRequest(
        origin=RunFolder(tmp_path / "gone"),
        golden=None,
        gate=read_gate(),
        name="small",
        version="1.0.0",
        licence="not stated",
        intended_use="Research and education, not for diagnosis.",
        seed=0,
    )
    with pytest.raises(ConvertError, match=r"the second conversion failed .*E-RUN-MISSING") as refused:
        check_repeatable(Again(gone, 1, CARD), bundle_files(converted, 1, 0, CARD))
    assert refused.value.code == "E-CONVERT-REPEAT"
