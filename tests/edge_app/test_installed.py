"""How much room limiar takes on a device, by the lists of files that its installer left."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from boards import write
from limiar.edge_app.bench import installed
from limiar.edge_app.bench.installed import Installed


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, the only one that is searched, and a limiar of 1,000 bytes."""
    write(tmp_path / "limiar" / "cli.py", "x" * 1000)
    monkeypatch.setattr(installed, "_OWN", tmp_path / "limiar")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    return tmp_path / "site"


def package(site: Path, name: str, needs: tuple[str, ...] = (), files: Mapping[str, int] | None = None) -> None:
    """files: as RECORD lists them, and their sizes; None: there is no RECORD, as apt does it."""
    about = site / f"{name.replace('-', '_')}-1.0.dist-info"
    write(
        about / "METADATA", "".join([f"Metadata-Version: 2.1\nName: {name}\n", *(f"Requires-Dist: {line}\n" for line in needs)])
    )
    for path, size in (files or {}).items():
        write(site / path, "x" * size)
    if files is not None:
        write(about / "RECORD", "".join(f"{path},,\n" for path in files))


def test_what_several_need_counts_once_and_a_runtime_by_itself(site: Path) -> None:
    package(site, "limiar", ("ai-edge-litert>=2", "numpy<3,>=1.24", "Pillow", "tensorflow; extra == 'train'"), {})
    package(site, "numpy", (), {"numpy/core.so": 30_000, "../bin/f2py": 200})
    package(site, "pillow", ("numpy",), {"PIL/Image.py": 4000})
    package(site, "tensorflow", (), {"tensorflow/all.so": 10**6})
    package(site, "ai-edge-litert", ("numpy", "flat_buffers", "odd; python_version < '3'"), {"ai_edge_litert/lib.so": 500_000})
    package(site, "flat-buffers", (), {"flatbuffers.py": 70})
    package(site, "onnxruntime", ("flat.buffers",), {"onnxruntime/lib.so": 600_000})
    runtimes = {"litert": 500_070, "onnxruntime": 600_070}
    assert installed.installed(["litert", "onnxruntime", "litert"]) == Installed(35_200, runtimes, ())


def test_a_listed_file_that_is_gone_does_not_count(site: Path) -> None:
    package(site, "limiar", ("numpy",), {})
    package(site, "numpy", (), {"numpy/core.so": 30_000, "numpy/tests.py": 99})
    (site / "numpy/tests.py").unlink()
    assert installed.installed([]) == Installed(31_000, {}, ())


def test_a_package_without_a_list_of_its_files_is_named(site: Path) -> None:
    package(site, "limiar", ("numpy",), {})
    package(site, "numpy")
    assert installed.installed([]) == Installed(1000, {}, ("numpy",))


def test_limiar_itself_counts_wherever_its_code_is(site: Path) -> None:
    """An editable install has only a link in its list."""
    package(site, "limiar", (), {"_limiar.pth": 5})
    (site.parent / "elsewhere").mkdir()
    (site.parent / "elsewhere" / "worker.py").write_bytes(bytes(500))
    (site.parent / "limiar" / "edge_app").symlink_to(site.parent / "elsewhere")
    assert installed.installed([]) == Installed(1500, {}, ())


def test_if_it_was_not_installed_nothing_is_said(site: Path) -> None:
    assert installed.installed(["litert"]) is None
