"""A device's clock may say anything: it is written down, and nothing fails."""

import time

import msgspec
import pytest

from limiar.edge_app.system.clock import iso, now_ns, take_any_year, utc_now

YEARS = {
    "0001-01-01T00:00:00.000Z": -62_135_596_800,
    "1970-01-01T00:00:00.500Z": 0.5,
    "1969-12-31T23:59:59.750Z": -0.25,
    "2262-12-31T23:59:59.000Z": 9_246_182_399,
    "9999-12-31T23:59:59.000Z": 253_402_300_799,
    "12026-07-13T00:00:00.000Z": 317_353_420_800,
}


@pytest.mark.parametrize("said", YEARS)
def test_any_year_has_its_name_and_fits_a_message(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda clock: float(YEARS[said]))
    assert utc_now() == said
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(now_ns())) == now_ns()


def test_a_clock_that_python_does_not_take_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises() -> float:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")

    monkeypatch.setattr(time, "time", raises)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: 253_402_300_799.0)
    take_any_year()
    assert time.time() == 253_402_300_799.0


def test_the_clock_is_the_system_s() -> None:
    before, found, after = time.time_ns(), now_ns(), time.time_ns()
    assert before - 2_000_000 <= found <= after
    assert iso(before)[:17] <= utc_now()[:17] <= iso(time.time_ns())[:17]
