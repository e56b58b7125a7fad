"""Command lines that run this very limiar in another process, even if something else on the path has its name."""

import os
import sys
from pathlib import Path

_FOLDER = str(Path(__file__).parents[3])
# `python -m` would search the whole path for the package.
_FIRST = """
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("limiar", [sys.argv.pop(1)])
sys.modules["limiar"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["limiar"])
"""
LIMIAR_CHILD = """
from limiar.edge_app.system.children import end_with_parent
end_with_parent(int(sys.argv.pop(1)))
from limiar.__main__ import main
main()
"""
_RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


def python_c(code: str, *words: str) -> list[str]:
    """The command line that runs Python code."""
    return [sys.executable, "-P", "-c", _FIRST + code, _FOLDER, *words]


def python_m(module: str, *words: str) -> list[str]:
    """The command line that runs a module of limiar, as `python -m` does."""
    return python_c(_RUN, module, *words)


def limiar_child(*words: str) -> list[str]:
    """The command line of a limiar that the kernel ends with the thread that starts it."""
    return python_c(LIMIAR_CHILD, str(os.getpid()), *words)
