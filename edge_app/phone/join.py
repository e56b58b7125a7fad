"""Joins the ES modules of web/ into one classic script, which also runs from a blob and from a file on disk.

By convention, not by parsing: a module imports with one kind of line, exports with one word, and its top-level names are its
own among all modules of an entry. What does not keep to that is refused, so that the joined script says what the modules say.
"""

import re
from collections.abc import Iterator
from pathlib import Path

_IMPORT = re.compile(r'import \{ ([\w$]+(?:, [\w$]+)*) \} from "(\.\.?/[\w./-]+\.js)";')
_DECLARED = re.compile(r"(?:export )?(?:const|let|class|(?:async )?function\*?) ([A-Za-z_$][\w$]*)\b(?!,)")
_UNPACKED = re.compile(r"(?:const|let) [\[{] ?([\w$]+(?:, [\w$]+)*) ?[\]}] = ")
_DECLARING = re.compile(r"(?:export\b|const\b|let\b|var\b|class\b|async function\b|function\b)")
_FORBIDDEN = {
    "import(…)": re.compile(r"\bimport\s*\("),
    "import.meta": re.compile(r"\bimport\.meta\b"),
    "await outside a function": re.compile(r"^(?:\S.*= )?await\b", re.MULTILINE),
    "</script or <!--, which would end the page's script": re.compile(r"</script|<!--", re.IGNORECASE),
}
# Names that another module of the entry would no longer find: one scope holds them all.
_BROWSERS = """
    Array ArrayBuffer Blob CSS DataView Date Document Error File FileReader Image ImageData JSON Map Math Number Object
    OffscreenCanvas Promise Request Response Set String TextDecoder TextEncoder URL Uint8Array WebAssembly Worker alert atob
    btoa caches close confirm console createImageBitmap crypto document event fetch history indexedDB isFinite isNaN
    localStorage location matchMedia name navigator onmessage open parent parseFloat parseInt performance postMessage print
    queueMicrotask requestAnimationFrame screen self setInterval setTimeout status stop structuredClone top window
    ModuleFactory WebpDecoder libjpegturbowasm_decode pako
"""


class NotJoined(Exception):
    """A module of web/ does not keep to the convention: a fault of limiar's own, never of what a user gives."""


class _Module:
    def __init__(self, path: Path, where: str) -> None:
        self.where = where
        self.text = path.read_text(encoding="utf-8")
        for what, pattern in _FORBIDDEN.items():
            if pattern.search(self.text):
                raise NotJoined(f"{where} has {what}")
        self.imports: dict[Path, tuple[str, ...]] = {}
        self.names: list[str] = []
        self.exported: set[str] = set()
        self.lines = [self._line(number, line, path) for number, line in enumerate(self.text.splitlines(), start=1)]

    def _line(self, number: int, line: str, path: Path) -> str | None:
        """As it stands in the joined script; None: not at all."""
        if re.match(r"import\b", line):
            if not (found := _IMPORT.fullmatch(line)):
                raise NotJoined(f'{self.where}:{number} is not `import {{ a, b }} from "./module.js";`')
            self.imports[(path.parent / found[2]).resolve()] = tuple(found[1].split(", "))
            return None
        if _DECLARING.match(line):
            self._declare(number, line)
        return line.removeprefix("export ")

    def _declare(self, number: int, line: str) -> None:
        if found := _DECLARED.match(line):
            self.names.append(found[1])
            if line.startswith("export "):
                self.exported.add(found[1])
        elif found := _UNPACKED.match(line):
            self.names += found[1].split(", ")
        else:
            met = f"{self.where}:{number} declares in a way that is not joined"
            raise NotJoined(f"{met}: declare one name, with const, let, class or function")


def join(entry: Path, root: Path) -> str:
    """The script of an entry and of all that it imports, in the order in which they need one another. Raises NotJoined."""
    modules = dict(_in_order(entry.resolve(), root.resolve(), {}, ()))
    owners: dict[str, str] = {}
    for module in modules.values():
        for name in module.names:
            if name in _BROWSERS.split():
                raise NotJoined(f"{module.where} calls something {name}, which is a name of the browser's")
            if name in owners:
                raise NotJoined(f"{module.where} and {owners[name]} both call something {name}")
            owners[name] = module.where
        for path, wanted in module.imports.items():
            if missing := set(wanted) - modules[path].exported:
                raise NotJoined(f"{module.where} imports {min(missing)}, which {modules[path].where} does not export")
    parts = [f"// {module.where}\n{_body(module)}" for module in modules.values()]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _body(module: _Module) -> str:
    return "".join(f"{line}\n" for line in module.lines if line is not None)


def _in_order(path: Path, root: Path, done: dict[Path, _Module], open_: tuple[Path, ...]) -> Iterator[tuple[Path, _Module]]:
    if path in done:
        return
    if path in open_:
        raise NotJoined(f"{_where(path, root)} imports itself, by way of others")
    if not path.is_relative_to(root) or not path.is_file():
        raise NotJoined(f"{_where(open_[-1] if open_ else path, root)} imports {path.name}, which is not in {root.name}/")
    module = _Module(path, _where(path, root))
    for needed in module.imports:
        yield from _in_order(needed, root, done, (*open_, path))
    done[path] = module
    yield path, module


def _where(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
