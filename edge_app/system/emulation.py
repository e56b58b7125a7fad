"""Whether this process runs on an emulated processor. A virtual machine under KVM, HVF or Hyper-V runs on a real one."""

import os
import re
import sys
from pathlib import Path

from limiar.edge_app.system import sysfs

_MACHINE = slice(18, 20)  # of an ELF file: e_machine, elf(5)
_ELF = b"\x7fELF"


def emulated(root: Path | str = "/", python: Path | str = sys.executable) -> str | None:
    """The emulator's name, such as "qemu"; None on a real processor, as far as can be seen."""
    root = Path(root)
    return _user_mode(root, python) or _whole_machine(root)


def _user_mode(root: Path, python: Path | str) -> str | None:
    """An emulator of one program. QEMU puts its own answer in place of /proc/self/exe, and not of the same link below.

    What the kernel runs has another name, or is for another processor, than this Python.
    """
    link = root / "proc/thread-self/exe"
    try:
        name = os.path.basename(os.readlink(link))
    except OSError:
        return None
    if name.startswith("qemu-"):  # qemu-aarch64-static
        return "qemu"
    run, made = _processor(link), _processor(python)
    return name if run and made and run != made else None


def _processor(path: Path | str) -> bytes | None:
    """The processor that a program is for."""
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return None
    return head[_MACHINE] if head.startswith(_ELF) else None


def _whole_machine(root: Path) -> str | None:
    """QEMU's own processor (TCG). Its clock counts at 62.5 MHz, which Linux shows as 125 BogoMIPS; a Pi's 38.4 or 108.

    GTIMER_BACKCOMPAT_HZ in QEMU's target/arm: the clock of all its models of Arm's processors. A guest under KVM or HVF sees
    the real one's. `-cpu max` counts faster, and says that its maker is 0x00, which none is.
    """
    info = sysfs.text(root / "proc/cpuinfo") or ""
    if "QEMU TCG CPU" in info or re.search(r"^CPU implementer\s*: 0x00$", info, re.MULTILINE):
        return "qemu"
    tree = sysfs.text(root / "proc/device-tree/compatible") or ""
    maker = sysfs.text(root / "sys/class/dmi/id/sys_vendor") or ""
    if re.search(r"^BogoMIPS\s*: 125\.00$", info, re.MULTILINE) and (
        "linux,dummy-virt" in tree or "raspberrypi" in tree or maker == "QEMU"
    ):
        return "qemu"
    clocks = sysfs.text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    return "qemu" if "QEMU Virtual CPU" in info and maker == "QEMU" and "kvm" not in clocks else None
