"""Kills the real `limiar train` and resumes it until a RUN exists; tests/harness/kill_training.py and a test use it.

A parent process imports what training needs and forks a process for every start, which saves each of them the seconds in which
TensorFlow loads; nothing is computed before the fork.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from limiar.train.record import run_folder

COMPARED = (run_folder.MODEL, run_folder.PREDICTIONS, run_folder.SPLITS, run_folder.HISTORY)
LONGEST_DELAY_S = 0.02  # after a file operation: a checkpoint takes that long to be written

# Each line of JSON on stdin starts a training: arguments, the folder to watch, the file operation there at which to kill the
# process (0: none), and the delay after it. The answers on stdout are the process id and, at the end, a line of JSON: the wait
# status and, if it was not killed, the number of file operations there and the error.
STARTER = """
import contextlib, io, json, os, signal, sys, threading, time
from limiar.train.fit.importing import quiet
with quiet():
    import limiar.train.commands.train, limiar.train.run.make_run, limiar.train.tracking.trackers

if sys.argv[1:] == ["control"]:  # a resumed run keeps the random state that Keras gives a loaded model
    limiar.train.fit.fit._seed_dropout = lambda model, seed, epoch: None

def start(arguments, place, at, delay_s, pipe):
    count = 0
    def die():
        time.sleep(delay_s)
        os.kill(os.getpid(), signal.SIGKILL)
    def hook(event, given):
        nonlocal count
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") or isinstance(given[0], int):
            return
        in_removed_tree = event in ("os.remove", "os.rmdir") and given[-1] != -1  # shutil.rmtree gives names in a folder
        if in_removed_tree or os.fsdecode(given[0]).startswith(place):
            count += 1
            if count == at:
                threading.Thread(target=die, daemon=True).start() if delay_s else die()
    sys.addaudithook(hook)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            limiar.train.commands.train.train(arguments, standalone_mode=False)
        os.write(pipe, json.dumps([count, ""]).encode())
    except Exception as error:
        os.write(pipe, json.dumps([count, repr(error)]).encode())
    os._exit(0)

for line in sys.stdin:
    arguments, place, at, delay_s = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        start(arguments, place, at, delay_s, writing)
    os.close(writing)
    print(child, flush=True)
    status = os.waitpid(child, 0)[1]
    print(json.dumps([status, *json.loads(os.read(reading, 4096) or '[0, ""]')]), flush=True)
    os.close(reading)
"""


@dataclass(frozen=True)
class Ended:
    """How a start of `limiar train` ended."""

    killed: bool
    operations: int  # on files of the RUN; 0 if it was killed
    seconds: float


@dataclass
class Series:
    """Counts over runs that were killed again and again."""

    runs: int = 0
    kills: int = 0
    without_epoch: int = 0  # kills that left nothing to resume
    publishing: int = 0  # kills while the RUN got its files and its name
    different: int = 0  # runs whose files differ from those of the run that was never killed


class Starter:
    """Starts `limiar train` again and again. control: resumes it wrongly, which the comparison must notice."""

    def __init__(self, control: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", STARTER, *(["control"] if control else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    def start(self, arguments: list[str], out: Path, at: int = 0, delay_s: float = 0.0, after_s: float | None = None) -> Ended:
        """Starts it once, to be killed at file operation number `at` at `out`, after `after_s` seconds, or not at all.

        Raises RuntimeError if it ended in any other way.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([[*arguments, "--out", str(out)], str(out), at, delay_s]) + "\n")
        self._process.stdin.flush()
        child, started = int(self._process.stdout.readline()), time.monotonic()
        if after_s is not None:
            time.sleep(after_s)
            with contextlib.suppress(ProcessLookupError):  # it had ended by then
                os.kill(child, signal.SIGKILL)
        status, operations, error = json.loads(self._process.stdout.readline())
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if error or (status and not killed):
            raise RuntimeError(f"limiar train ended with {error or f'wait status {status}'}")
        return Ended(killed, operations, time.monotonic() - started)


def run_with_kills(
    starter: Starter,
    arguments: list[str],
    unkilled: Path,
    whole: Ended,
    out: Path,
    kills: int,
    rng: random.Random,
    series: Series,
) -> None:
    """Starts a run at `out`, kills it at most `kills` times, lets it end, and compares it with `unkilled`, byte by byte.

    whole: how the unkilled one ended. Half of the kills come at a file operation or shortly after it, half at any time.
    Raises RuntimeError if a start ends in any other way, for example if --resume is refused although an epoch was kept.
    """
    partial = out.with_name(f"{out.name}.partial")
    resume: list[str] = []
    for _ in range(kills):
        if rng.random() < 0.5:
            at, delay_s = rng.randint(1, whole.operations), rng.choice((0.0, rng.uniform(0, LONGEST_DELAY_S)))
            ended = starter.start([*arguments, *resume], out, at, delay_s)
        else:
            ended = starter.start([*arguments, *resume], out, after_s=rng.uniform(0, whole.seconds))
        resume = ["--resume"] if out.exists() or (partial / "state.json").exists() else []
        series.kills += ended.killed
        series.without_epoch += ended.killed and not resume
        series.publishing += ended.killed and (out.exists() or (partial / "run").exists())
        if not ended.killed:
            break
    starter.start([*arguments, *resume], out)
    series.runs += 1
    other = [name for name in COMPARED if (out / name).read_bytes() != (unkilled / name).read_bytes()]
    other += [partial.name] if partial.exists() else []
    if other:
        series.different += 1
        print(f"{out.name} differs in {', '.join(other)}", flush=True)
