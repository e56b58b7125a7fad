"""QEMU 10, pinned: 7.2 of Debian 12 reads the host's /proc/cpuinfo, and runtimes crash on it or compute wrong numbers."""

from pathlib import Path

from virtualpi.debian import Package, unpack

VERSION = "10.0.2"
USER = Package(
    "qemu-user",
    "1:10.0.2+ds-2+deb13u1~bpo12+1",
    "bookworm-backports",
    "10a2dec99f2b2d0b1097ff0375aea35b89322d6631fc96700511b02e05bf6fef",
)
CPUS = {"a53": "Cortex-A53", "a72": "Cortex-A72", "a76": "Cortex-A76"}  # Raspberry Pi 3, 4, 5: QEMU's are "cortex-" and the key


def user_mode(arch: str = "aarch64") -> Path:
    """A static qemu-ARCH for programs of that architecture. Raises Unavailable."""
    return unpack(USER, f"./usr/bin/qemu-{arch}")
