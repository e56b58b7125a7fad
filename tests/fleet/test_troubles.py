"""What the service is told of an uplink's troubles."""

import io

from limiar.edge_app.fleet.troubles import Troubles
from limiar.edge_app.health.log import Log


def test_a_trouble_that_is_over_at_once_was_told_and_so_is_its_end() -> None:
    told: list[str] = []
    troubles = Troubles(Log(stream=io.StringIO()))

    def tell() -> None:
        troubles.tell(lambda code, _message: not told.append(code))

    tell()
    troubles.state("uplink", "warning", "E-FLEET-CONNECT", "nobody listens")
    tell()
    tell()  # nothing new
    troubles.over("uplink", "connected")
    tell()
    assert told == ["", "E-FLEET-CONNECT", ""]


def test_a_service_that_does_not_hear_is_not_told_at_every_turn() -> None:
    told: list[str] = []
    troubles = Troubles(Log(stream=io.StringIO()))
    for _ in range(10):
        troubles.tell(lambda code, _message: bool(told.append(code)))
    assert told == [""]
