"""The audit log for people, and its check."""

from pathlib import Path

import msgspec
from msgspec import Struct

from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.store import audit
from limiar.edge_app.store.audit_check import check
from limiar.edge_app.store.reader import Reader
from limiar.edge_app.text import counted

_DETAIL = msgspec.json.Decoder(dict[str, str])
_SHOWN = 60  # characters of a value


class AuditLine(Struct, frozen=True):
    """A row of the log."""

    id: int
    time: str  # UTC, by the device's clock
    boot_id: str
    kind: str
    detail: dict[str, str]
    entry: int  # the last one that the log covers up to here
    hash: str

    def text(self) -> str:
        """For a terminal."""
        shown = {name: value if len(value) <= _SHOWN else value[:_SHOWN] + "…" for name, value in self.detail.items() if value}
        return printable(" ".join(f"{name}={value}" for name, value in list(shown.items())[:9]))


class AuditCheck(Struct, frozen=True, omit_defaults=True):
    """Whether anything was changed behind limiar's back. As JSON, `code` and `message` are left out if nothing was."""

    rows: int  # of the log
    covered: int  # the last entry that it covers
    removed: int  # the last entry that was removed to save space
    head: bool  # whether the file with the log's end is there; without it, nothing tells that the end was cut off
    code: str | None = None  # E-AUDIT-BROKEN
    message: str | None = None  # the first broken link

    def text(self) -> str:
        """For a terminal."""
        if self.code:
            return f"{self.code}: {self.message}"
        end = (
            "" if self.head or not self.rows else "; there is no .head file beside it, which would tell if its end was cut off"
        )
        return f"in order: {counted(self.rows, 'row')}, which cover the entries up to {self.covered}{end}"


def audited(db: Path) -> list[AuditLine]:
    """All rows. Raises StoreError."""
    with Reader(db) as reader:
        try:
            return [
                AuditLine(row.id, row.time, row.boot_id, row.kind, _DETAIL.decode(row.detail), row.entry, row.hash.hex())
                for row in audit.log(reader.rows)
            ]
        except msgspec.MsgspecError as error:
            met = f"{printable(str(db))}: a row of the audit log cannot be read ({error})"
            raise StoreError("E-STORE-DAMAGED", f"{met}: run `limiar results audit --check`") from None


def checked(db: Path) -> AuditCheck:
    """Checks the log and all that it covers, as it is at one moment. Raises StoreError."""
    with Reader(db) as reader:
        found = check(reader)
    code = message = None
    if found.broken:
        code = "E-AUDIT-BROKEN"
        message = f"{printable(str(db))}: {printable(found.broken)}: find out who wrote to it, and keep a copy"
    return AuditCheck(found.rows, found.covered, found.removed, found.head, code, message)
