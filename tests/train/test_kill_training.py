"""kill -9 of the real `limiar train` at any time: resuming gives the run that was never killed, byte by byte."""

import random

from killing import Ended, Series, Starter, run_with_kills

# Fewer operations than a run has, so that such a kill always comes before its end; one by the clock may be too late on a fast
# machine, and another run is tried. tests/harness/kill_training.py tries the whole length.
OPERATIONS, SECONDS = 30, 1.5
KILLS, TRIES = 2, 5


def test_a_run_that_was_killed_ends_as_the_one_that_never_was(small_run, phantom_folder, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    arguments = [str(phantom_folder), *["--quick", "--set", "epochs=3", "--set", "batch=32", "--set", "warmup=0"]]
    series = Series()
    with Starter() as starter:
        whole = Ended(killed=False, operations=OPERATIONS, seconds=SECONDS)
        for number in range(TRIES):
            out = tmp_path / f"run{number}"
            run_with_kills(starter, arguments, small_run, whole, out, KILLS, random.Random(seed + number), series)
            if series.kills:
                break
    assert series.kills > 0
    assert series.different == 0
