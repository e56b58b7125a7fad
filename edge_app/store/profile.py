"""A device's profile for a bundle: the model file, runtime and threads that `limiar bench --save-best` found to be the fastest.

Commands that answer use it if nothing else is asked. It is a preference and no more: it names a file of the bundle and a
runtime, which are checked like any other, so whoever can write here cannot make a device load what the bundle does not hold. A
profile that does not fit is ignored with a warning: a device must go on answering. Without numpy, for the process that keeps
the store.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import click
import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict

from limiar.edge_app.bundle.manifest import Name, Sha256, Text
from limiar.edge_app.bundle.open import Bundle
from limiar.edge_app.errors import printable
from limiar.edge_app.runtimes import RUNTIMES, installed_runtimes
from limiar.edge_app.system.files import read_bounded, write_whole

_LIMIT = 20_000  # bytes; a profile has under 1,500
_MOST_SHOWN = 100  # profiles, in a folder that may hold anything

Threads = Annotated[int, Meta(ge=1, le=64)]  # as --threads
Microseconds = Annotated[float, Meta(gt=0.0)]
Time = Annotated[str, Meta(pattern=r"^-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]  # as clock.utc_now


class Hardware(Struct, frozen=True, forbid_unknown_fields=True):
    """What makes figures of one machine differ from those of another; an SD card may be moved."""

    board: Text | None
    cpu: Text
    architecture: Text
    cores: Annotated[int, Meta(ge=1)]  # those that the process may use
    features: tuple[Text, ...]

    @classmethod
    def here(cls) -> Self:
        """This machine."""
        from limiar.edge_app.system.machine import machine  # not needed without a profile

        seen = machine()
        return cls(seen.board, seen.cpu, seen.architecture, seen.cores, seen.features)

    def unlike(self, other: Self) -> str:
        """The first difference from another machine, for a person; empty if there is none."""
        for field, ours in asdict(self).items():
            if (theirs := getattr(other, field)) != ours:
                return f"{field}: {_words(ours)}, here {_words(theirs)}"
        return ""


class RunnerUp(Struct, frozen=True, forbid_unknown_fields=True):
    """The best that was not chosen."""

    file: Name
    runtime: Text
    threads: Threads
    p50_us: Microseconds


class Profile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """profiles/BUNDLE.json in the state folder."""

    schema: Literal[1] = 1
    bundle: Sha256  # of the manifest
    name: Name  # of the bundle, with its version: for a person
    version: Name
    file: Name  # of the bundle's model files
    runtime: Text
    runtime_version: Text
    threads: Threads
    p50_us: Microseconds  # from the bytes of an image to its answer
    runner_up: RunnerUp | None
    measured: Time  # UTC, by the device's clock
    app: Text
    machine: Hardware

    @property
    def chosen(self) -> str:
        """For a person: "chosen by limiar bench on 2026-11-27"."""
        return f"chosen by limiar bench on {self.measured.partition('T')[0]}"

    def threads_of(self, workers: int) -> int:
        """Inference threads for each of so many processes: those that were measured, unless the processor lacks the cores."""
        return max(1, min(self.threads, self.machine.cores // workers))


def profile_path(folder: Path, bundle_sha256: str) -> Path:
    """Where a bundle's profile is in the state folder."""
    return folder / "profiles" / f"{bundle_sha256}.json"


def save_profile(folder: Path, profile: Profile) -> Path:
    """Keeps a profile in the state folder, in place of the bundle's earlier one. Raises OSError."""
    path = profile_path(folder, profile.bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")
    return path


def load_profile(folder: Path, bundle: Bundle) -> Profile | None:
    """The bundle's profile in the state folder; None if there is none, or if it does not fit, which a warning says."""
    path = profile_path(folder, bundle.sha256)
    try:
        profile = _read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        met = (error.strerror or str(error)) if isinstance(error, OSError) else f"it {error}"
    else:
        met = _unlike(profile, bundle) or unfit(profile)
        if not met:
            return profile
    warn_unused(path, met)
    return None


def warn_unused(path: Path, met: str) -> None:
    """Says in one line why a profile is not used, and how to make it anew."""
    cure = "measure again with `limiar bench BUNDLE --save-best`, or delete it"
    click.echo(printable(f"Warning: {path} is not used: {met}: {cure}"), err=True)


def unfit(profile: Profile) -> str:
    """Why a profile does not fit this machine and what is installed on it; empty if it does."""
    installed = {found.name: found.version for found in installed_runtimes()}.get(profile.runtime)
    if installed is None:
        return f"{profile.runtime} is not installed"
    if installed != profile.runtime_version:
        return f"{profile.runtime} {profile.runtime_version} was measured, and {installed} is installed"
    moved = profile.machine.unlike(Hardware.here())
    return f"it was measured on another machine ({moved})" if moved else ""


def stored_profiles(folder: Path) -> Iterator[Profile]:
    """The profiles in the state folder that can be read, whatever they fit."""
    for path in sorted((folder / "profiles").glob("*.json"))[:_MOST_SHOWN]:
        try:
            yield _read(path)
        except (OSError, ValueError):
            continue  # the commands that would use it say why they do not


def _words(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value or "unknown")


def _read(path: Path) -> Profile:
    """Raises OSError, and ValueError if it is not a profile."""
    try:
        return msgspec.json.decode(read_bounded(path, _LIMIT), type=Profile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is not a profile ({' '.join(str(error).split())[:120]})") from None


def _unlike(profile: Profile, bundle: Bundle) -> str:
    """Why a profile is not this bundle's; empty if it is."""
    if profile.bundle != bundle.sha256:
        return "it is another bundle's"
    file = bundle.manifest.models.get(profile.file)
    if not file or not file.model:
        return f"the bundle has no model file {profile.file}"
    kind = RUNTIMES.get(profile.runtime)
    return "" if kind and kind.format == file.model.format else f"{profile.runtime} does not read {profile.file}"
