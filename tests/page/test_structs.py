"""Threads that use a Struct for the first time at the same moment."""

import signal
import subprocess
import sys

# Another thread converts a value while this one still learns what the Struct holds: `slow` makes that last.
MEANWHILE = """
import sys, threading, time
import msgspec
from limiar.edge_app.page import structs
def slow():
    time.sleep(0.3)
    return int
class Part(msgspec.Struct):
    x: "slow()"
class Value(msgspec.Struct):
    part: Part
if sys.argv[1] == "learnt":
    structs.learn()
threads = [threading.Thread(target=msgspec.convert, args=({"part": {"x": 1}}, Value)) for _ in range(4)]
for thread in threads:
    thread.start()
    time.sleep(0.05)
for thread in threads:
    thread.join()
"""


def ended(how: str) -> int:
    return subprocess.run([sys.executable, "-P", "-c", MEANWHILE, how], capture_output=True).returncode


def test_what_is_learnt_before_can_be_used_by_threads() -> None:
    assert ended("learnt") == 0


def test_without_that_the_process_crashes() -> None:
    """The control. Once it fails, msgspec is mended: remove edge_app/page/structs.py."""
    assert ended("not learnt") == -signal.SIGSEGV
