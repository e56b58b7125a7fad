"""Writes tests/long.txt, the tests that `scripts/test` leaves out, by the times of `scripts/test --all`.

A line is a test function that took over 2 s, with all of its parameters and in the slowest environment; without what fixtures
took, which the next test would have to wait for instead.
"""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[1]
OVER_S = 2.0


def times(result: Path) -> dict[str, float]:
    """Test function -> s, of a JUnit file."""
    found: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(result).getroot().iter("testcase"):  # noqa: S314 scripts/test had it written
        found[function(case.attrib["classname"], case.attrib["name"])] += float(case.attrib["time"])
    return found


def function(place: str, name: str) -> str:
    """`tests.edge_app.test_bench`, `test_it[1]` -> `tests/edge_app/test_bench.py::test_it`; a class stands between them."""
    parts = place.split(".")
    module = next(count for count in range(len(parts), 0, -1) if (PROJECT / Path(*parts[:count])).with_suffix(".py").is_file())
    return "::".join([f"{'/'.join(parts[:module])}.py", *parts[module:], name.partition("[")[0]])


def main(results: list[Path]) -> None:
    slowest: dict[str, float] = defaultdict(float)
    for result in results:
        for test, seconds in times(result).items():
            slowest[test] = max(slowest[test], seconds)
    long = sorted(test for test, seconds in slowest.items() if seconds > OVER_S)
    (PROJECT / "tests" / "long.txt").write_text("".join(f"{test}\n" for test in long))
    took, left = sum(slowest.values()), sum(seconds for seconds in slowest.values() if seconds <= OVER_S)
    print(f"{len(long)} of {len(slowest)} test functions are long; without them {left:.0f} of {took:.0f} s are left")


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]] or sorted((PROJECT / "out" / "tests").glob("*.xml"))
    if not given:
        sys.exit("there are no times in out/tests: run scripts/test --all")
    main(given)
