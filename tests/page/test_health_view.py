"""The health view, and the last day that it shows."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.health.status import ClockStatus, DiskStatus, DriftStatus, ProcessStatus, SourceStatus, Status, Totals
from limiar.edge_app.health.status import problems as problems_of
from limiar.edge_app.page.history import DAY_S, EVERY_S, FILE, SAMPLES, History, Sample
from limiar.edge_app.page.plots import HEIGHT, WIDTH, hours, plots
from limiar.edge_app.page.statuses import Known, Statuses
from pages import until
from services import Service, noise

DAY = 1.8e9  # seconds since 1970


class Clocks:
    """Both clocks of a history, moved by hand."""

    def __init__(self) -> None:
        self.wall_s, self.monotonic_s = DAY, 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def history(folder: Path, clocks: Clocks) -> History:
    return History(folder, lambda: clocks.wall_s, lambda: clocks.monotonic_s)


def status(answered: int = 0, pid: int = 1, **more: object) -> Status:
    made = Status(
        running=True,
        app="limiar 0",
        pid=pid,
        clock=ClockStatus(trusted=True, why="a clock with a battery agrees"),
        totals=Totals(answered=answered),
        **more,
    )
    return msgspec.structs.replace(made, problems=problems_of(made))


def test_a_sample_is_kept_each_minute_with_the_answers_since_the_one_before(tmp_path: Path, clocks: Clocks) -> None:
    kept = history(tmp_path, clocks)
    kept.sample(status(5))
    clocks.pass_by(30)
    kept.sample(status(20))
    clocks.pass_by(30)
    kept.sample(status(35))
    assert [one.answers for one in kept.last_day()] == [None, 30.0]


def test_a_service_that_started_again_counts_from_its_next_sample(tmp_path: Path, clocks: Clocks) -> None:
    kept = history(tmp_path, clocks)
    for answered, pid in ((100, 1), (3, 2), (9, 2)):
        kept.sample(status(answered, pid))
        clocks.pass_by(EVERY_S)
    assert [one.answers for one in kept.last_day()] == [None, None, 6.0]


def test_it_is_there_after_the_next_start_and_never_older_than_a_day(tmp_path: Path, clocks: Clocks) -> None:
    with history(tmp_path, clocks) as kept:
        for _ in range(3):
            kept.sample(status())
            clocks.pass_by(EVERY_S)
    assert len(history(tmp_path, clocks).last_day()) == 3
    clocks.wall_s += DAY_S - 2.5 * EVERY_S
    assert len(history(tmp_path, clocks).last_day()) == 2


def test_it_is_written_once_an_hour(tmp_path: Path, clocks: Clocks) -> None:
    kept = history(tmp_path, clocks)
    kept.sample(status())
    assert not (tmp_path / FILE).exists()
    clocks.pass_by(3600)
    kept.sample(status())
    assert len(msgspec.json.decode((tmp_path / FILE).read_bytes())) == 2


def test_more_than_a_day_is_forgotten(tmp_path: Path, clocks: Clocks) -> None:
    with history(tmp_path, clocks) as kept:
        for _ in range(SAMPLES + 50):
            kept.sample(status())
            clocks.pass_by(EVERY_S)
    assert len(msgspec.json.decode((tmp_path / FILE).read_bytes())) == SAMPLES
    assert (tmp_path / FILE).stat().st_size < 1 << 20


@pytest.mark.parametrize(
    "data", [b"", b"[", b"{}", b"[[-1]]", b'[["a"]]', b"[[1e300]]", b"[" + b"[1]," * 2000 + b"[1]]", b"0" * (2 << 20)]
)
def test_a_file_that_was_not_written_by_it_counts_as_none(tmp_path: Path, clocks: Clocks, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with history(tmp_path, clocks) as kept:
        assert kept.last_day() == []
        kept.sample(status())
    assert len(history(tmp_path, clocks).last_day()) == 1


def test_a_clock_that_was_set_back_leaves_nothing_of_the_future(tmp_path: Path, clocks: Clocks) -> None:
    kept = history(tmp_path, clocks)
    kept.sample(status())
    clocks.wall_s -= 3600
    clocks.monotonic_s += EVERY_S
    kept.sample(status())
    assert [one.time_s for one in kept.last_day()] == [DAY - 3600]


def test_a_disk_that_cannot_be_written_ends_nothing(tmp_path: Path, clocks: Clocks) -> None:
    with history(tmp_path / "gone", clocks) as kept:
        kept.sample(status())
    assert len(kept.last_day()) == 1


def test_plots_stay_in_their_box_and_have_gaps_where_nothing_is_known() -> None:
    samples = [
        Sample(DAY - DAY_S + 60 * i, answers=float(i % 7), temperature=41.5) for i in range(SAMPLES) if not 400 < i < 600
    ]
    found = {plot.measure: plot for plot in plots(samples, DAY)}
    assert set(found) == {"answers", "temperature"}
    assert found["answers"].line.count("M") == 2
    for plot in found.values():
        numbers = [float(one) for one in re.findall(r"[0-9.]+", plot.line + plot.area)]
        assert all(0 <= x <= WIDTH for x in numbers[::2])
        assert all(0 <= y <= HEIGHT for y in numbers[1::2])
    assert (found["answers"].low, found["answers"].high, found["temperature"].now) == (0.0, 6.0, 41.5)


def test_the_table_has_the_means_of_each_hour_the_newest_first() -> None:
    samples = [Sample(DAY - 3700, queue=1), Sample(DAY - 100, queue=2), Sample(DAY - 50, queue=4)]
    found = hours(samples, DAY)
    assert [(DAY - hour.start_s, hour.values[2]) for hour in found] == [(3600, 3.0), (7200, 1.0)]


def shown(client, monkeypatch: pytest.MonkeyPatch, made: Status, language: str = "en") -> str:
    monkeypatch.setattr(Statuses, "now", lambda _: Known(made, 0.0))
    with client() as browser:
        found = browser.get("/health", headers={"Accept-Language": language})
    assert found.status_code == 200
    return found.text


def test_what_needs_a_person_comes_first(client, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SourceStatus(name="ward", kind="folder", state="failed", code="E-NEW", message="the <b>folder</b> is gone")
    full = DiskStatus(free_bytes=0, total_bytes=1 << 30, full=True, full_s=90.0)
    page = shown(client, monkeypatch, status(sources=(failed,), disk=full))
    assert page.index("E-STORE-FULL") < page.index('id="sources"')
    assert "ward: the &lt;b&gt;folder&lt;/b&gt; is gone" in page
    assert "<b>folder" not in page
    assert "All is well." not in page
    assert "All is well." in shown(client, monkeypatch, status())


@pytest.mark.parametrize("language", ["en", "pt"])
def test_everything_that_a_status_can_say_has_words(client, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    sources = tuple(SourceStatus(name=state, kind="camera", state=state) for state in ("ok", "waiting", "failed"))
    processes = tuple(
        ProcessStatus(name=f"p {state}", state=state, restarts=number)
        for number, state in enumerate(("starting", "running", "waiting", "stopped"))
    )
    board = {
        "throttled": ["under-voltage", "clock capped", "throttled", "soft temperature limit", "a new word"],
        "temperature_c": 51.2,
    }
    made = status(sources=sources, processes=processes, drift=(DriftStatus(statistic="brightness", message="m", age_s=5.0),))
    made = msgspec.convert({**msgspec.to_builtins(made), "board": board}, Status)
    page = shown(client, monkeypatch, made, language)
    assert "a new word" in page
    assert "51 °C" in page


def test_that_no_service_runs_is_said_once(client) -> None:
    with client() as browser:
        page = browser.get("/health").text
    assert "E-SERVICE-NONE" in page
    assert "No service runs: nothing new is answered." not in page


def test_the_json_is_what_the_command_prints(client, state: Path) -> None:
    with client() as browser:
        found = browser.get("/status.json")
    command = [sys.executable, "-P", "-m", "limiar", "status", "--json", "--state", str(state)]
    printed = subprocess.run(command, capture_output=True, check=False)
    assert found.mimetype == "application/json"
    assert msgspec.json.decode(found.data).keys() == msgspec.json.decode(printed.stdout).keys()
    assert msgspec.json.decode(found.data, type=Status).app == msgspec.json.decode(printed.stdout, type=Status).app


def test_the_page_keeps_the_day_when_it_ends(server, state: Path) -> None:
    with server() as (process, url):
        until(lambda: b'class="plots"' in urllib.request.urlopen(f"{url}health").read())  # a sample was taken
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert len(msgspec.json.decode((state / FILE).read_bytes())) == 1


def test_a_running_service_is_shown_with_its_sources(tmp_path: Path, project: Path, client) -> None:
    with Service(tmp_path, project / "models" / "lung-nodule") as service, client() as browser:
        service.put("a.png", noise(1)[0])
        service.wait(lambda: service.rows("SELECT 1 FROM entries"))
        until(lambda: b"/results?source=inbox" in browser.get("/health").data)
        assert b"lung-nodule" in browser.get("/health").data


def test_a_sample_is_not_of_the_future_at_once(tmp_path: Path) -> None:
    history = History(tmp_path, wall=lambda: 1000.9, monotonic=lambda: 0.0)
    history.sample(Status(running=False, app="limiar", clock=ClockStatus(trusted=True, why="")))
    assert len(history.last_day()) == 1
