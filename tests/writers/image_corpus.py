"""Pictures of every kind that edge_app reads, and damaged ones: for tests of a second decoder."""

import importlib.util
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1] / "edge_app"


def material(name: str) -> ModuleType:
    """The module of a test of edge_app, for the files that it makes: `material("test_bad_images").BAD`."""
    spec = importlib.util.spec_from_file_location(f"material_{name}", TESTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
