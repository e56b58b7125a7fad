"""Many results of `limiar bench --json` side by side: the same model files on several machines, or at several times."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from limiar.convert.compare.bench_results import machine_of, read_bench
from limiar.edge_app.bench.recorded import Recorded, Timed
from limiar.edge_app.bundle.manifest import Value
from limiar.edge_app.report.panels import Mark, Panel, draw_panels
from limiar.edge_app.text import counted, fitted

_DWARFED = 5.0  # times as long: on a linear axis the shorter one would be a point at its edge
_COLUMNS = 80  # of a terminal
_CELL = 12  # of these, for a machine
_NAME_COLUMNS = 40  # of a machine in a plot


class Column(Value, frozen=True, forbid_unknown_fields=True):
    """One result."""

    path: str
    machine: str  # board or processor, and cores
    subject: str  # what was measured: name and version
    valid: bool  # False: the board slowed down
    invalid: tuple[str, ...]  # why


class Cell(Value, frozen=True, forbid_unknown_fields=True):
    """The median of invoke, microseconds, with its 95 % interval; in results of earlier versions, with the spread of rounds."""

    us: float
    low_us: float
    high_us: float


class Row(Value, frozen=True, forbid_unknown_fields=True):
    """A model file on a runtime with so many threads."""

    file: str
    runtime: str
    threads: int
    cells: tuple[Cell | None, ...]  # one for each column; None: not measured there

    @property
    def title(self) -> str:
        """tflite_int8 on litert, 2 threads."""
        return f"{self.file} on {self.runtime}, {counted(self.threads, 'thread')}"


class BenchTable(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome, as `--json` writes it."""

    schema: Literal[1] = 1
    kind: Literal["benches"] = "benches"
    summary: str
    columns: tuple[Column, ...]  # in the order of the arguments
    rows: tuple[Row, ...]


def compare_machines(paths: Sequence[Path]) -> BenchTable:
    """Every variant of every result. Raises ConvertError, which names the file that is not a bench result."""
    results = [read_bench(path) for path in paths]
    variants = dict.fromkeys(one.variant for result in results for one in result.measurements)
    rows = tuple(Row(*variant, tuple(_cell(result, variant) for result in results)) for variant in sorted(variants))
    columns = tuple(
        Column(
            path=str(path),
            machine=machine_of(result),
            subject=" ".join(filter(None, (result.name, result.version))),
            valid=result.valid,
            invalid=result.invalid,
        )
        for path, result in zip(paths, results, strict=True)
    )
    machines = len({one.machine for one in columns})
    invalid = sum(not one.valid for one in columns)
    summary = f"{counted(len(columns), 'result')} from {counted(machines, 'machine')}, {counted(len(rows), 'variant')}"
    return BenchTable(summary=f"{summary}; {invalid} INVALID" if invalid else summary, columns=columns, rows=rows)


def lines_of(found: BenchTable) -> Iterator[str]:
    """For a terminal of 80 columns: medians, as many results beside each other as fit, then what each is."""
    names = [f"{one.file} {one.runtime} {one.threads}" for one in found.rows]
    room = min(max([*map(len, names), 20]), _COLUMNS - 3 * _CELL)
    beside = (_COLUMNS - room) // _CELL
    yield "p50 of invoke, microseconds"
    for first in range(0, len(found.columns), beside):
        yield ""
        part = range(first, min(first + beside, len(found.columns)))
        yield " " * room + "".join(f"{_mark(found.columns[place], place):>{_CELL}}" for place in part)
        for name, row in zip(names, found.rows, strict=True):
            yield fitted(name, room) + "".join(f"{in_words(row.cells[place]):>{_CELL}}" for place in part)
    yield ""
    for place, one in enumerate(found.columns):
        told = f"{_mark(one, place)} {one.machine}: {one.subject}, {one.path}"
        yield from textwrap.wrap(told, _COLUMNS, subsequent_indent="    ", break_long_words=False)
        for reason in one.invalid:
            yield from textwrap.wrap(f"    INVALID: {reason}", _COLUMNS, subsequent_indent="    ")


def plots(found: BenchTable) -> Iterator[tuple[str, str]]:
    """For each variant: its title, and an SVG with a point and an interval for each result."""
    names = [f"{_mark(one, place)} {one.machine}" for place, one in enumerate(found.columns)]
    for row in found.rows:
        marks = {
            name: Mark(cell.us, cell.low_us, cell.high_us, in_words(cell))
            for name, cell in zip(names, row.cells, strict=True)
            if cell
        }
        if not marks:
            continue
        medians = [mark.value for mark in marks.values()]
        panel = Panel("p50 of invoke, microseconds", marks, log=max(medians) > _DWARFED * min(medians))
        yield row.title, draw_panels([*marks], [panel], _NAME_COLUMNS)


def _cell(result: Recorded, variant: tuple[str, str, int]) -> Cell | None:
    one = next((one for one in result.measurements if one.variant == variant), None)
    if one is None or one.invoke.p50_us is None:
        return None
    low, high = _interval(one.invoke)
    return Cell(round(one.invoke.p50_us, 3), round(low, 3), round(high, 3))


def _interval(timed: Timed) -> tuple[float, float]:
    found = next((one for one in timed.percentiles if one.percent == 50), None)
    low, high = (found.low_us or 0.0, found.high_us or 0.0) if found else (0.0, 0.0)
    if 0 < low <= high < math.inf:  # in a stranger's file they may be anything
        return low, high
    return timed.round_low_us, timed.round_high_us


def _mark(one: Column, place: int) -> str:
    """[1], or [1]! if it is INVALID."""
    return f"[{place + 1}]{'' if one.valid else '!'}"


def in_words(cell: Cell | None) -> str:
    """Microseconds with three digits or more."""
    if cell is None:
        return "-"
    return f"{cell.us:,.0f}" if cell.us >= 100 else f"{cell.us:.1f}" if cell.us >= 10 else f"{cell.us:.2f}"
