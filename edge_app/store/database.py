"""The SQLite file under the store: which program owns it, who writes to it, and whether its disk keeps what is committed.

One process writes. Its lock is on the file itself, not on a name: a hard link, a bind mount or a linked folder leads to the
same lock. But SQLite finds a journal by the name of its database: a file with two names has two journals, and answers stored
under one name are lost under the other. So such a file is refused. Everything reported must be stored under the given name, so
the name is checked again after each commit.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from limiar.edge_app.errors import StoreError, printable
from limiar.edge_app.system.limits import limit_met

APPLICATION_ID = int.from_bytes(b"limi", "big")  # in the header, where file(1) and limiar see whose database this is
OWN_TABLES = frozenset({"bundles", "results", "camera_results"})  # limiar's, also before it set an application_id
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES, _APPLICATION_ID_AT = 100, 68  # sqlite.org/fileformat2.html, section 1.3

_CHECK_S = 0.5  # for quick_check at start: a million answers, 218 MB in the page cache, took 0.5 s
_CHECK_STEPS = 10_000  # of SQLite's virtual machine, between two looks at the clock

# An open-file-description lock: a process's fcntl locks would end when SQLite closes any descriptor of the file, and NFS and
# SMB emulate flock by a lock on the whole file, which would keep our own SQLite out. Its place is far beyond SQLite's locks.
_LOCK_AT = 1 << 60
_LOCK = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_AT, 1, 0)  # struct flock, fcntl(2)

# Write-ahead logging needs memory that all users of the file share, and machines share none (sqlite.org/wal.html).
_SHARES = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "virtiofs", "vboxsf", "prl_fs", "fuse.vmhgfs-fuse"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.gvfsd-fuse", "fuse.davfs2"),
    }
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# SQLITE_ERROR: our SQL fits our tables, so the tables must have changed.
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH})
_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)  # the last two come from damaged text and lengths, also in a message
_DISK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_PROBE_BYTES = 128 << 10  # more than a new journal and its memory map


class Database:
    """A limiar database, open for writing by this process alone; a new one has no tables yet."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError: another process writes, another program owns it, it has two names, is damaged, cannot be used."""
        self.path = Path(os.path.realpath(path))
        self._connection: sqlite3.Connection | None = None
        self._beside: dict[str, tuple[int, int]] = {}  # -wal and -shm -> device, inode
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._locked()
        except OSError as error:
            raise self._refused(error) from None
        try:
            self._check_names()
            self._check_owner()
            self.write_ahead = self._connect()
            self._check_pages()
            self._check_schema()
        except BaseException as error:
            reason = self._reason(error)
            self.close()
            raise reason from None

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Runs a statement and returns all rows. Raises StoreError."""
        assert self._connection
        try:
            return self._connection.execute(sql, values).fetchall()
        except _ERRORS as error:
            raise self.broken(error) from None

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Runs a statement without a result; returns how many rows it changed. Raises StoreError."""
        assert self._connection
        try:
            return self._connection.execute(sql, values).rowcount
        except _ERRORS as error:
            raise self.broken(error) from None

    def change_each(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Runs a statement without a result once for each row: faster than calls of `change`. Raises StoreError."""
        assert self._connection
        try:
            self._connection.executemany(sql, rows)
        except _ERRORS as error:
            raise self.broken(error) from None

    def execute_script(self, sql: str) -> None:
        """Runs several statements. Raises StoreError."""
        assert self._connection
        try:
            self._connection.executescript(sql)
        except _ERRORS as error:
            raise self.broken(error) from None

    def add_function(self, name: str, function: Callable[..., bytes]) -> None:
        """What statements may call from now on."""
        assert self._connection
        self._connection.create_function(name, -1, function, deterministic=True)

    def check_place(self) -> None:
        """Checks that file and journal still have their names, so that what was committed is there. Raises StoreError."""
        here = os.fstat(self._descriptor)
        if here.st_nlink > 1:
            self._check_names()
        for suffix, identity in {"": (here.st_dev, here.st_ino), **self._beside}.items():
            if self._identity(suffix) != identity:
                met = f"{printable(str(self.path))}{suffix} was deleted, renamed or replaced while limiar wrote to it"
                cure = "answers that were not reported are not kept: put the file back, or run again"
                raise StoreError("E-STORE-MOVED", f"{met}: {cure}")

    def note_journal(self) -> None:
        """Notes the identity of the journal's files. To be called after the transaction that makes them."""
        suffixes = ("-wal", "-shm") if self.write_ahead else ()
        self._beside = {suffix: found for suffix in suffixes if (found := self._identity(suffix))}

    def close(self) -> None:
        """Closes the database, and its descriptor last: closing that also frees SQLite's own locks."""
        if self._connection:
            self._connection.close()
        os.close(self._descriptor)

    def _reason(self, error: BaseException) -> BaseException:
        if isinstance(error, _ERRORS):
            return self.broken(error)
        return self._refused(error) if isinstance(error, OSError) else error

    def broken(self, error: Exception) -> StoreError:
        """The StoreError for an error of SQLite, by its code and by what the system says about the disk."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # one without a code: text that is not UTF-8
        primary = code & 0xFF
        try:
            self.check_place()  # if the file was moved, the error is only a consequence
        except StoreError as moved:
            return moved
        if primary in _BUSY:
            where = printable(str(self.path))
            return StoreError("E-STORE-BUSY", f"{where} is locked by another program: close it, or use another --db")
        if primary == sqlite3.SQLITE_FULL:
            return self._refused(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        if primary in _DISK and (reason := self._probe()):
            return self._refused(reason)
        if code in (sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_IOERR_RDLOCK, sqlite3.SQLITE_PROTOCOL):
            return self._refused(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)))
        if primary in _DAMAGED:
            return self.damaged(str(error))
        return self._refused(error)

    def damaged(self, met: str) -> StoreError:
        """The error for a damaged file."""
        import shlex  # rarely needed

        where = printable(str(self.path))
        # Not `.recover`: Debian 12's sqlite3 lacks it. A dump of a damaged database ends in ROLLBACK.
        save = f"sqlite3 {shlex.quote(where)} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 SAVED.db"
        cure = f"move it and its -wal aside and scan again, or save what can be read and use that: {save}"
        return StoreError("E-STORE-DAMAGED", f"{where}: {printable(met)}: {cure}")

    def _locked(self) -> int:
        """A locked descriptor of the file; the kernel frees the lock when its holder ends, however that happens."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
            try:
                if not stat.S_ISREG((found := os.fstat(descriptor)).st_mode):
                    raise OSError(errno.EINVAL, "exists, but is not a plain file")
                try:
                    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # EINVAL: a kernel without such locks
                        raise
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._identity("") == (found.st_dev, found.st_ino):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # replaced meanwhile

    def _check_names(self) -> None:
        """Raises StoreError if the file has a second name, which would have a journal of its own."""
        where = printable(str(self.path))
        names = os.fstat(self._descriptor).st_nlink
        if names > 1:
            met = f"{where} has {names} names (hard links), and answers stored under one would be lost under the other"
            cure = f"remove the others (find / -xdev -samefile {where}), or copy the file and use the copy"
            raise StoreError("E-STORE-NAMES", f"{met}: {cure}")
        folder = os.open(self.path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            alone = _mount_id(self._descriptor) != _mount_id(folder)
        finally:
            os.close(folder)
        if alone:
            met = f"{where} is mounted as a single file, so its journal would be elsewhere and be lost"
            raise StoreError("E-STORE-NAMES", f"{met}: mount its folder instead")

    def _check_owner(self) -> None:
        """Checks the owner before anything is changed, and leaves no trace. Raises StoreError for another program's file."""
        head = os.pread(self._descriptor, _HEADER_BYTES, 0)
        self._new = not head
        if not head:
            return
        where = printable(str(self.path))
        if head[: len(_MAGIC)] != _MAGIC:
            cure = "check that it is a limiar database, or use another --db"
            raise StoreError("E-STORE-WRITE", f"{where} does not begin like a database: {cure}")
        owner = int.from_bytes(head[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big")
        if owner == APPLICATION_ID:
            return
        met, tables = f"application_id {owner:#x}", set[str]()
        if owner == 0:
            tables = self._tables("mode=ro&immutable=1")  # reads the file as it is, and makes no file beside it
            if not tables and self._identity("-wal"):
                tables = self._tables("mode=ro")  # the tables may still be in the journal only
            if not tables or tables >= OWN_TABLES:
                self._new = True
                return
            met = f"tables {', '.join(sorted(tables)[:3])}"
        cure = "nothing in it was changed: give another --db"
        raise StoreError("E-STORE-FOREIGN", f"{where} is another program's database ({printable(met)}): {cure}")

    def _tables(self, how: str) -> set[str]:
        with contextlib.closing(sqlite3.connect(f"{self.path.as_uri()}?{how}", uri=True)) as db:
            return {str(name) for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - {
                "sqlite_sequence"
            }

    def _connect(self) -> bool:
        """Opens the file with a journal that its disk can keep, and says whether that is a write-ahead log."""
        if self.write_ahead_here():
            try:
                connection = self._open()
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # maps the shared memory
                if mode == "wal":
                    connection.execute("PRAGMA synchronous=FULL")
                    return True
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _DISK or self._probe():
                    raise
        connection = self._open()
        # In this mode SQLite reads a write-ahead log, if another disk has left one, without shared memory.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        connection.execute("PRAGMA locking_mode=NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)  # left by the attempt above
        # FULL does not flush the folder after deleting the journal: a power cut could bring it back and undo the commit.
        connection.execute("PRAGMA synchronous=EXTRA")
        return False

    def write_ahead_here(self) -> bool:
        """Whether the file is on a disk of this machine, not on a share. Only a trial shows whether it has shared memory."""
        return _file_system(_mount_id(self._descriptor)) not in _SHARES

    def _open(self) -> sqlite3.Connection:
        if self._connection:
            self._connection.close()
        self._connection = connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cell_size_check=ON")
        if self._new:
            # Before the journal is chosen, so that the id is in the file itself and not in a log beside it.
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._new = False
        return connection

    def _check_pages(self) -> None:
        """Runs quick_check for a limited time, so a large database is read only in part. Raises StoreError."""
        assert self._connection
        end = time.monotonic() + _CHECK_S
        self._connection.set_progress_handler(lambda: time.monotonic() > end, _CHECK_STEPS)
        try:
            (met,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        else:
            if met != "ok":
                raise self.damaged(" ".join(str(met).split()))
        finally:
            self._connection.set_progress_handler(None, 0)

    def _check_schema(self) -> None:
        """Raises StoreError for a trigger or view, which could change or drop an answer that limiar reports as kept."""
        found = self.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') LIMIT 1")
        if found:
            kind, name = found[0]
            met = f"{printable(str(self.path))} has a {kind} that limiar did not make ({printable(str(name))})"
            cure = "it could change what is stored: remove it with sqlite3, or give another --db"
            raise StoreError("E-STORE-FOREIGN", f"{met}: {cure}")

    def _identity(self, suffix: str) -> tuple[int, int] | None:
        try:
            found = os.lstat(f"{self.path}{suffix}")
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _refused(self, error: Exception) -> StoreError:
        """The system's reason, and the cure for it."""
        where = printable(str(self.path))
        number = error.errno if isinstance(error, OSError) else None
        met = f"{where}: {error.strerror if isinstance(error, OSError) else error}"
        if (limit := limit_met(error)) and limit.code == "E-MACHINE-LIMIT" and not isinstance(error, BlockingIOError):
            return StoreError(limit.code, limit.message)
        if number in (errno.EEXIST, errno.ENOTDIR):
            met = f"{where}: its folder cannot be created: there is a file of that name"
            return StoreError("E-STORE-WRITE", f"{met}: give another place with --db or LIMIAR_STATE")
        if isinstance(error, BlockingIOError):
            return StoreError("E-STORE-BUSY", f"another limiar writes to {where}: wait for it, or use another --db")
        if number in _FULL:
            met = f"the disk of {where} is full; what was reported is kept"
            return StoreError("E-STORE-FULL", f"{met}: free space, then run again")
        if number in _NO_LOCKS:
            cure = "mount the share with locks, or use a --db on a disk of this machine"
            return StoreError("E-STORE-LOCKS", f"{met}, and without locks a second writer cannot be kept out: {cure}")
        if number in _NOT_ALLOWED:
            cure = "give a place that this user can write, with --db or LIMIAR_STATE"
            return StoreError("E-STORE-WRITE", f"{met}: {cure}")
        cure = "check that it is a limiar database on a disk that can be written, or use another --db"
        if number == errno.EFBIG:
            cure = "raise the limit on a file's size (ulimit -f), or use a --db on a file system that takes larger files"
        return StoreError("E-STORE-WRITE", f"{met}: {cure}")

    def _probe(self) -> OSError | None:
        """The system's reason, which SQLite does not pass on: writing a small file beside the database meets the same one."""
        probe = self.path.with_name(f".{self.path.name}.{os.getpid()}.probe")
        try:
            try:
                with probe.open("xb") as file:
                    file.write(bytes(_PROBE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            return error
        return None


def _mount_id(descriptor: int) -> int:
    """The mount that an open file is on; -1 if there is no /proc."""
    with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return int(line.partition(":")[2])
    return -1


def _file_system(mount_id: int) -> str:
    """A mount's type, as mount(8) shows it; empty if it is not known."""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            mount, _, kind = line.partition(" - ")
            if mount.partition(" ")[0] == str(mount_id):
                return kind.partition(" ")[0]
    return ""
