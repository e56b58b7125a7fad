"""What the kernel says about its clock: adjtimex(2)."""

import ctypes

from limiar.edge_app.system import sysfs

_UNSYNC, _NANO = 0x40, 0x2000  # linux/timex.h: no NTP keeps it right; its fraction is in nanoseconds


class _Timex(ctypes.Structure):
    """The start of struct timex; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),  # 0: only read
        ("before", ctypes.c_long * 4),  # offset, frequency and errors
        ("status", ctypes.c_int),
        ("between", ctypes.c_long * 3),
        ("seconds", ctypes.c_long),
        ("fraction", ctypes.c_long),
        ("room", ctypes.c_char * 256),
    )


def kernel_synchronised_s() -> float | None:
    """The kernel's time, seconds since 1970, if it says that NTP keeps it right; None if it does not.

    Raises PermissionError if it may not be asked: a service's filter of system calls may even kill whoever tries.
    """
    if "\nSeccomp:\t0\n" not in (sysfs.text("/proc/self/status") or ""):
        raise PermissionError
    timex = _Timex()
    asked = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if asked < 0:
        raise PermissionError
    if timex.status & _UNSYNC:
        return None
    return float(timex.seconds + timex.fraction / (1e9 if timex.status & _NANO else 1e6))
