"""QEMU 10, pinned: Debian 12's 7.2 shows the host's /proc/cpuinfo; runtimes hang or crash on it, or compute wrong numbers."""

import platform
from pathlib import Path

from virtualpi import Unavailable, debian
from virtualpi.debian import Package, unpack

VERSION = "10.0.2"
_SUITE, _PACKAGED = "bookworm-backports", "1:10.0.2+ds-2+deb13u1~bpo12+1"
USER = Package(
    "qemu-user",
    _PACKAGED,
    _SUITE,
    "10a2dec99f2b2d0b1097ff0375aea35b89322d6631fc96700511b02e05bf6fef",
)
CPUS = {"a53": "Cortex-A53", "a72": "Cortex-A72", "a76": "Cortex-A76"}  # Raspberry Pi 3, 4, 5: QEMU's are "cortex-" and the key


def user_mode(arch: str = "aarch64") -> Path:
    """A static qemu-ARCH for programs of that architecture. Raises Unavailable."""
    _refuse_other_machines()
    return unpack(USER, f"./usr/bin/qemu-{arch}")


def system_root() -> Path:
    """A root with qemu-system-aarch64, and what makes a guest's disks. Raises Unavailable."""
    _refuse_other_machines()
    system = [f"qemu-system-{part}={_PACKAGED}" for part in ("arm", "common", "data")]
    tools = ("base-files", "coreutils", "cpio", "dash", "device-tree-compiler", "e2fsprogs", "findutils", "kmod", "libc-bin")
    return debian.root("bookworm", "amd64", (*tools, *system), also=(_SUITE,))


def _refuse_other_machines() -> None:
    if platform.machine() != "x86_64":
        raise Unavailable(f"QEMU is pinned for x86-64, and this machine is {platform.machine()}: run it on an x86-64 one")
