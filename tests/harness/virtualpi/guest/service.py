"""What a machine with limiar.service does in a test; prints as virtualpi/boot.py says. For the guest; needs only Python."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from os import kill, listdir
from pathlib import Path

DATABASE = Path("/var/lib/limiar/results.db")
LOOKED = Path("/run/looked")  # the database as it was before the service started
INBOX = Path("/srv/limiar/inbox")
STORED = Path("/srv/limiar/stored")  # images to put into the inbox: on the same mount, for a rename
START_S, ANSWER_S, HUNG_S = 300.0, 240.0, 300.0  # limits in an emulator, in which a start takes a minute
QUIET_S = 60.0  # after which a service that nobody watches is still hung


def say(name: str, found: object) -> None:
    print(f"@begin {name}\n{found if isinstance(found, str) else json.dumps(found)}\n@errors\n@end 0", flush=True)


def ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def wait(until: Callable[[], object], limit_s: float) -> float | None:
    """How long it took, or None."""
    started = time.monotonic()
    while not until():
        if time.monotonic() - started > limit_s:
            return None
        time.sleep(0.1)
    return round(time.monotonic() - started, 1)


def shown(*names: str) -> dict[str, str]:
    lines = ask("systemctl", "show", "limiar", *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def active() -> bool:
    return ask("systemctl", "is-active", "limiar") == "active"


def images(after: int = 0, database: Path = DATABASE) -> list[tuple[int, str]]:
    """Sequence number and hash of every answer."""
    if not database.exists():
        return []
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    wanted = "SELECT sequence, image_sha256 FROM results WHERE sequence > ? ORDER BY sequence"
    try:
        return [(number, sha256.hex()) for number, sha256 in db.execute(wanted, (after,))]
    except sqlite3.OperationalError:  # it has no tables yet
        return []
    finally:
        db.close()


def look() -> None:
    """Before the service starts, which would answer again what was lost. A copy: a reader makes files that belong to root."""
    LOOKED.mkdir()
    for path in DATABASE.parent.glob(f"{DATABASE.name}*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, LOOKED)


def rows(folder: Path) -> dict[str, object]:
    database = folder / DATABASE.name
    if not database.exists():
        return {"integrity": "ok", "images": [], "frames": {}}
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        integrity = db.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        integrity = str(error)
    finally:
        db.close()
    return {"integrity": integrity, "images": [sha256 for _, sha256 in images(0, database)], "frames": {}}


def files(folder: Path) -> list[str]:
    return sorted(name for name in listdir(folder) if name.endswith(".png")) if folder.is_dir() else []


def put(count: int) -> None:
    """So many more images appear in the inbox, by a rename."""
    names = files(STORED)[:count]
    assert len(names) == count
    for name in names:
        (STORED / name).rename(INBOX / name)


def answered_all() -> bool:
    return not files(INBOX)


def started() -> None:
    say("started", {"seconds": wait(active, START_S), **shown("NRestarts", "ActiveState", "User")})
    say("journal", ask("journalctl", "--unit=limiar", "--no-pager", "--lines=20", "--output=cat"))


def cut() -> None:
    """What the last cut left, then every answer as soon as it can be read."""
    started()
    say("cache", Path("/sys/block/vdb/queue/write_cache").read_text().strip())
    say("kernel", ask("busybox", "dmesg"))
    say("rows", rows(LOOKED))
    print("@scan", flush=True)
    seen = max((number for number, _ in images(0, LOOKED / DATABASE.name)), default=0)
    while True:
        for number, sha256 in images(seen):
            seen = number
            print(json.dumps({"sha256": sha256}), flush=True)
        time.sleep(0.02)


def last() -> None:
    """The end: everything must be answered once."""
    started()
    say("cache", Path("/sys/block/vdb/queue/write_cache").read_text().strip())
    say("kernel", ask("busybox", "dmesg"))
    say("rows", rows(LOOKED))
    say("drained", {"seconds": wait(answered_all, 600.0)})
    say("answered", rows(DATABASE.parent))
    say(
        "files", {"done": len(files(INBOX / "done")), "quarantine": len(files(INBOX / "quarantine")), "left": len(files(INBOX))}
    )


def classifier() -> int:
    """The process that has a runtime loaded."""
    (main,) = shown("MainPID").values()
    for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split():
        if "litert" in Path(f"/proc/{pid}/maps").read_text():
            return int(pid)
    raise AssertionError("no process of the service has a runtime")


def hang() -> None:
    """A hung worker is replaced by the service, a hung service by systemd; then images are answered again."""
    started()
    say("exposure", ask("systemd-analyze", "security", "--no-pager", "limiar").splitlines()[-1])
    say("verify", ask("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/limiar.service"))
    put(20)
    say("answers", {"seconds": wait(answered_all, ANSWER_S)})
    kill(classifier(), signal.SIGSTOP)
    put(20)
    say("worker", {"seconds": wait(answered_all, ANSWER_S), **shown("NRestarts")})
    main = shown("MainPID")["MainPID"]
    kill(int(main), signal.SIGSTOP)
    put(20)
    seconds = wait(lambda: shown("MainPID")["MainPID"] not in (main, "0") and active(), HUNG_S)
    say("main", {"seconds": seconds, "answered": wait(answered_all, ANSWER_S), **shown("NRestarts")})
    ask("systemctl", "reload", "limiar")
    say("reload", {"seconds": wait(active, ANSWER_S), **shown("NRestarts", "MainPID")})
    began = time.monotonic()
    ask("systemctl", "stop", "limiar")
    say("stop", {"seconds": round(time.monotonic() - began, 1), **shown("Result", "ExecMainStatus")})
    say("journal-end", ask("journalctl", "--unit=limiar", "--no-pager", "--lines=40", "--output=short-monotonic"))
    roots = [line.split() for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == "/"]
    say("root", {"read_only": all("ro" in options.split(",") for *_, options, _, _ in roots)})


def unwatched() -> None:
    """The control: without WatchdogSec nobody notices."""
    started()
    main = shown("MainPID")["MainPID"]
    kill(int(main), signal.SIGSTOP)
    put(20)
    seconds = wait(lambda: shown("MainPID")["MainPID"] != main, QUIET_S)
    say("main", {"seconds": seconds, **shown("NRestarts")})


if __name__ == "__main__":
    if sys.argv[1:] == ["look"]:
        look()
        sys.exit()
    words = dict(word.split("=", 1) for word in Path("/proc/cmdline").read_text().split() if "=" in word)
    sys.stdout = Path(words["speech"]).open("w", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115  # to the end
    try:
        {"cut": cut, "last": last, "hang": hang, "unwatched": unwatched}[words["part"]]()
    except BaseException:
        say("failed", traceback.format_exc())
        say("journal-end", ask("journalctl", "--no-pager", "--lines=80", "--output=cat"))
    print("@done", flush=True)
    ask("systemctl", "poweroff", "--force", "--force")
