"""When a device sends its status: if what matters in it has changed, and now and then in any case."""

import time
from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from limiar.edge_app.fleet.messages import DeviceStatus, Pull, UplinkState
from limiar.edge_app.health.status import Status
from limiar.edge_app.system.clock import utc_now

_LOOK_S = 5.0  # how often the service is asked
_LEAST_S = 2.0  # between two messages
_SHARE = 20  # steps of a pull that are told


class Telling:
    """Call `turn` often."""

    def __init__(
        self,
        status: Callable[[], Status | None],
        every_s: float,
        *,
        paths: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """status: asks the service; None: it does not answer now. paths: whether names of files leave the device."""
        self._status, self._every_s, self._paths, self._now = status, every_s, paths, now
        self.again()

    def again(self) -> None:
        """Nobody has heard it yet."""
        self._looked_at = self._said_at = float("-inf")
        self._found: Status | None = None
        self._said: object = None

    def turn(self, state: UplinkState) -> bytes | None:
        """The message to be sent now; None: nothing. Call `sent` once it is on its way."""
        now = self._now()
        if now - self._looked_at >= min(_LOOK_S, self._every_s):
            self._looked_at = now
            self._found = self._status()
        if self._found is None or now - self._said_at < min(_LEAST_S, self._every_s):
            return None
        if _what_matters(self._found, state) == self._said and now - self._said_at < self._every_s:
            return None
        told = DeviceStatus(sent=utc_now(), status=self._found, fleet=state)
        return msgspec.json.encode(told if self._paths else _without_names(told))

    def sent(self, state: UplinkState) -> None:
        """The message was sent."""
        self._said_at = self._now()
        self._said = self._found and _what_matters(self._found, state)


def _without_names(told: DeviceStatus) -> DeviceStatus:
    """What failed quotes names of files and folders: its code is left. So is what it is of, if that is a source."""
    status, pull = told.status, told.fleet.desired
    sources = {f"{source.name}: {source.message}": source.name for source in status.sources}
    problems = tuple(replace(one, message=_nameless(one.code, one.message, sources)) for one in status.problems)
    status = replace(
        status,
        problems=problems,
        sources=tuple(replace(source, message="", passed_over="") for source in status.sources),
        bundle=status.bundle and replace(status.bundle, folder=""),
        store=status.store and replace(status.store, path=""),
        fleet=status.fleet and replace(status.fleet, message=""),
    )
    pull = pull and replace(pull, message=_nameless(pull.code, pull.message, {}))
    return replace(told, status=status, fleet=replace(told.fleet, desired=pull))


def _nameless(code: str, message: str, sources: Mapping[str, str]) -> str:
    """Warnings name none: they are of the board, the clock, the bundle and drift. sources: names, by what is wrong."""
    return sources.get(message, "") if code.startswith("E-") else message


def _what_matters(status: Status, state: UplinkState) -> object:
    bundle = status.bundle and (status.bundle.sha256, status.bundle.counter, status.bundle.on_trial, status.bundle.verified)
    sources = [(source.name, source.state, source.code) for source in status.sources]
    drift = [one.statistic for one in status.drift]
    problems = [(one.level, one.code) for one in status.problems]
    return bundle, sources, drift, problems, status.clock.trusted, state.store, state.groups, _step(state.desired)


def _step(pull: Pull | None) -> object:
    return pull and replace(pull, share=int(pull.share * _SHARE) / _SHARE)
