"""limiar's packages come from the folder that this one lies in, whatever else on the path has their names.

train.py and convert.py are common names for one's own scripts: one that lies in the current folder or on PYTHONPATH must not
run because somebody asks for `limiar --help`.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = frozenset({"edge_app", "train", "convert"})
_FOLDER = str(Path(__file__).parents[1])
# For a process of its own: `python -m` would look for the package in all of the path.
_FIRST = """
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("edge_app", [sys.argv.pop(1)])
sys.modules["edge_app"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["edge_app"])
"""
_RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


class _OwnPackages:
    """A finder (importlib.abc.MetaPathFinder) that knows three names, and finds them here or not at all."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None, /) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        if spec := PathFinder.find_spec(name, [_FOLDER]):
            return spec
        raise ModuleNotFoundError(f"No module named {name!r} in {_FOLDER}", name=name)


def find_own_packages_first() -> None:
    """For all that is imported from now on."""
    if not any(isinstance(finder, _OwnPackages) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OwnPackages())


def python_c(code: str, *words: str) -> list[str]:
    """The command line that runs Python code in a process of its own, where edge_app is this one."""
    return [sys.executable, "-P", "-c", _FIRST + code, _FOLDER, *words]


def python_m(module: str, *words: str) -> list[str]:
    """The command line that runs a module of edge_app in a process of its own, as `python -m` does."""
    return python_c(_RUN, module, *words)
