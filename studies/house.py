#!/usr/bin/env python3
"""Counts what the code is made of: files, rooms, floors, arrows, circles, the longest file and function of each package.

    studies/house.py [CHECKOUT...]

A room is a folder or a file directly in a package. An arrow is an import from one room to another, anywhere in a file; imports
for type checking alone do not count. Floors: the length of the longest path along arrows. Files are parsed; no code of a
checkout is run.
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("edge_app", "train", "convert")
Graph = dict[str, set[str]]


class Function(NamedTuple):
    """A function, and its lines without decorators, signature and docstring."""

    name: str
    lines: int
    is_command: bool


def modules(checkout: Path, package: str) -> dict[str, ast.Module]:
    """Module name -> its syntax tree, of the package's folder."""
    found = {}
    for path in sorted((checkout / package).rglob("*.py")):
        parts = path.relative_to(checkout).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    """Every name that is imported, as module or as module.name, without the prefix `limiar.`."""
    types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("limiar.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}".removeprefix("limiar.") for alias in node.names)


def module_graph(trees: dict[str, ast.Module]) -> Graph:
    """Module -> the modules of the same package that it imports."""

    def known(name: str) -> str:
        return name if name in trees else name.rpartition(".")[0]

    package = min(trees, key=len)
    return {
        name: {target for one in imported(tree) if (target := known(one)) in trees and target not in (name, package)}
        for name, tree in trees.items()
    }


def room_graph(graph: Graph) -> Graph:
    """Room -> the rooms of the same package that it imports."""
    rooms: Graph = {}
    for name, targets in graph.items():
        if "." in name:
            room = _room(name)
            rooms.setdefault(room, set()).update({_room(target) for target in targets} - {room})
    return rooms


def _room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def circles(graph: Graph) -> list[set[str]]:
    """Groups in which each reaches every other: strongly connected components of two or more."""
    reach = {name: _reached(graph, name) for name in graph}
    groups: list[set[str]] = []
    for name in graph:
        if name in reach[name] and not any(name in group for group in groups):
            groups.append({other for other in reach[name] if name in reach[other]})
    return groups


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left.extend(graph.get(name, ()))
    return seen


def floors(graph: Graph) -> int:
    """How many names are on the longest path along arrows; a circle counts as one."""
    group_of = {name: min(group) for group in circles(graph) for name in group}
    name_of = {name: group_of.get(name, name) for name in graph}
    down: Graph = {name_of[name]: set() for name in graph}
    for name, targets in graph.items():
        down[name_of[name]] |= {name_of[target] for target in targets} - {name_of[name]}
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((of(target) for target in down[name]), default=0)
        return height[name]

    return max(map(of, down), default=0)


def functions(trees: dict[str, ast.Module]) -> Iterator[Function]:
    """All functions of a package."""
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                is_command = any(
                    ast.unparse(one).startswith(("click.command", "limiar.command")) for one in node.decorator_list
                )
                yield Function(f"{module}.{node.name}", lines, is_command)


def rows(checkout: Path) -> Iterator[tuple[str, str]]:
    """What is printed about a checkout: name, value."""
    for package in PACKAGES:
        trees = modules(checkout, package)
        graph = module_graph(trees)
        rooms = room_graph(graph)
        yield f"{package}: files", str(len(trees))
        yield f"{package}: rooms / floors / arrows / circles", _counts(rooms)
        yield f"{package}: files / floors / arrows / circles", _counts(graph)
        sizes = {path: len(path.read_text().splitlines()) for path in (checkout / package).rglob("*.py")}
        longest = max(sizes, key=sizes.__getitem__)
        yield f"{package}: longest file", f"{sizes[longest]} {longest.relative_to(checkout)}"
        made = list(functions(trees))
        yield f"{package}: longest function", _longest(made)
        yield f"{package}: longest command", _longest([one for one in made if one.is_command])
    tests = (checkout / "tests").rglob("test_*.py")
    defined = [one for path in tests for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.FunctionDef)]
    yield "tests: functions", str(sum(one.name.startswith("test_") for one in defined))


def _counts(graph: Graph) -> str:
    return f"{len(graph)} / {floors(graph)} / {sum(map(len, graph.values()))} / {len(circles(graph))}"


def _longest(made: list[Function]) -> str:
    if not made:
        return "none"
    one = max(made, key=lambda function: function.lines)
    return f"{one.lines} {one.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="*", type=Path, default=[PROJECT])
    for checkout in parser.parse_args().checkout:
        print(checkout)
        for name, value in rows(checkout):
            print(f"  {name:<48} {value}")


if __name__ == "__main__":
    main()
