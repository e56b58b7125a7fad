"""scripts/release refuses what must not be released, in a repository of its own."""

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from limiar.edge_app.bundle.open import open_bundle
from limiar.edge_app.bundle.write import write_bundle
from wheelhouse import locked_for_devices

GIT = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main"]
Publish = Callable[..., None]


def git(repository: Path, *words: str) -> None:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run([*GIT, *words], cwd=repository, check=True, capture_output=True, env=environ)


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--allow-empty", "--message", "a step")


@pytest.fixture
def repository(project: Path, tmp_path: Path) -> Path:
    """A repository with the script and one bundle that passed, committed."""
    path = tmp_path / "repository"
    (path / "scripts").mkdir(parents=True)
    shutil.copy(project / ".gitignore", path)  # what Python compiles is no change
    for name in ("release", "_desktop.py", "wheelhouse.py", "environment.py"):
        shutil.copy(project / "scripts" / name, path / "scripts")
    git(path, "init")
    publish(path, project)
    commit(path)
    return path


def publish(repository: Path, project: Path, verdict: str = "PASS", **changes: object) -> None:
    """The reference bundle with another verdict in its report and other facts in its manifest."""
    source = open_bundle(project / "models" / "lung-nodule")
    contents = {file.path: source.read(file.path) for file in source.manifest.files}
    contents["report.json"] = msgspec.json.encode({"verdict": verdict})
    files = tuple(
        msgspec.structs.replace(file, bytes=len(contents[file.path]), sha256=hashlib.sha256(contents[file.path]).hexdigest())
        for file in source.manifest.files
    )
    manifest = msgspec.structs.replace(source.manifest, files=files, **changes)
    write_bundle(repository / "models" / "lung-nodule", manifest, contents)


