"""Long runs of one kind of byte, behind the start of every format, cost no more than their length: no parser tries twice."""

import json
import subprocess
import sys
from pathlib import Path

_RUN_BYTES = 3_000_000
_HANG_S = 5  # for one file: far more than any takes, and the limit of E-IMAGE-TIMEOUT

# In a process of its own, because a hang must end, and a regular expression does not let a signal handler in.
_FEED = """
import faulthandler, json, sys, time
sys.path.insert(0, sys.argv[1])
import test_bad_images as bad
length, hang_s = int(sys.argv[2]), int(sys.argv[3])
RUNS = {
    "zero": b"\\0", "one": b"\\1", "ones": b"\\xff", "high": b"\\x80", "space": b" ", "tab": b"\\t", "line": b"\\n",
    "return": b"\\r",
    "comment": b"#", "comment lines": b"#\\n", "comments and spaces": b"# \\n ", "digit": b"1", "digits": b"1 ", "nought": b"0",
    "letter": b"a", "marker": b"\\xff\\xd8", "stuffed": b"\\xff\\0", "restart": b"\\xff\\xd0", "scan": b"\\xff\\xda\\0\\2",
    "empty segment": b"\\xff\\xe0\\0\\2", "chunk": b"\\0\\0\\0\\0IDAT\\x35\\xaf\\x06\\x1e", "riff chunk": b"JUNK\\0\\0\\0\\0",
    "tag": b"\\0\\1\\0\\3\\0\\0\\0\\1\\0\\0\\0\\0", "run": b"\\1\\0", "line ends": b"\\0\\0", "move": b"\\0\\2\\0\\0",
}
HEADERS = [
    b"P5", b"P6", b"P2", b"P3", b"P5 ", b"P5 1", b"P2 9 9 255\\n", b"P2 2000 500 255\\n", b"P3 9 9", b"BM", b"",
    b"\\x89PNG\\r\\n\\x1a\\n", b"\\xff\\xd8\\xff", b"\\xff\\xd8\\xff\\xe0\\0\\x10JFIF\\0", b"RIFF\\xb8\\xc6\\x2d\\0WEBP",
    b"II*\\0\\x08\\0\\0\\0", b"MM\\0*\\0\\0\\0\\x08",
]
starts = {f"header {header!r}": header for header in HEADERS}
for name, data in bad.GOOD.items():
    for share in (0.02, 0.1, 0.3, 0.6, 1.0):
        starts[f"{name} to {share}"] = data[: int(share * len(data))]
slowest, answered = (0.0, ""), []
for start, head in starts.items():
    for run, unit in RUNS.items():
        data = head + (unit * (length // len(unit) + 1))[:length]
        faulthandler.dump_traceback_later(hang_s, exit=True)
        began = time.monotonic()
        refused = bad.refusal(data, "")
        slowest = max(slowest, (time.monotonic() - began, f"{run} behind {start}"))
        if refused is None:
            answered.append(f"{run} behind {start}")
faulthandler.cancel_dump_traceback_later()
print(json.dumps({"files": len(starts) * len(RUNS), "slowest": slowest, "answered": answered}))
"""


def test_long_runs_of_every_kind_of_byte_are_answered_or_refused_in_time() -> None:
    command = [sys.executable, "-P", "-c", _FEED, str(Path(__file__).parent), str(_RUN_BYTES), str(_HANG_S)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(f"{found['files']} files, the slowest {found['slowest']}")
    assert found["files"] > 1000
    # Padding behind a whole picture is understood. Where no checksum is, a run inside can be pixels too.
    inside = [name for name in found["answered"] if not name.endswith("to 1.0")]
    assert {name.split()[-3].rpartition(".")[2] for name in inside} <= {"bmp", "pgm", "ppm", "tif", "webp"}, inside


def test_a_short_header_of_spaces_is_refused_at_once() -> None:
    command = [sys.executable, "-P", "-c", "from limiar.edge_app.image.read import decode; decode(b'P5' + b' ' * 36)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "E-IMAGE-BROKEN" in done.stderr.splitlines()[-1]
