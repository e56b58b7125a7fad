"""Prints the outcomes of each pytest run, and the totals last: `test_totals.py RESULT.xml...` (JUnit files)."""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

OUTCOMES = ("passed", "failed", "errors", "skipped")


def outcomes(result: Path) -> Counter[str]:
    """How many tests of one run ended in each way."""
    counted: Counter[str] = Counter()
    for suite in ElementTree.parse(result).getroot().iter("testsuite"):  # noqa: S314 pytest wrote it a moment ago
        tests, failed, errors, skipped = (int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped"))
        counted.update(passed=tests - failed - errors - skipped, failed=failed, errors=errors, skipped=skipped)
    return counted


def line(counted: Counter[str]) -> str:
    return ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES)


total: Counter[str] = Counter()
for path in map(Path, sys.argv[1:]):
    run = outcomes(path)
    total += run
    print(f"{path.stem:16} {line(run)}")
print(line(total))
