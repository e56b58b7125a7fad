"""A video device before OpenCV opens it: whether it is there, may be opened, is a camera, and is free.

OpenCV itself only says that it did not open. This module imports neither OpenCV nor numpy.
"""

import contextlib
import errno
import fcntl
import glob
import grp
import os
import stat
import struct
from pathlib import Path

from limiar.edge_app.errors import SourceError, printable

_MAJOR = 81  # of video devices: Linux, Documentation/admin-guide/devices.txt
# linux/videodev2.h, with _IOR and _IOWR of asm-generic/ioctl.h spelt out; pointers give the format's size, 204 or 208.
_FORMAT_BYTES = 200 + (8 if struct.calcsize("P") == 8 else 4)
_QUERYCAP = 0x8000_0000 | 104 << 16 | ord("V") << 8
_G_FMT = 0xC000_0000 | _FORMAT_BYTES << 16 | ord("V") << 8 | 4
_S_FMT = _G_FMT + 1
_CAPTURE, _DEVICE_CAPS = 0x1001, 0x8000_0000  # with one plane or several
_BUF_TYPE_CAPTURE = 1


def check_camera(path: str, name: str) -> None:
    """Raises SourceError for what is not there, may not be opened or is not a camera, each with its own cure."""
    try:
        found = os.stat(path)
    except OSError:
        if os.path.islink(path):
            raise SourceError("E-SOURCE-OPEN", f"{name} is a link to a camera that is not plugged in: plug it in") from None
        raise SourceError("E-SOURCE-OPEN", f"{name} is not there: plug the camera in; {_cameras()}") from None
    if not stat.S_ISCHR(found.st_mode) or os.major(found.st_rdev) != _MAJOR:
        kind = "a device of another kind" if stat.S_ISCHR(found.st_mode) else _file_kind(found.st_mode)
        raise SourceError("E-SOURCE-NOT-CAMERA", f"{name} is {kind}, not a camera: {_cameras()}; a file is video:FILE")
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unopened(error, found, path, name) from None
    try:
        capability = fcntl.ioctl(device, _QUERYCAP, bytes(104))
    except OSError as error:
        met = f"{name} does not answer like a video device ({error.strerror})"
        raise SourceError("E-SOURCE-NOT-CAMERA", f"{met}: {_cameras()}") from None
    finally:
        os.close(device)
    _, card, _, _, of_card, of_node = struct.unpack_from("16s32s32sIII", capability)
    if not (of_node if of_card & _DEVICE_CAPS else of_card) & _CAPTURE:
        model = printable(card.rstrip(b"\0")[:32])
        met = f"{name} ({model}) does not give pictures; most cameras have a second device that does"
        raise SourceError("E-SOURCE-NOT-CAMERA", f"{met}: {_cameras()}")


def why_not(path: str, name: str) -> SourceError:
    """The error for a camera that passed `check_camera` but that OpenCV does not open."""
    with contextlib.suppress(OSError):
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            wanted = struct.pack("I", _BUF_TYPE_CAPTURE).ljust(_FORMAT_BYTES, b"\0")
            fcntl.ioctl(device, _S_FMT, fcntl.ioctl(device, _G_FMT, wanted))  # no change; EBUSY if another program streams
        except OSError as error:
            if error.errno == errno.EBUSY:
                return _busy(path, name)
        finally:
            os.close(device)
    return SourceError("E-SOURCE-OPEN", f"{name} is a camera, but does not start: unplug it and plug it in again")


def _unopened(error: OSError, found: os.stat_result, path: str, name: str) -> SourceError:
    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            group = grp.getgrgid(found.st_gid).gr_name
        except KeyError:  # a container that does not know the host's groups
            group = str(found.st_gid)
        cure = f"sudo usermod -aG {group} $USER, then log in again; in a container, pass the device to it"
        return SourceError("E-SOURCE-DENIED", f"{name} is for the group {group}, which this user is not in: {cure}")
    if error.errno == errno.EBUSY:
        return _busy(path, name)
    cure = "plug it in again, and look for its driver in dmesg"
    return SourceError("E-SOURCE-OPEN", f"{name} has no camera behind it ({error.strerror}): {cure}")


def _busy(path: str, name: str) -> SourceError:
    users = _users(os.path.realpath(path))
    who = f"by {', '.join(users)}" if users else "by another program"
    return SourceError("E-SOURCE-BUSY", f"{name} is in use {who}: close that, then start again")


def _users(device: str) -> list[str]:
    """The programs that have it open, as far as this user may see."""
    found = []
    for process in sorted(glob.glob("/proc/[0-9]*")):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(_leads_to(entry.path, device) for entry in os.scandir(f"{process}/fd")):
                program = printable(Path(process, "comm").read_bytes().strip())
                found.append(f"{program} (process {os.path.basename(process)})")
    return [user for user in found if f"(process {os.getpid()})" not in user]


def _leads_to(link: str, device: str) -> bool:
    """False also for a descriptor that was closed since it was listed: the process has others."""
    try:
        return os.readlink(link) == device
    except FileNotFoundError:
        return False


def _cameras() -> str:
    """In words, the devices that could be given instead."""
    known = sorted(glob.glob("/dev/v4l/by-id/*-index0")) or sorted(glob.glob("/dev/video[0-9]*"))
    return f"this machine has {', '.join(map(printable, known[:4]))}" if known else "this machine has no video device"


def _file_kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a disk")
