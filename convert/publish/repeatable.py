"""`limiar convert --verify-repeatable`: the conversion made again in a process of its own, and every byte compared."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from limiar.convert.pipeline import ConvertRequest, convert_run
from limiar.convert.publish.publish import publish_bundle
from limiar.edge_app.errors import ConvertError, printable

_SECOND_PROCESS = "import sys; from limiar.convert.publish.repeatable import convert_again; convert_again(*sys.argv[1:])"


class Again(msgspec.Struct, frozen=True):
    """What the second process is to make."""

    request: ConvertRequest
    release_counter: int
    card: str


def check_repeatable(again: Again, files: Mapping[str, bytes]) -> None:
    """Makes the bundle again and compares it with `files`, path -> bytes, its manifest among them. Raises ConvertError."""
    # With another seed, sets of text have another order.
    environ = {**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    with tempfile.TemporaryDirectory(prefix="limiar-") as folder:
        job, out = Path(folder, "job"), Path(folder, "bundle")
        job.write_bytes(pickle.dumps(again))
        command = [sys.executable, "-P", "-c", _SECOND_PROCESS, str(job), str(out)]
        done = subprocess.run(command, env=environ, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
            raise _failed(f"the second conversion failed ({printable(lines[-1])[:300]})")
        second = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    differing = sorted(name for name in {*files, *second} if files.get(name) != second.get(name))
    if differing:
        raise _failed(f"two conversions differ in {', '.join(differing)}")


def _failed(met: str) -> ConvertError:
    return ConvertError("E-CONVERT-REPEAT", f"{met}, and nothing was written: report this with the output of `limiar doctor`")


def convert_again(job: str, out: str) -> None:
    """The second process: a pickled Again -> a bundle."""
    again = pickle.loads(Path(job).read_bytes())  # noqa: S301  # the first process has just written it
    assert isinstance(again, Again)
    converted = convert_run(again.request, note=lambda text, *files: None)
    if not converted.report.published:
        sys.exit("its gate did not pass")
    publish_bundle(Path(out), converted, again.release_counter, again.request.seed, again.card)
