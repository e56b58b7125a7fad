"""limiar on an emulated Raspberry Pi.

    scripts/virtual_pi user      the aarch64 wheels on emulated Cortex-A53, A72 and A76, Debian 12 and 13: a minute or two
    scripts/virtual_pi camera    the real picamera2 and libcamera with cameras that show files, not emulated: half a minute
    scripts/virtual_pi faults    plants faults that `user` must catch: half a minute
    scripts/virtual_pi install   scripts/install_pi on fresh systems, with a network and without one: five minutes or more
    scripts/virtual_pi machine   whole machines before a release: cameras, power cuts, Raspberry Pi 3 and 4: some minutes
    scripts/virtual_pi service   the service under systemd, through power cuts and hung processes: a quarter of an hour

What is downloaded and unpacked is kept in ~/.cache/limiar/virtual-pi and used again. Exit status 1: this machine cannot run it;
3: it ran and found something wrong. It needs Debian on x86-64, Linux 6.7 or newer to emulate, and root for `install`.
"""

import argparse
import importlib
import signal
import sys

from limiar.edge_app.errors import LimiarError
from virtualpi import Failed, Unavailable, namespace
from wheelhouse import WheelhouseError

# Each is a module: options(parser) adds its options, main(asked) raises Unavailable or Failed.
LEVELS = ("user", "faults", "camera", "install", "machine", "service")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/virtual_pi", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    levels = parser.add_subparsers(dest="level", required=True)
    modules = {level: importlib.import_module(f"virtualpi.{level}") for level in LEVELS}
    for level, module in modules.items():
        module.options(
            levels.add_parser(level, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        )
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        modules[asked.level].main(asked)
    except (Unavailable, WheelhouseError, LimiarError) as error:
        print(f"scripts/virtual_pi: {error}", file=sys.stderr)
        return 1
    except Failed as error:
        print(f"FAIL: {error}", file=sys.stderr)
        return 3
    return 0


def stop(number: int, _frame: object) -> None:
    """On Ctrl-C or kill, ends every thread, which removes its temporary files."""
    namespace.stop()
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