def refused(repository: Path, *words: str | Path) -> str:
    """The line with which a release is refused. OUT exists already, so a release with no other fault is refused for that."""
    command = [sys.executable, repository / "scripts" / "release", repository.parent, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert re.fullmatch(r"E-[A-Z-]+: .*: .*\n", done.stderr), done.stderr
    return done.stderr


def refusal(repository: Path, *words: str | Path) -> str:
    """The code in that line."""
    return refused(repository, *words).partition(":")[0]


READY = "E-RELEASE-OUT"


def test_a_first_release_has_no_earlier_counter_to_pass(repository: Path) -> None:
    assert refusal(repository) == READY


@pytest.mark.parametrize("name", ["scripts/release", "notes.txt", "models/lung-nodule/x"])
def test_a_tree_with_changes_is_refused(repository: Path, name: str) -> None:
    with (repository / name).open("a") as file:
        file.write("\n# changed\n")
    assert refused(repository).startswith(f"E-RELEASE-DIRTY: 1 changed or untracked files, {name} first: ")


@pytest.mark.parametrize("verdict", ["REFUSED", "FAIL", "INCONCLUSIVE", "", "pass"])
def test_a_bundle_that_did_not_pass_its_gate_is_refused(repository: Path, project: Path, verdict: str) -> None:
    publish(repository, project, verdict)
    commit(repository)
    assert refusal(repository) == "E-RELEASE-GATE"


def test_a_bundle_that_does_not_open_is_refused(repository: Path) -> None:
    (repository / "models" / "lung-nodule" / "MODEL_CARD.md").write_text("another card")
    commit(repository)
    assert refusal(repository) == "E-BUNDLE-SIZE"


@pytest.mark.parametrize(("counter", "expected"), [(6, "E-RELEASE-COUNTER"), (7, "E-RELEASE-COUNTER"), (8, READY)])
def test_another_bundle_than_the_last_release_s_needs_a_higher_counter(
    repository: Path, project: Path, counter: int, expected: str
) -> None:
    publish(repository, project, release_counter=7)
    commit(repository)
    git(repository, "tag", "v0.1.0")
    publish(repository, project, release_counter=counter, version="0.2.0")
    commit(repository)
    assert refusal(repository) == expected
    git(repository, "tag", "v0.2.0")  # this release's own tag is not its predecessor
    assert refusal(repository) == expected
    git(repository, "tag", "notes")
    commit(repository)
    git(repository, "tag", "--delete", "v0.2.0")
    assert refusal(repository) == expected  # a tag of another kind is no release


def test_a_bundle_whose_folder_has_another_name_still_needs_a_higher_counter(repository: Path, project: Path) -> None:
    publish(repository, project, release_counter=7)
    commit(repository)
    git(repository, "tag", "v0.1.0")
    publish(repository, project, release_counter=6)
    (repository / "models" / "lung-nodule").rename(repository / "models" / "nodules")
    commit(repository)
    assert refusal(repository) == "E-RELEASE-COUNTER"


def test_the_last_release_s_bundle_may_be_released_again(repository: Path) -> None:
    git(repository, "tag", "v0.1.0")
    (repository / "more.txt").write_text("software alone has changed")
    commit(repository)
    assert refusal(repository) == READY


def test_a_clone_that_cannot_know_the_last_release_is_refused(repository: Path, tmp_path: Path) -> None:
    commit(repository)
    git(tmp_path, "clone", "--depth", "1", f"file://{repository}", str(tmp_path / "shallow"))
    assert refusal(tmp_path / "shallow") == "E-RELEASE-SHALLOW"


def test_a_key_that_others_may_read_is_refused(repository: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-P", "-m", "limiar", "keygen", str(tmp_path / "k")], check=True, capture_output=True)
    assert refusal(repository, "--sign", tmp_path / "k.key") == READY
    (tmp_path / "k.key").chmod(0o640)
    assert refusal(repository, "--sign", tmp_path / "k.key") == "E-KEY-MODE"


@pytest.fixture(scope="module")
def release(project: Path) -> dict[str, Any]:
    """The script's own functions."""
    return runpy.run_path(str(project / "scripts" / "release"))


def test_two_builds_of_a_commit_give_the_same_bytes_and_one_of_another_time_does_not(
    release: dict[str, Any], project: Path, tmp_path: Path
) -> None:
    if not (project / ".git").exists():
        pytest.skip("needs a git checkout")
    wheel = release["built_twice"](tmp_path, "HEAD", "1700000000")
    assert {path.name.partition("-")[0] + path.suffix for path in tmp_path.iterdir()} == {"limiar.whl", "limiar.gz"}
    with zipfile.ZipFile(wheel) as files:
        assert {Path(*Path(name).parts[:2]) for name in files.namelist()} >= {
            Path("limiar", package) for package in ("edge_app", "train", "convert")
        }
    later = release["build"](tmp_path / "later", "HEAD", "1700000060") / wheel.name
    assert later.read_bytes() != wheel.read_bytes()  # the control


def test_with_the_repository_s_address_the_package_s_page_links_there(
    release: dict[str, Any], project: Path, tmp_path: Path
) -> None:
    if not (project / ".git").exists():
        pytest.skip("needs a git checkout")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
    ).stdout.strip()
    built = release["build"](tmp_path, commit, "1700000000", "https://example.org/one/limiar")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        metadata = next(files.read(name).decode() for name in files.namelist() if name.endswith("METADATA"))
    assert "Project-URL: Repository, https://example.org/one/limiar\n" in metadata
    assert (
        f"![Generated CT-like patches, answered: green if decided, red if referred to a person](https://example.org/one/limiar/raw/{commit}/docs/scan.png)"
        in metadata
    )
    assert f"https://example.org/one/limiar/blob/{commit}/docs/errors.md" in metadata
    targets = re.findall(r"\]\(([^)\s]+)\)", metadata)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    # And so does one that somebody builds of the sdist.
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        sdist.extractall(tmp_path / "sdist", filter="data")
    (source,) = (tmp_path / "sdist").iterdir()
    command = [sys.executable, "-P", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "again")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(
    "url", ["example.org/limiar", "http://example.org/limiar", 'https://example.org/"x', "https://example.org"]
)
def test_an_address_that_is_none_is_wrong_usage(repository: Path, url: str) -> None:
    done = subprocess.run(
        [sys.executable, repository / "scripts" / "release", "out", "--url", url], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--url" in done.stderr


def test_the_list_of_what_a_device_gets_has_what_cyclonedx_asks_for(
    release: dict[str, Any], project: Path, tmp_path: Path
) -> None:
    for house in ("wheelhouse-cp311-aarch64", "wheelhouse-cp313-aarch64"):
        (tmp_path / house).mkdir()
        (tmp_path / house / "limiar-0.1.0-py3-none-any.whl").write_bytes(b"limiar")
        (tmp_path / house / "ai_edge_litert-2.3.0-cp3-cp3-manylinux_2_27_aarch64.whl").write_bytes(b"litert")
    shutil.copytree(project / "models" / "lung-nodule", tmp_path / "bundles" / "lung-nodule")
    limiar = tmp_path / "limiar-0.1.0-py3-none-any.whl"
    made = json.loads(msgspec.json.encode(release["sbom"](tmp_path, limiar, "0" * 40, 1_700_000_000)))
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    assert made["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    parts = [made["metadata"]["component"], *made["components"]]
    kinds = [(part["type"], part["name"]) for part in parts]
    vendored = json.loads((project / "edge_app/phone/vendor/vendor.json").read_text())["packages"]
    assert kinds == [
        ("application", "limiar"),
        ("library", "ai-edge-litert"),
        *(("library", package["name"]) for package in vendored),
        ("machine-learning-model", "lung-nodule"),
    ]
    assert parts[1]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"litert").hexdigest()}]
    assert parts[1]["purl"].startswith("pkg:pypi/ai-edge-litert@2.3.0?file_name=ai_edge_litert-2.3.0-cp3-")
    assert parts[2]["purl"] == f"pkg:npm/%40litertjs/core@{vendored[0]['version']}"
    (archive,) = parts[2]["hashes"]
    assert (archive["alg"], len(archive["content"])) == ("SHA-512", 128)
    assert len({part["bom-ref"] for part in parts}) == len(parts)


def test_a_wheelhouse_holds_what_a_device_needs_and_not_what_tests_need() -> None:
    entries = locked_for_devices()
    names = {entry.partition("==")[0] for entry in entries}
    assert {"ai-edge-litert", "cryptography", "cffi", "numpy", "onnxruntime", "flatbuffers", "pycparser"} <= names
    assert not {"pytest", "hypothesis", "execnet", "sortedcontainers", "tensorflow"} & names
    assert all("--hash=sha256:" in entry for entry in entries)
