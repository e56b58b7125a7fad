"""What `limiar bench --save-best` keeps decides which model file answers, and whatever is wrong with it, the device answers."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import limiar as api
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.inference.session import open_session
from limiar.edge_app.runtimes import installed_runtimes
from limiar.edge_app.store.profile import Hardware, Profile, RunnerUp, load_profile, profile_path, save_profile
from verified_bundles import written

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]

HERE = installed_runtimes("tflite")[0]
DEFAULT, FAST = "tflite_int8", "tflite_fp32"  # the tiny bundle's default file, and the one that these profiles choose
CURE = ": measure again with `limiar bench BUNDLE --save-best`, or delete it"


def profile_of(bundle: Bundle) -> Profile:
    return Profile(
        bundle=bundle.sha256,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        file=FAST,
        runtime=HERE.name,
        runtime_version=HERE.version,
        threads=1,
        p50_us=210.5,
        runner_up=RunnerUp(DEFAULT, HERE.name, 1, 230.0),
        measured="2026-11-27T09:00:00.000Z",
        app="limiar 0.1.0",
        machine=Hardware.here(),
    )


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of `limiar` in tests, and of this process."""
    monkeypatch.setenv("LIMIAR_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def profile(tiny_bundle: Bundle, state: Path) -> Profile:
    """A profile that is kept and fits."""
    found = profile_of(tiny_bundle)
    save_profile(state, found)
    return found


def files(done: "subprocess.CompletedProcess[bytes]") -> set[tuple[str, str]]:
    """The model files and runtimes that answered."""
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {(line["file"], line["runtime"]) for line in lines}


def answers(file: str) -> set[tuple[str, str]]:
    return {(file, str(HERE))}


def test_what_was_kept_is_found_again_under_the_bundles_hash(profile: Profile, tiny_bundle: Bundle, state: Path) -> None:
    assert load_profile(state, tiny_bundle) == profile
    assert profile_path(state, tiny_bundle.sha256) == state / "profiles" / f"{tiny_bundle.sha256}.json"
    better = msgspec.structs.replace(profile, file=DEFAULT, runner_up=None)
    assert save_profile(state, better).parent == state / "profiles"
    assert load_profile(state, tiny_bundle) == better


def test_without_a_profile_the_bundle_chooses_and_nothing_is_said(
    tiny_bundle: Bundle, tiny_path: Path, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load_profile(state, tiny_bundle) is None
    assert open_session(tiny_path).file.name == DEFAULT
    assert capfd.readouterr() == ("", "")


def test_a_scan_takes_it_and_says_so(profile: Profile, limiar: Limiar, tiny_path: Path, images: Path) -> None:
    done = limiar("scan", tiny_path, images, "--verbose")
    assert files(done) == answers(FAST)
    (line,) = (line for line in done.stderr.decode().splitlines() if "chosen" in line)
    assert f"{FAST} on {HERE}, verified by bundle, chosen by limiar bench on 2026-11-27; refer below 0.95; " in line


@pytest.mark.parametrize(
    "asked", [("--file", DEFAULT), ("--runtime", HERE.name), ("--threads", "1")], ids=["file", "runtime", "threads"]
)
def test_whatever_is_asked_for_sets_the_whole_profile_aside(
    profile: Profile, limiar: Limiar, tiny_path: Path, images: Path, asked: tuple[str, str]
) -> None:
    done = limiar("scan", tiny_path, images, "--verbose", *asked)
    assert files(done) == answers(DEFAULT)
    assert b"chosen by" not in done.stderr


def test_the_library_and_the_camera_take_it_too(
    profile: Profile, limiar: Limiar, tiny_path: Path, images: Path, video: Path, tmp_path: Path
) -> None:
    assert files(limiar("camera", tiny_path, f"video:{video}")) == answers(FAST)
    assert {line.file for line in api.scan(tiny_path, [images], db=tmp_path / "own.db")} == {FAST}
    with api.open_classifier(tiny_path) as classify:
        assert classify.origin.file == FAST
    with api.open_classifier(tiny_path, threads=1) as classify:
        assert classify.origin.file == DEFAULT


def test_explain_shows_the_answer_of_a_scan(
    limiar: Limiar, mapped_path: Path, images: Path, state: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(mapped_path)
    other = next(name for name, file in bundle.manifest.models.items() if file.model and name != DEFAULT and "tflite" in name)
    save_profile(state, msgspec.structs.replace(profile_of(bundle), file=other))
    done = limiar("explain", mapped_path, images / "00000.png", "--out", tmp_path / "why.png", "--json")
    assert files(done) == answers(other)


def test_the_commands_that_prove_a_bundle_look_at_all_of_it(profile: Profile, limiar: Limiar, tiny_path: Path) -> None:
    checks = json.loads(limiar("verify", tiny_path, "--json").stdout)["checks"]
    assert {DEFAULT, FAST} <= {check["file"] for check in checks}


@pytest.mark.parametrize(
    ("cores", "measured", "workers", "each"),
    [(4, 4, 1, 4), (4, 4, 2, 2), (4, 2, 2, 2), (4, 4, 3, 1), (4, 1, 8, 1)],
)
def test_workers_share_the_cores(tiny_bundle: Bundle, cores: int, measured: int, workers: int, each: int) -> None:
    machine = msgspec.structs.replace(Hardware.here(), cores=cores)
    profile = msgspec.structs.replace(profile_of(tiny_bundle), threads=measured, machine=machine)
    assert profile.threads_of(workers) == each


def test_its_threads_are_those_of_the_session(profile: Profile, tiny_path: Path, state: Path) -> None:
    cores = profile.machine.cores
    save_profile(state, msgspec.structs.replace(profile, threads=cores))
    session = open_session(tiny_path)
    assert session.model.threads == cores
    assert (f"{HERE}, {cores} threads, " in session.describe(session.origin(HERE.name, HERE.version))) == (cores > 1)
    assert open_session(tiny_path, workers=cores).model.threads == 1
    assert open_session(tiny_path, file=FAST).model.threads == 1


Change = Callable[[dict[str, Any]], Any]

UNFIT: dict[str, tuple[Change, str]] = {
    "another bundle's": (lambda kept: kept | {"bundle": "0" * 64}, "it is another bundle's"),
    "a file that the bundle lacks": (lambda kept: kept | {"file": "tflite_int4"}, "the bundle has no model file tflite_int4"),
    "a runtime for other files": (lambda kept: kept | {"runtime": "onnxruntime"}, f"onnxruntime does not read {FAST}"),
    "no such runtime": (lambda kept: kept | {"runtime": "torch\x1b[2J"}, f"torch\\x1b[2J does not read {FAST}"),
    "another version of the runtime": (
        lambda kept: kept | {"runtime_version": "0.0.1"},
        f"{HERE.name} 0.0.1 was measured, and {HERE.version} is installed",
    ),
    "another processor": (
        lambda kept: kept | {"machine": kept["machine"] | {"cpu": "Cortex-A53"}},
        f"it was measured on another machine (cpu: Cortex-A53, here {Hardware.here().cpu})",
    ),
    "another board": (
        lambda kept: kept | {"machine": kept["machine"] | {"board": "Raspberry Pi 3"}},
        f"it was measured on another machine (board: Raspberry Pi 3, here {Hardware.here().board or 'unknown'})",
    ),
    "more cores": (
        lambda kept: kept | {"machine": kept["machine"] | {"cores": 64}},
        f"it was measured on another machine (cores: 64, here {Hardware.here().cores})",
    ),
    "without its vector units": (
        lambda kept: kept | {"machine": kept["machine"] | {"features": []}},
        "it was measured on another machine (features: ",
    ),
    "an unknown schema": (lambda kept: kept | {"schema": 2}, "it is not a profile (Invalid enum value 2 - at `$.schema`)"),
    "an unknown key": (lambda kept: kept | {"speed": 9}, "it is not a profile (Object contains unknown field `speed`)"),
    "too many threads": (lambda kept: kept | {"threads": 65}, "it is not a profile (Expected `int` <= 64 - at `$.threads`)"),
    "no time": (lambda kept: kept | {"measured": "\x1b[2J"}, "it is not a profile (Expected `str` matching regex"),
    "not an object": (lambda kept: [kept], "it is not a profile (Expected `object`, got `array`)"),
}


def warned(done: "subprocess.CompletedProcess[bytes]", path: Path, met: str) -> None:
    """Asserts that the bundle's own file answered, after one warning."""
    assert files(done) == answers(DEFAULT)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"Warning: {path} is not used: {met}")
    assert line.endswith(CURE)


@pytest.mark.parametrize(("change", "met"), UNFIT.values(), ids=UNFIT)
def test_one_that_does_not_fit_is_ignored_with_one_warning(
    profile: Profile, limiar: Limiar, tiny_path: Path, images: Path, state: Path, change: Change, met: str
) -> None:
    path = profile_path(state, profile.bundle)
    path.write_text(json.dumps(change(json.loads(path.read_bytes()))))
    warned(limiar("scan", tiny_path, images, "--quiet", "--jsonl", "-"), path, met)


DAMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is not a profile (Input data was truncated)"),
    "cut off": (b'{"schema": 1, "bun', "it is not a profile (Input data was truncated)"),
    "not text": (b"\xff" * 400, "it is not a profile (JSON is malformed"),
    "nested past any parser": (b'{"x":' * 3000, "it is not a profile ("),
    "too large": (b" " * 20_001, "over 0.02 MB, which is the limit"),
}


@pytest.mark.parametrize(("data", "met"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_ignored_with_one_warning(
    profile: Profile, limiar: Limiar, tiny_path: Path, images: Path, state: Path, data: bytes, met: str
) -> None:
    path = profile_path(state, profile.bundle)
    path.write_bytes(data)
    warned(limiar("scan", tiny_path, images, "--quiet", "--jsonl", "-"), path, met)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_a_plain_file_is_read(
    profile: Profile, limiar: Limiar, tiny_path: Path, images: Path, state: Path, tmp_path: Path, kind: str
) -> None:
    path = profile_path(state, profile.bundle)
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    met = {"link": "a link, not a plain file", "fifo": "a FIFO, socket or device, ", "folder": "Is a directory"}[kind]
    warned(limiar("scan", tiny_path, images, "--quiet", "--jsonl", "-"), path, met)


def test_a_runtime_that_is_gone_is_said(
    profile: Profile, tiny_bundle: Bundle, state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("limiar.edge_app.store.profile.installed_runtimes", list)
    assert load_profile(state, tiny_bundle) is None
    assert f"{HERE.name} is not installed{CURE}" in capfd.readouterr().err


def test_one_whose_file_gives_other_answers_here_is_ignored(
    limiar: Limiar, tiny_bundle: Bundle, images: Path, state: Path, tmp_path: Path
) -> None:
    def moved(golden: dict[str, Any]) -> None:
        golden["logits"][FAST][0][0] += 1.0

    bundle = open_bundle(written(tmp_path / "wrong", tiny_bundle, (), moved))
    path = save_profile(state, profile_of(bundle))
    done = limiar("scan", bundle.path, images)
    assert files(done) == answers(DEFAULT)
    (line,) = (line for line in done.stderr.decode().splitlines() if line.startswith("Warning: "))
    met = f"{FAST} was not verified with {HERE} on {os.uname().machine}, and its golden images do not pass there (logits "
    assert line.startswith(f"Warning: {path} is not used: {met}")
    assert line.endswith(CURE)


def test_its_file_is_verified_here_before_it_answers(
    limiar: Limiar, tiny_bundle: Bundle, images: Path, state: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(written(tmp_path / "unseen", tiny_bundle, ()))
    save_profile(state, profile_of(bundle))
    first, second = (limiar("scan", bundle.path, images) for _ in range(2))
    assert files(first) == files(second) == answers(FAST)
    assert b"its golden images pass there" in first.stderr
    assert b"golden" not in second.stderr
    assert {json.loads(line)["verified"] for line in second.stdout.splitlines()} == {"device"}


def test_without_a_home_folder_there_is_none(tiny_bundle: Bundle, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIMIAR_STATE", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert open_session(tiny_path).profile is None


def test_the_doctor_lists_profiles_and_says_which_are_not_used(profile: Profile, limiar: Limiar, state: Path) -> None:
    old = msgspec.structs.replace(profile, bundle="f" * 64, name="older", runtime_version="0.0.1")
    save_profile(state, old)
    (state / "profiles" / "garbled.json").write_bytes(b"{")
    said = limiar("doctor").stdout.decode()
    rows = {row for row in said.splitlines() if row.startswith("profile ")}
    assert len(rows) == 2
    used, unused = sorted(rows, key=lambda row: "not used" in row)
    assert used.endswith(f"tiny 0.1.0: {FAST} on {HERE}, 1 thread, chosen by limiar bench on 2026-11-27")
    assert unused.endswith(f"; not used: {HERE.name} 0.0.1 was measured, and {HERE.version} is installed")
    found = json.loads(limiar("doctor", "--json").stdout)["profiles"]
    assert {(one["profile"]["bundle"], bool(one["unfit"])) for one in found} == {(profile.bundle, False), (old.bundle, True)}
