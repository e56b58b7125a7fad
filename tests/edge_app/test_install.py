"""`limiar install` and `limiar rollback`: what becomes current, and what never does."""

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from limiar.edge_app.bundle.archive import write_archive
from limiar.edge_app.bundle.open import Bundle, open_bundle
from limiar.edge_app.bundle.signature import Keys, public_half
from limiar.edge_app.control import QUESTIONS, SOCKET, AskAudit, AskReload, Done, Question, Refusal
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.install import proof, staging
from limiar.edge_app.install.current import current_bundle
from limiar.edge_app.install.install import Installed, install, roll_back
from limiar.edge_app.install.slots import Slots
from limiar.edge_app.runtimes import installed_runtimes
from limiar.edge_app.system.local_socket import Listener
from limiar.edge_app.system.process import state as state_of
from privileges import need_root
from updates import WRONG, public_file, release, wrong_answers

Limiar = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden images are not run: a test that uses this is about something else."""
    from limiar.edge_app.install import install as module

    monkeypatch.setattr(module, "prove", lambda bundle, file, runtime: proof.Proof("tflite_int8", "litert 0"))


def make_good(state: Path) -> None:
    slots = Slots(state)
    slots.start()
    slots.good()


def snapshot(state: Path) -> dict[str, bytes]:
    """Every file below bundles/, and where the link leads; without locks."""
    files = {str(path.relative_to(state)): path for path in sorted((state / "bundles").rglob("*"))}
    return {
        name: os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        for name, path in files.items()
        if (path.is_symlink() or path.is_file()) and not name.endswith(".lock")
    }


def refused(state: Path, source: Path, code: str, **options: object) -> str:
    """Checks that an installation is refused with a code, and that nothing was changed; returns the message."""
    before = snapshot(state) if (state / "bundles").exists() else {}
    with pytest.raises(LimiarError) as met:
        install(state, source, **options)
    assert met.value.code == code, met.value
    assert snapshot(state) == before
    return met.value.message


def test_the_first_bundle_is_on_trial_and_has_nothing_to_fall_back_to(tmp_path: Path, state: Path, tiny_path: Path) -> None:
    done = install(state, tiny_path)
    assert (done.slot, done.already, done.file, done.fall_back) == ("a", False, "tflite_int8", None)
    assert done.runtime.split()[0] in ("litert", "tflite-runtime")
    assert open_bundle(current_bundle(state)).sha256 == open_bundle(tiny_path).sha256 == done.bundle
    assert Slots(state).status().current.tries_left == 3
    assert not (state / "bundles" / "staging").exists()


def test_a_newer_one_takes_the_other_slot_and_the_one_before_can_come_back(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, believed: None
) -> None:
    install(state, release(tmp_path / "1", tiny_bundle, 1))
    make_good(state)
    done = install(state, release(tmp_path / "2", tiny_bundle, 2))
    assert (done.slot, done.fall_back) == ("b", "tiny 0.1.0")
    make_good(state)
    back = roll_back(state)
    assert (back.version, current_bundle(state).name) == ("0.1.0", "a")
    assert roll_back(state).version == "0.2.0"  # and forward again
    assert Slots(state).start().path.name == "b"


def test_the_same_bundle_again_changes_nothing(state: Path, tiny_path: Path, believed: None) -> None:
    install(state, tiny_path)
    before = snapshot(state)
    assert install(state, tiny_path).already
    assert snapshot(state) == before


def test_the_same_bundle_again_repairs_a_damaged_one(state: Path, tiny_path: Path, believed: None) -> None:
    install(state, tiny_path)
    (current_bundle(state) / "tflite_int8.tflite").write_bytes(b"damaged")
    assert not install(state, tiny_path).already
    assert open_bundle(current_bundle(state))


def test_an_older_one_is_refused_and_so_is_another_one_of_the_same_counter(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, believed: None
) -> None:
    install(state, release(tmp_path / "2", tiny_bundle, 2))
    refused(state, release(tmp_path / "1", tiny_bundle, 1), "E-UPDATE-OLDER")
    other = release(tmp_path / "2b", tiny_bundle, 2, default="tflite_fp32")
    assert "--release-counter" in refused(state, other, "E-UPDATE-SAME")


def test_the_floor_rises_only_with_a_good_bundle_and_outlives_a_roll_back(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, believed: None
) -> None:
    releases = [release(tmp_path / str(counter), tiny_bundle, counter) for counter in range(6)]
    install(state, releases[1])
    make_good(state)
    install(state, releases[5])
    slots = Slots(state)
    slots.start()
    assert slots.fail("it crashed")
    install(state, releases[3])  # newer than any that was good
    make_good(state)
    roll_back(state)
    refused(state, releases[2], "E-UPDATE-OLDER")
    install(state, releases[4])


def test_a_newer_one_takes_the_place_of_one_on_trial_and_the_good_one_stays(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, believed: None
) -> None:
    install(state, release(tmp_path / "1", tiny_bundle, 1))
    make_good(state)
    assert install(state, release(tmp_path / "2", tiny_bundle, 2)).slot == "b"
    done = install(state, release(tmp_path / "3", tiny_bundle, 3))
    assert (done.slot, done.fall_back) == ("b", "tiny 0.1.0")


def test_there_is_no_way_back_to_a_bundle_that_was_never_good(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, believed: None
) -> None:
    install(state, release(tmp_path / "1", tiny_bundle, 1))
    with pytest.raises(LimiarError, match="E-UPDATE-BACK"):
        roll_back(state)
    install(state, release(tmp_path / "2", tiny_bundle, 2))
    with pytest.raises(LimiarError, match="E-UPDATE-BACK"):
        roll_back(state)


def test_the_first_key_is_kept_and_later_bundles_need_it_without_being_asked(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, key: Ed25519PrivateKey, believed: None
) -> None:
    other = Ed25519PrivateKey.generate()
    done = install(state, release(tmp_path / "1", tiny_bundle, 1, key), Keys((public_half(key),)))
    assert done.signed_by == public_half(key).fingerprint
    refused(state, release(tmp_path / "2", tiny_bundle, 2), "E-BUNDLE-SIGNATURE-MISSING")
    foreign = release(tmp_path / "3", tiny_bundle, 3, other)
    refused(state, foreign, "E-BUNDLE-SIGNATURE-WRONG")
    refused(state, foreign, "E-UPDATE-KEY", keys=Keys((public_half(other),)))
    public_file(state / "bundles" / "keys" / "next.pub", other)  # by hand
    assert install(state, foreign).signed_by == public_half(other).fingerprint


def test_a_revoked_key_stays_revoked(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, key: Ed25519PrivateKey, believed: None
) -> None:
    stolen = Ed25519PrivateKey.generate()
    both = Keys((public_half(key), public_half(stolen)), (public_half(stolen),))
    install(state, release(tmp_path / "1", tiny_bundle, 1, key), both)
    refused(state, release(tmp_path / "2", tiny_bundle, 2, stolen), "E-BUNDLE-SIGNATURE-REVOKED")


def test_a_key_that_signed_nothing_here_is_not_kept(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, key: Ed25519PrivateKey, believed: None
) -> None:
    unsigned = release(tmp_path / "1", tiny_bundle, 1)
    refused(state, unsigned, "E-BUNDLE-SIGNATURE-MISSING", keys=Keys((public_half(key),)))
    install(state, unsigned)


@pytest.mark.parametrize("packed", [False, True])
def test_golden_images_that_differ_refuse_the_bundle(
    tmp_path: Path, state: Path, tiny_path: Path, tiny_bundle: Bundle, packed: bool
) -> None:
    install(state, tiny_path)
    bad = release(tmp_path / "bad", tiny_bundle, 2, **wrong_answers(tiny_bundle))
    if packed:
        write_archive(open_bundle(bad), tmp_path / "bad.limiar")
        bad = tmp_path / "bad.limiar"
    assert "logits differ" in refused(state, bad, "E-UPDATE-ANSWERS")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("three_outputs", "E-RUNTIME-MODEL"),
        ("two_inputs", "E-RUNTIME-INPUT"),
        ("not_a_number", "E-RUNTIME-MODEL"),
        ("endless", "E-UPDATE-TIME"),
    ],
)
def test_a_model_that_is_not_what_the_manifest_says_refuses_the_bundle(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, what: str, code: str
) -> None:
    if not installed_runtimes("onnx"):
        pytest.skip("needs onnxruntime")
    monkeypatch.setattr(proof, "PROOF_S", 5.0)
    data = (WRONG / f"{what}.onnx").read_bytes()
    bad = release(tmp_path / "bad", tiny_bundle, 1, default="onnx_fp32", onnx_fp32=data)
    refused(state, bad, code)


def _with_trial(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(proof, "python_m", lambda *words: [sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("met", "code"),
    [
        ("import os; os.kill(os.getpid(), 11)", "E-UPDATE-CRASH"),
        ("import os; os.kill(os.getpid(), 9)", "E-UPDATE-MEMORY"),  # as the kernel does when memory runs out
        ("x = bytearray(3 << 30); x[::4096] = b'x' * len(x[::4096])", "E-UPDATE-MEMORY"),
        ("import time; time.sleep(100)", "E-UPDATE-TIME"),
        ("import sys; sys.exit('E-BUNDLE-GOLDEN: no logits')", "E-BUNDLE-GOLDEN"),
        ("import sys; sys.exit('E-RUNTIME-MISSING: not installed')", "E-RUNTIME-MISSING"),
        ("import sys; sys.exit(7)", "E-UPDATE-ANSWERS"),
    ],
)
def test_whatever_happens_to_the_process_that_runs_the_golden_images_nothing_changes(
    state: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch, met: str, code: str
) -> None:
    monkeypatch.setattr(proof, "PROOF_S", 3.0)
    _with_trial(monkeypatch, met)
    refused(state, tiny_path, code)


def test_the_process_that_runs_the_golden_images_ends_with_a_killed_install(
    tmp_path: Path, state: Path, tiny_bundle: Bundle
) -> None:
    if not installed_runtimes("onnx"):
        pytest.skip("needs onnxruntime")
    endless = (WRONG / "endless.onnx").read_bytes()
    bad = release(tmp_path / "bad", tiny_bundle, 1, default="onnx_fp32", onnx_fp32=endless)
    command = [sys.executable, "-P", "-m", "limiar", "install", str(bad), "--state", str(state)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until = time.monotonic() + 60
        while not (child := children.read_text().split()) and time.monotonic() < until:
            time.sleep(0.01)
        while "litert" not in (maps := Path(f"/proc/{child[0]}/maps").read_text()) and "onnx" not in maps:
            time.sleep(0.01)  # only after its first lines does it end with its parent
        process.kill()
    while state_of(int(child[0])) not in ("", "Z") and time.monotonic() < until:
        time.sleep(0.01)
    assert state_of(int(child[0])) in ("", "Z")


def test_two_installations_at_once_are_refused(state: Path, tiny_path: Path, believed: None) -> None:
    install(state, tiny_path)
    with (state / "bundles" / "install.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(state, tiny_path, "E-UPDATE-BUSY")


def test_without_space_for_it_nothing_is_copied(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, believed: None
) -> None:
    install(state, release(tmp_path / "1", tiny_bundle, 1))
    disk = os.statvfs(state)

    class Full:
        f_bavail, f_frsize = (4 << 20) // disk.f_frsize, disk.f_frsize

    monkeypatch.setattr(staging.os, "statvfs", lambda folder: Full)
    assert "MiB are free" in refused(state, release(tmp_path / "2", tiny_bundle, 2), "E-UPDATE-SPACE")


def test_what_a_killed_installation_left_is_removed_by_the_next(state: Path, tiny_path: Path, believed: None) -> None:
    for name in ("staging", ".b.123.old"):
        (state / "bundles" / name / "golden").mkdir(parents=True)
    (state / "bundles" / "current.next").symlink_to("nowhere")
    install(state, tiny_path)
    assert sorted(path.name for path in (state / "bundles").iterdir()) == [
        "a", "current", "install.lock", "slots.json", "slots.lock"
    ]  # fmt: skip


def test_a_service_that_falls_back_during_an_installation_keeps_its_bundle(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limiar.edge_app.install import install as module

    monkeypatch.setattr(module, "prove", lambda *asked: proof.Proof("tflite_int8", "litert 0"))
    install(state, release(tmp_path / "1", tiny_bundle, 1))
    make_good(state)
    install(state, release(tmp_path / "2", tiny_bundle, 2))
    slots = Slots(state)
    assert slots.start().path.name == "b"

    def fall_back(*asked: object) -> proof.Proof:
        assert slots.fail("it crashed")
        return proof.Proof("tflite_int8", "litert 0")

    monkeypatch.setattr(module, "prove", fall_back)
    done = install(state, release(tmp_path / "3", tiny_bundle, 3))
    assert (done.slot, done.fall_back) == ("b", "tiny 0.1.0")


def test_another_user_s_bundles_are_left_alone(state: Path, tiny_path: Path, believed: None) -> None:
    need_root()
    (state / "bundles").mkdir(parents=True)
    os.chown(state / "bundles", 12345, 12345)
    refused(state, tiny_path, "E-UPDATE-USER")


# Through the command.


def audited(state: Path) -> list[tuple[str, dict[str, str]]]:
    with contextlib.closing(sqlite3.connect(state / "results.db")) as db:
        return [(kind, json.loads(detail)) for kind, detail in db.execute("SELECT kind, detail FROM audit ORDER BY id")]


def test_the_commands_say_what_they_did_and_the_audit_log_keeps_it(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, limiar: Limiar, key: Ed25519PrivateKey
) -> None:
    public = public_file(tmp_path / "release.pub", key)
    first = limiar("install", release(tmp_path / "1", tiny_bundle, 1, key), "--key", public)
    assert first.returncode == 0, first.stderr
    assert b"tiny 0.1.0 is current and on trial: tflite_int8 passed on " in first.stdout
    assert b"there is nothing to fall back to" in first.stdout
    assert b"`limiar run` starts with this bundle" in first.stderr
    make_good(state)
    archive = tmp_path / "2.limiar"
    assert limiar("pack", release(tmp_path / "2", tiny_bundle, 2, key), "--out", archive).returncode == 0
    second = limiar("install", archive, "--json")
    assert second.returncode == 0, second.stderr
    assert msgspec.json.decode(second.stdout, type=Installed).fall_back == "tiny 0.1.0"
    again = limiar("install", archive)
    assert b"is current already" in again.stdout
    back = limiar("rollback")
    assert back.stdout == b"tiny 0.1.0 is current again\n", back.stderr
    kinds = [(kind, detail["version"]) for kind, detail in audited(state)]
    assert kinds == [("install", "0.1.0"), ("install", "0.2.0"), ("roll-back", "0.1.0")]


@pytest.mark.parametrize("refuses", [False, True])
def test_a_running_service_keeps_the_audit_log_and_starts_again_even_if_it_cannot_write_it(
    state: Path, tiny_path: Path, refuses: bool
) -> None:
    asked: list[Question] = []

    def answer(question: bytes) -> bytes:
        asked.append(QUESTIONS.decode(question))
        full = refuses and isinstance(asked[-1], AskAudit)
        return msgspec.json.encode(Refusal("E-STORE-FULL", "the disk is full") if full else Done())

    state.mkdir()
    command = [sys.executable, "-P", "-m", "limiar", "install", str(tiny_path), "--state", str(state)]
    with Listener(state / SOCKET, answer) as listener, subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        while process.poll() is None:
            listener.turn()
            time.sleep(0.01)
        said, errors = process.communicate()
    assert [type(question) for question in asked] == [AskAudit, AskReload]
    assert b"is current and on trial" in said
    assert (process.returncode, errors.partition(b":")[0]) == ((1, b"E-STORE-FULL") if refuses else (0, b""))
    assert not (state / "results.db").exists()  # the service alone writes it


def test_a_refusal_is_one_line_and_the_exit_status_1(tmp_path: Path, limiar: Limiar) -> None:
    done = limiar("install", tmp_path / "nothing.limiar")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"E-ARCHIVE-READ: ")
    assert done.stderr.count(b"\n") == 1
    assert limiar("rollback").stderr.startswith(b"E-UPDATE-NONE: ")


# What a bundle's folder may not be. open_bundle's own tests have more; here nothing of it may become current.


def _add(bundle: Path) -> None:
    (bundle / "more.txt").write_bytes(b"")


def _git(bundle: Path) -> None:
    (bundle / ".git" / "hooks").mkdir(parents=True)


def _remove(bundle: Path) -> None:
    (bundle / "tflite_int8.tflite").unlink()


def _link(bundle: Path) -> None:
    target = bundle / "tflite_int8.tflite"
    shutil.move(target, bundle.parent / "elsewhere")
    target.symlink_to(bundle.parent / "elsewhere")


def _twin(bundle: Path) -> None:
    shutil.copy(bundle / "tflite_int8.tflite", bundle / "TFLITE_INT8.tflite")


def _swap(bundle: Path) -> None:
    one, other = bundle / "tflite_int8.tflite", bundle / "tflite_fp32.tflite"
    one.rename(bundle.parent / "kept")
    other.rename(one)
    (bundle.parent / "kept").rename(other)


def _fifo(bundle: Path) -> None:
    _remove(bundle)
    os.mkfifo(bundle / "tflite_int8.tflite")


def _foreign_signature(bundle: Path) -> None:
    (bundle / "manifest.sig").write_bytes(bytes(64))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_add, "E-BUNDLE-UNLISTED"),
        (_git, "E-BUNDLE-UNLISTED"),
        (_remove, "E-BUNDLE-MISSING"),
        (_link, "E-BUNDLE-LINK"),
        (_twin, "E-BUNDLE-UNLISTED"),
        (_swap, "E-BUNDLE-SIZE"),
        (_fifo, "E-BUNDLE-NOT-FILE"),
        (_foreign_signature, "E-BUNDLE-SIGNATURE-WRONG"),
    ],
)
def test_a_changed_folder_is_refused(
    tmp_path: Path, state: Path, tiny_bundle: Bundle, key: Ed25519PrivateKey, believed: None, change: Callable, code: str
) -> None:
    bundle = release(tmp_path / "1", tiny_bundle, 1, key)
    change(bundle)
    refused(state, bundle, code, keys=Keys((public_half(key),)))


def test_a_source_that_changes_after_it_was_checked_is_refused(
    state: Path, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, believed: None
) -> None:
    def then_change(folder: Path, manifest: object) -> None:
        data = bytearray((tiny_copy / "onnx_fp32.onnx").read_bytes())
        data[50] ^= 1
        (tiny_copy / "onnx_fp32.onnx").write_bytes(data)

    from limiar.edge_app.install import install as module

    monkeypatch.setattr(module, "check_space", then_change)
    refused(state, tiny_copy, "E-BUNDLE-HASH")
