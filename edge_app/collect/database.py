"""The database of a fleet: opened, made, and held by one collector at a time."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, func, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from limiar.edge_app.collect.schema import ABOUT, METADATA, SCHEMA
from limiar.edge_app.errors import StoreError, printable

_WAIT_S = 5.0  # for another process that writes
_READS = "limiar_reads"  # an execution option of ours
_SERVER, _GONE = (0, 0), (0, -1)  # in place of a device and inode
_LOCK = int.from_bytes(b"limiar", "big")  # of PostgreSQL's advisory locks, which are numbers

# The other end of a connection may vanish without a word. As Linux has it, a client then waits for 15 minutes, and a server
# keeps our lock for two hours, in which a collector that was started again is refused.
# s, s, times; ms for what was sent and is not answered, during which no keepalive is sent. The lock is then free after 61 s.
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}


class FleetDatabase:
    """`engine` for transactions; use as a context manager."""

    def __init__(self, url: str, *, make: bool = False) -> None:
        """url: of SQLAlchemy, "sqlite:///FILE" or "postgresql+psycopg://USER@HOST/NAME". make: whether to make the tables.

        Raises StoreError: E-COLLECT-DATABASE, E-COLLECT-MISSING, E-COLLECT-SCHEMA.
        """
        self.where = printable(shown(url))
        self.engine = _engine(url, self.where, make)
        self._held = _GONE
        try:
            self._check(make)
        except BaseException:
            self.engine.dispose()
            raise

    def __enter__(self) -> "FleetDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    def _check(self, make: bool) -> None:
        if make:
            with errors_named(self.where), self.engine.begin() as connection:
                _make(connection, self.where)
        with reading(self) as connection:
            found = connection.scalar(select(ABOUT.c.schema)) if _made(connection, self.where) else None
        if found is None:
            met = f"{self.where} has no tables of a fleet"
            raise StoreError("E-COLLECT-MISSING", f"{met}: check `url`, or start `limiar collect`, which makes them")
        if found != SCHEMA:
            met = f"{self.where} has schema {found}, this limiar knows {SCHEMA}"
            raise StoreError("E-COLLECT-SCHEMA", f"{met}: use the limiar that wrote it, or another database")

    @contextlib.contextmanager
    def held(self) -> Iterator[Connection]:
        """A connection for all writing; no other collector has one meanwhile. Raises StoreError: also E-COLLECT-BUSY.

        The lock lives and dies with the connection: whoever lost the one has lost the other.
        """
        self.engine.dispose()  # a connection from before may be to a file that is not there any more
        if self._inode() == _GONE:
            met = f"{self.where} was removed while it was in use"
            raise StoreError("E-COLLECT-MISSING", f"{met}: put it back, or restart `limiar collect`, which makes a new one")
        lock = _server_lock if self.engine.dialect.name == "postgresql" else _file_lock
        with errors_named(self.where), self.engine.connect() as connection, lock(connection) as locked:
            if not locked:
                met = f"another `limiar collect` fills {self.where}"
                raise StoreError("E-COLLECT-BUSY", f"{met}: stop it first, or give this one another `url`")
            self._held = self._inode()
            self._check(make=False)
            yield connection

    def check_same(self) -> None:
        """After a commit: a file that was removed or replaced takes rows that nobody finds. Raises StoreError."""
        if self._inode() != self._held:
            met = f"{self.where} was removed, or another one put in its place, while it was in use"
            raise StoreError("E-COLLECT-DATABASE", f"{met}: stop `limiar collect` before you do so")

    def _inode(self) -> tuple[int, int]:
        """Which file it is; PostgreSQL looks after its own."""
        if self.engine.dialect.name == "postgresql":
            return _SERVER
        try:
            found = os.stat(_file(self.engine.url))
        except OSError:
            return _GONE
        return found.st_dev, found.st_ino


@contextlib.contextmanager
def reading(database: FleetDatabase) -> Iterator[Connection]:
    """A connection that only reads, and sees one moment. Raises StoreError E-COLLECT-DATABASE."""
    with errors_named(database.where), database.engine.connect() as connection:
        options = {} if database.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        yield connection.execution_options(**{_READS: True}, **options)


def shown(url: str) -> str:
    """An address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "the database"


