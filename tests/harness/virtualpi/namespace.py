"""Runs commands in a Debian root of this machine's architecture or, through QEMU, of another.

Each runs in its own user, mount and process namespaces: mounts, and the kernel's entry that hands foreign programs to QEMU
(binfmt_misc, one for each user namespace since Linux 6.7), are invisible elsewhere and disappear with it.
"""

import os
import platform
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from virtualpi import Failed, Unavailable

# An ELF file's first 20 bytes: 64 bits, little-endian, a program (2) or position-independent (3), for machine 0xb7 (aarch64)
# or, with 32 bits, 0x28 (arm). QEMU's scripts/qemu-binfmt-conf.sh has the same.
_MAGIC = {
    "aarch64": r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    "arm": r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
}
_MASK = {
    "aarch64": r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    "arm": r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
}
# $1 root, $2 folder for changes, $3 QEMU or nothing, $4 magic, $5 mask, $6 working folder, SOURCE TARGET … -- COMMAND …
_ENTER = r"""
set -eu
printf m >&"$READY"
read -r _ <&"$GO"
exec {GO}<&-
root=$1 changes=$2 qemu=$3 magic=$4 mask=$5 folder=$6
shift 6
if [ -n "$qemu" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    # F: QEMU is opened now and need not be in the root; P: it gets argv[0].
    printf ':limiar:M::%s:%s:%s:FP\n' "$magic" "$mask" "$qemu" >/proc/sys/fs/binfmt_misc/register
fi
mkdir -p "$changes/upper" "$changes/work" "$changes/root"
mount -t overlay -o "lowerdir=$root,upperdir=$changes/upper,workdir=$changes/work,userxattr" overlay "$changes/root"
root=$changes/root
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/run"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; touch "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
shift
printf e >&"$READY"
exec {READY}>&-
# --kill-child alone is not enough: the kernel drops it when the start of a program makes the process root.
exec setpriv --pdeathsig KILL chroot "$root" /usr/bin/env --chdir="$folder" "$@"
"""
# A part of the error of a command in _ENTER that a machine does not allow -> what to do.
_CURES = {
    "unshare failed": "let users make namespaces (sysctl kernel.unprivileged_userns_clone=1), or run it as root",
    "binfmt_misc": f"needs Linux 6.7, and this is {platform.release()}; on a newer one run it as root, outside of a container",
    "overlay": "set TMPDIR to a folder on ext4, XFS, Btrfs or tmpfs",
    "permission denied": "run it as root, outside of a container",
}
_stopped = threading.Event()
_running: "set[subprocess.Popen[str]]" = set()


@dataclass(frozen=True)
class Root:
    """A Debian root. What is written in it goes to `changes`; the root itself stays as it was."""

    path: Path
    changes: Path
    qemu: Path | None = None  # a static qemu-aarch64 or qemu-arm; None: programs of this machine
    cpu: str = "cortex-a72"  # as `qemu-aarch64 -cpu help` lists them
    arch: str = "aarch64"
    binds: Mapping[str, Path] = field(default_factory=dict)  # path in the root -> a file or folder here

    def run(
        self,
        *command: str | Path,
        environ: Mapping[str, str] | None = None,
        folder: str = "/",
        network: bool = True,
        timeout_s: float = 600,
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command as root. If it fails and `check` is set, raises Failed with the end of its output."""
        with self.start(*command, environ=environ, folder=folder, network=network) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise Failed(f"`{' '.join(map(str, command))}` did not end in {timeout_s:.0f} s") from None
        done = subprocess.CompletedProcess(list(command), process.returncode, out, err)
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()[-1500:]
            raise Failed(f"`{' '.join(map(str, command))}` ended with {done.returncode}:\n{said}")
        return done

    @contextmanager
    def start(
        self, *command: str | Path, environ: Mapping[str, str] | None = None, folder: str = "/", network: bool = True
    ) -> Iterator["subprocess.Popen[str]"]:
        """The running process, with pipes; it is killed at the end. Raises Unavailable if the root cannot be entered."""
        if _stopped.is_set():
            raise Unavailable("stopped")
        binds = [str(word) for there, here in self.binds.items() for word in (here, there)]
        words = [self.path, self.changes, self.qemu or "", _MAGIC.get(self.arch, ""), _MASK.get(self.arch, ""), folder]
        self.changes.mkdir(parents=True, exist_ok=True)
        # Two pipes: the child says that it has its namespaces, waits until users are mapped, and says that it is in the root.
        ready, child_ready = os.pipe()
        child_go, go = os.pipe()
        inner = {"READY": str(child_ready), "GO": str(child_go), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        inner["HOME"] = "/tmp"  # its own, in memory
        inner |= {"QEMU_CPU": self.cpu} if self.qemu else {}
        # However this process ends, what it started ends too.
        unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", "--user", "--mount", "--pid", "--fork", "--kill-child"]
        unshare += [] if network else ["--net"]
        process = subprocess.Popen(
            [*unshare, "bash", "-c", _ENTER, "enter", *map(str, words), *binds, "--", *map(str, command)],
            env=inner | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=(child_ready, child_go),
        )
        _running.add(process)
        if _stopped.is_set():  # while it was started: stop() may not have seen it
            process.kill()
        os.close(child_ready)
        os.close(child_go)
        try:
            if os.read(ready, 1):
                _map_users(process.pid)
                os.write(go, b"go\n")
            if not os.read(ready, 1):
                raise _not_entered(process.communicate()[1])
            yield process
        finally:
            os.close(ready)
            os.close(go)
            process.kill()
            process.wait()
            _running.discard(process)


def stop() -> None:
    """Ends everything that runs, in a root or beside it, and lets nothing more start in one: for a signal handler."""
    _stopped.set()
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            for pid in children.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)  # mmdebstrap has something to tidy up
    for process in list(_running):
        process.kill()  # unshare takes no SIGTERM


def _not_entered(said: str) -> Unavailable:
    if _stopped.is_set():
        return Unavailable("stopped")
    said = " ".join(said.split())[-300:]
    cure = next((cure for part, cure in _CURES.items() if part in said), "see tests/harness/virtualpi/namespace.py")
    return Unavailable(f"no root can be entered here ({said}): {cure}")


def _map_users(pid: int) -> None:
    """Maps root in the namespace to the user who runs this; for root, all other users stay the same, so that apt and dpkg work.

    Raises Unavailable.
    """
    try:
        if os.geteuid() == 0:
            users, groups = (_all_of(Path(f"/proc/self/{kind}_map").read_text()) for kind in ("uid", "gid"))
        else:
            Path(f"/proc/{pid}/setgroups").write_text("deny")
            users, groups = f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1"
        Path(f"/proc/{pid}/uid_map").write_text(users)
        Path(f"/proc/{pid}/gid_map").write_text(groups)
    except OSError as error:
        raise Unavailable(
            f"this machine does not map users into a namespace ({error}): run it outside of the container"
        ) from None


def _all_of(mapped: str) -> str:
    """/proc/self/uid_map -> the same users under the same numbers: in a container there may be few."""
    return "".join(f"{first} {first} {count}\n" for first, _, count in map(str.split, mapped.splitlines()))


@contextmanager
def scratch_root(path: Path, **settings: object) -> Iterator[Root]:
    """A root whose changes are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="limiar-virtual-pi-") as folder:
        yield Root(path, Path(folder, "changes"), **settings)  # type: ignore[arg-type]  # Root's own
