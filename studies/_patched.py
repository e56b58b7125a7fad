"""Changes a module in processes that a study starts, from outside: nothing that is shipped knows of it."""

import os
from pathlib import Path

_HOOK = """
import sys
from importlib.machinery import PathFinder

class Patched:
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def patched(module):
            execute(module)
            patch(module)
        spec.loader.exec_module = patched
        return spec

sys.meta_path.insert(0, Patched())
"""


def patched(folder: Path, module: str, code: str) -> dict[str, str]:
    """The environment of processes in which `module` is given to the code's patch() as soon as it was imported.

    folder: a new one, for a `sitecustomize` module, which Python runs at every start.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code + _HOOK.format(module=module))
    return {**os.environ, "PYTHONPATH": str(folder)}