def check_place(url: str) -> None:
    """Whether a file of SQLite that is not there yet can be made. Raises StoreError E-COLLECT-DATABASE."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not os.access(Path(_file(parsed)).parent, os.W_OK | os.X_OK):
        met = f"{printable(shown(url))} cannot be made: its folder is missing, or this user cannot write there"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: make the folder, and let this user write in it")


@contextlib.contextmanager
def errors_named(where: str) -> Iterator[None]:
    """What a database says, as StoreError E-COLLECT-DATABASE."""
    try:
        yield
    except SQLAlchemyError as error:
        if isinstance(error, ArgumentError):
            raise StoreError("E-COLLECT-DATABASE", f"{where}: {error}") from None
        said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        met = f"{where}: {printable(' '.join(said.split()))[:400]}"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: check `url`, that the server runs, and its disk") from None


def _engine(url: str, where: str, make: bool) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ArgumentError("neither sqlite nor postgresql")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, where, make)
        return _postgresql(parsed)
    except (ArgumentError, ValueError, NoSuchModuleError, ModuleNotFoundError) as error:  # ValueError: of a port
        met = f"{where} is not the address of a database ({printable(str(error))[:100]})"
        cure = "give one such as sqlite:///fleet.db or postgresql+psycopg://limiar@localhost/fleet"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: {cure}") from None


def _postgresql(url: URL) -> Engine:
    arguments = {"connect_timeout": int(_WAIT_S), "client_encoding": "utf8", **_ALIVE}
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    engine = sqlalchemy.create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=2, connect_args=arguments)
    event.listen(engine, "connect", _begun)
    return engine


def _begun(connection: Any, record: object) -> None:
    """Of PostgreSQL. Raises ArgumentError."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", "SQL_ASCII"):
        raise ArgumentError(
            f"its encoding {encoding} does not hold every name of a file: make it with createdb -T template0 -E UTF8"
        )
    for name, value in _ALIVE.items():
        connection.execute(f"SET tcp_{name.removeprefix('tcp_')} = {value}")  # the server's end
    connection.commit()


def _sqlite(url: URL, where: str, make: bool) -> Engine:
    if not url.database or Path(url.database).name == ":memory:":
        raise ArgumentError("it names no file")
    if Path(url.database).is_dir():
        raise ArgumentError("it is a folder")
    if not make and not Path(url.database).is_file():
        raise StoreError("E-COLLECT-MISSING", f"there is no {where}: check `url`, or start `limiar collect`, which makes it")
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _WAIT_S, "isolation_level": None})
    pragmas = ("synchronous = FULL", "foreign_keys = ON", *(("journal_mode = WAL",) if make else ()))  # the file keeps its mode

    def prepare(connection: sqlite3.Connection, record: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Of SQLite, whose module begins a transaction only at its first change, when what was read before may be old."""
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextlib.contextmanager
def _server_lock(connection: Connection) -> Iterator[bool]:
    with connection.begin():
        locked = bool(connection.scalar(select(func.pg_try_advisory_lock(_LOCK))))
    try:
        yield locked
    finally:
        connection.invalidate()  # its locks go with it


@contextlib.contextmanager
def _file_lock(connection: Connection) -> Iterator[bool]:
    path = _file(connection.engine.url)
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        met = f"{printable(path)}.lock cannot be opened ({error.strerror})"
        raise StoreError("E-COLLECT-DATABASE", f"{met}: let this user write in its folder") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked = False
    else:
        locked = True
    try:
        yield locked
    finally:
        os.close(descriptor)


def _file(url: URL) -> str:
    """Of SQLite; a link and what it leads to are one."""
    assert url.database  # see _sqlite
    return os.path.realpath(url.database)


def _make(connection: Connection, where: str) -> None:
    """Raises StoreError E-COLLECT-SCHEMA."""
    if not _made(connection, where):
        METADATA.create_all(connection)
        connection.execute(insert(ABOUT).values(id=1, schema=SCHEMA))


def _made(connection: Connection, where: str) -> bool:
    """Whether it has the tables of a fleet; False: it has none. Raises StoreError E-COLLECT-SCHEMA: those of something else."""
    there = set(inspect(connection).get_table_names())
    if there and not there.issuperset(METADATA.tables):
        met = f"{where} has tables, and not those of a fleet ({printable(', '.join(sorted(there)))[:100]})"
        raise StoreError("E-COLLECT-SCHEMA", f"{met}: give an empty database")
    return bool(there)
