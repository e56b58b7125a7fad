"""May a model file be used on this runtime? Yes if its bundle was verified there; otherwise only once its golden images pass.

The process that keeps the store asks this before anything is answered, and has no numpy: the golden images run in a separate
process (trial.py), which a model may crash or hang. A pass is recorded in limiar's state folder, under the bundle's hash.
"""

import os
from pathlib import Path
from typing import Literal

import click
import msgspec
from msgspec import Struct

from limiar.edge_app import APP
from limiar.edge_app.bundle.manifest import ModelFile
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import RuntimeUnavailable, StoreError, printable
from limiar.edge_app.store.state import state_folder
from limiar.edge_app.system.clock import utc_now
from limiar.edge_app.system.files import read_bounded, write_whole
from limiar.edge_app.system.python import python_m

VerifiedBy = Literal["bundle", "device"]  # the manifest lists it, or the golden images passed on this machine

_RECORD_LIMIT = 1 << 20  # bytes; each trial of a bundle has under 300
_TRIAL_S = 300.0  # for a few hundred golden images on the slowest board


class Trial(Struct, frozen=True, forbid_unknown_fields=True):
    """A model file whose golden images passed on a runtime of this machine."""

    file: str
    runtime: str
    version: str
    machine: str
    cpu: str  # an SD card that is moved to another board is tried again there
    app: str
    time: str  # UTC, by the device's clock


class Trials(Struct, frozen=True, forbid_unknown_fields=True):
    """verified/BUNDLE.json in the state folder."""

    bundle: str  # sha256 of the manifest
    trials: tuple[Trial, ...]


def verified_by(bundle: Bundle, model: ModelFile, runtime: str, version: str) -> VerifiedBy | None:
    """Who verified that this runtime and version give the file's answers on such a machine. None: not verified yet."""
    here = (runtime, version, _machine())
    if here in _listed(model):
        return "bundle"
    tried = (model.name, *here, _cpu())
    known = _read(bundle).trials
    return "device" if tried in {(one.file, one.runtime, one.version, one.machine, one.cpu) for one in known} else None


def ensure_verified(bundle: Bundle, model: ModelFile, runtime: str, version: str) -> VerifiedBy:
    """`verified_by`, after running the golden images if it was None. Raises RuntimeUnavailable if they do not pass."""
    known = verified_by(bundle, model, runtime, version)
    if known:
        return known
    unseen = f"{model.name} was not verified with {runtime} {version} on {_machine()}"
    met = _try(bundle, model.name, runtime)
    if met:
        met = f"{unseen}, and its golden images do not pass there ({met})"
        raise RuntimeUnavailable("E-RUNTIME-GOLDEN", f"{met}: {_cure(model, runtime)}")
    kept = _keep(bundle, Trial(model.name, runtime, version, _machine(), _cpu(), APP, utc_now()))
    click.echo(f"{unseen} before; its golden images pass there, {kept}", err=True)
    return "device"


def _listed(model: ModelFile) -> set[tuple[str, str, str]]:
    """Runtime, version and machine of the manifest's entries, without those with options: a device uses none."""
    return {(seen.runtime, seen.version, seen.machine) for seen in model.verified if not seen.options}


def _try(bundle: Bundle, file: str, runtime: str) -> str:
    """Runs the golden images in a separate process; returns what differs, or "" if they pass."""
    import subprocess  # not needed if the bundle was verified here

    command = python_m("limiar.edge_app.inference.trial", str(bundle.path), bundle.sha256, file, runtime, str(os.getpid()))
    try:
        # Not in the terminal's process group: the parent deals with Ctrl-C, which must not look like a crash here.
        done = subprocess.run(command, capture_output=True, timeout=_TRIAL_S, process_group=0, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer after {_TRIAL_S:.0f} s"
    if done.returncode < 0:
        return f"their process ended with {done.returncode}"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return printable(said[-1] if said else f"exit status {done.returncode}")[:300] if done.returncode else ""


def _cure(model: ModelFile, runtime: str) -> str:
    """What to do: install a version that was verified on such a machine, first of the same runtime."""
    fitting = sorted(_listed(model), key=lambda seen: (seen[0] != runtime, seen))
    names = [f"{name} {version}" for name, version, machine in fitting if machine == _machine()]
    other = "choose another --file or --runtime; `limiar verify BUNDLE` shows which pass"
    return f"install {' or '.join(names)}, as verified, or {other}" if names else other


def _keep(bundle: Bundle, trial: Trial) -> str:
    """Records a pass; returns how that went, for a person."""
    trials = Trials(bundle.sha256, (*_read(bundle).trials, trial))
    try:
        path = _path(bundle)
    except StoreError:
        return "but there is no home folder to record that in: set LIMIAR_STATE, or the next start will run them again"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(trials), indent=1) + b"\n")
    except OSError as error:  # the file passed and may be used, but the next start will not know
        return f"but {printable(str(path))} cannot be written ({error.strerror}): the next start will run them again"
    return "and will not be run again"


def _read(bundle: Bundle) -> Trials:
    """The recorded passes of this bundle; none if the record is missing, damaged or another bundle's."""
    try:
        found = msgspec.json.decode(read_bounded(_path(bundle), _RECORD_LIMIT), type=Trials)
    except (OSError, StoreError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Trials(bundle.sha256, ())
    return found if found.bundle == bundle.sha256 else Trials(bundle.sha256, ())


def _path(bundle: Bundle) -> Path:
    return state_folder() / "verified" / f"{bundle.sha256}.json"


def _machine() -> str:
    return os.uname().machine  # platform.machine(), without its import


def _cpu() -> str:
    from limiar.edge_app.system.machine import cpu_model  # not needed on a verified runtime

    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc
        info = ""
    return cpu_model(info)
