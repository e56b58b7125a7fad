"""docs/api.md's part for the desktop, as it is printed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import limiar


def test_the_page_runs_as_it_is_printed(
    project: Path,
    few_files: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few_files("tflite_int8")  # of the files that convert makes
    monkeypatch.chdir(tmp_path)
    page = (project / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```python desktop\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {"limiar": limiar}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("True [")
    assert said[1].startswith("('neg', 'pos') ")
    assert said[2].startswith("True [('tflite_fp32', '")
    assert limiar.verify(tmp_path / "bundle", limiar.read_keys("release.pub")).passed
    assert limiar.compare("bundle", "bundle").outcome == "same"
    assert [file.name for file in limiar.inspect("bundle").files] == ["tflite_fp32", "tflite_int8"]
