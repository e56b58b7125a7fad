"""scripts/Containerfile, as text: it gives the service what the unit gives it, and no more."""

import re
import shlex
from pathlib import Path

import pytest

from limiar.edge_app.cli import limiar


@pytest.fixture
def steps(project: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments, in order."""
    text = re.sub(r"^#.*\n", "", (project / "scripts" / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest) for name, rest in (line.split(maxsplit=1) for line in text.splitlines() if line.strip())]


def only(steps: list[tuple[str, str]], name: str) -> str:
    (found,) = [rest for step, rest in steps if step == name]
    return found


def test_a_container_has_the_places_of_the_unit(project: Path, steps: list[tuple[str, str]]) -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", (project / "scripts" / "limiar.service").read_text(), re.MULTILINE))
    assert unit["Environment"] in shlex.split(only(steps, "ENV"))
    assert only(steps, "VOLUME").split() == ["/var/lib/limiar", "/srv/limiar"]
    command = shlex.split(unit["ExecStart"])
    assert [re.sub(r'[\[\]",]', "", only(steps, name)) for name in ("ENTRYPOINT", "CMD")] == ["limiar", " ".join(command[1:])]


def test_nothing_runs_as_root_once_it_is_built(steps: list[tuple[str, str]]) -> None:
    names = [name for name, _ in steps]
    assert only(steps, "USER") == "limiar"
    assert "RUN" not in names[names.index("USER") :]


def test_packages_come_from_a_wheelhouse_alone_and_are_checked(steps: list[tuple[str, str]]) -> None:
    (pip,) = [rest for name, rest in steps if name == "RUN" and "pip install" in rest]
    assert {"--no-index", "--require-hashes"} <= set(pip.split())


def test_the_health_check_is_a_command_of_limiar(steps: list[tuple[str, str]]) -> None:
    command = re.findall(r'"([^"]+)"', only(steps, "HEALTHCHECK"))
    assert command[0] == "limiar"
    assert command[1] in limiar.list_commands(None)  # type: ignore[arg-type]
