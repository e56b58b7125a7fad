"""Lists what the devices of a fleet have answered: `limiar results --fleet`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from sqlalchemy import ColumnElement, ScalarSelect, func, select

from limiar.edge_app.collect.config import read_config
from limiar.edge_app.collect.database import FleetDatabase, reading
from limiar.edge_app.collect.schema import ROWS
from limiar.edge_app.errors import StoreError
from limiar.edge_app.fleet.messages import LINE, RowReview
from limiar.edge_app.output.files import OutputFile
from limiar.edge_app.results.lines import ResultLine, csv_header, csv_line
from limiar.edge_app.store.reader import Filter, Review

_AT_ONCE = 1000  # rows in memory
_REVIEW = msgspec.json.Decoder(RowReview)
_FIRST = ("device", "entry")  # further columns of a spreadsheet


class FleetLine(ResultLine, frozen=True, kw_only=True, omit_defaults=True):
    """A line of `limiar results --json` and who it is of. `id` counts in the order in which rows came to the collector."""

    device: str
    entry: int | None = None  # what `limiar results show` takes on the device


def fleet_listed(config: Path, which: Filter, device: str | None, limit: int | None) -> Iterator[FleetLine]:
    """Lines in the order in which they came; with a limit, the newest. Raises LimiarError."""
    with FleetDatabase(read_config(config).database.url) as database:
        lines = _lines(database, which, device, limit)
        yield from reversed(list(lines)) if limit is not None else lines


def fleet_csv_lines(lines: Iterable[FleetLine]) -> Iterator[bytes]:
    """The lines of a spreadsheet. Raises LimiarError."""
    yield csv_header(*_FIRST)
    for line in lines:
        yield csv_line(line, line.device, "" if line.entry is None else line.entry)


def write_fleet_csv(path: Path, lines: Iterable[FleetLine]) -> None:
    """A spreadsheet, whole or not at all. Raises LimiarError."""
    file = OutputFile(path)
    try:
        for line in fleet_csv_lines(lines):
            file.write(line)
    except BaseException:
        file.discard()
        raise
    file.close()


def _lines(database: FleetDatabase, which: Filter, device: str | None, limit: int | None) -> Iterator[FleetLine]:
    """The newest first if there is a limit."""
    review = ROWS.alias("review")
    statement = (
        select(ROWS.c.id, ROWS.c.device, ROWS.c.entry, ROWS.c.line, review.c.line)
        .select_from(ROWS.outerjoin(review, review.c.id == _holds()))
        .where(*_conditions(which, device))
        .order_by(ROWS.c.id.asc() if limit is None else ROWS.c.id.desc())
    )
    if which.reviewed is not None:
        statement = statement.where(review.c.id.is_not(None) if which.reviewed else review.c.id.is_(None))
    with reading(database) as connection:
        streaming = connection.execution_options(stream_results=True, yield_per=_AT_ONCE)
        for number, name, entry, line, said in streaming.execute(statement if limit is None else statement.limit(limit)):
            try:
                yield _line(number, name, entry, line, said)
            except msgspec.MsgspecError as error:
                met = f"{database.where}: row {number} is damaged ({error})"
                raise StoreError("E-COLLECT-DATABASE", f"{met}: restore a copy of the database") from None


def _holds() -> ScalarSelect[int]:
    """The last review of a row that nobody took back. The ID on the device says which is the last."""
    said, back = ROWS.alias("said"), ROWS.alias("back")
    same = (back.c.device == said.c.device) & (back.c.of == said.c.of) & (back.c.takes_back == said.c.key)
    return (
        select(said.c.id)
        .where(said.c.device == ROWS.c.device, said.c.of == ROWS.c.key, said.c.takes_back.is_(None))
        .where(~select(back.c.id).where(same).exists())
        .order_by(func.coalesce(said.c.entry, 0).desc())
        .limit(1)
        .correlate(ROWS)
        .scalar_subquery()
    )


def _conditions(which: Filter, device: str | None) -> Iterator[ColumnElement[bool]]:
    yield ROWS.c.id > which.after
    yield ROWS.c.kind.in_(which.kinds)
    if device is not None:
        yield ROWS.c.device == device
    if which.before is not None:
        yield ROWS.c.id < which.before
    if which.since is not None:
        yield ROWS.c.time >= which.since
    if which.confidence is not None:
        yield ROWS.c.confidence.between(*which.confidence)
    for name in ("decision", "label", "source"):
        if (value := getattr(which, name)) is not None:
            yield ROWS.c[name] == value


def _line(number: int, device: str, entry: int | None, line: str, said: str | None) -> FleetLine:
    """Raises MsgspecError."""
    kept, review = LINE.decode(line), None if said is None else _REVIEW.decode(said)
    fields = {name: getattr(kept, name) for name in ResultLine.__struct_fields__}
    fields |= {"id": number, "device": device, "entry": entry, "review": None, "reviewed": None}
    if review:
        fields["reviewed"] = kept.label if review.label is None else review.label
        fields["review"] = Review(review.label, review.by, review.why, review.time)
    return FleetLine(**fields)
