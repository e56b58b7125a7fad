"""The modules of the page as one script: in the right order, under one roof, or not at all."""

import re
from pathlib import Path

import pytest

from limiar.edge_app.phone.join import NotJoined, join
from phone_modules import PHONE


def written(folder: Path, **files: str) -> Path:
    """Modules by name, "_" for "/"; returns the entry, app.js."""
    for name, text in files.items():
        path = folder / f"{name.replace('_', '/')}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "app.js"


def joined(folder: Path, **files: str) -> str:
    return join(written(folder, **files), folder)


def test_what_is_needed_comes_before_who_needs_it_and_once(tmp_path: Path) -> None:
    script = joined(
        tmp_path,
        app='import { sum } from "./image/sum.js";\nimport { one } from "./one.js";\nsum(one, one);\n',
        image_sum='import { one } from "../one.js";\nexport function sum(a, b) {\n  return one + a + b;\n}\n',
        one="export const one = 1;\n",
    )
    assert script == (
        '(() => {\n"use strict";\n'
        "// one.js\nconst one = 1;\n\n"
        "// image/sum.js\nfunction sum(a, b) {\n  return one + a + b;\n}\n\n"
        "// app.js\nsum(one, one);\n})();\n"
    )


@pytest.mark.parametrize(
    ("line", "met"),
    [
        ('import one from "./one.js";', "app.js:1 is not"),
        ('import * as all from "./one.js";', "app.js:1 is not"),
        ('import { one as two } from "./one.js";', "app.js:1 is not"),
        ('import "./one.js";', "app.js:1 is not"),
        ("import {", "app.js:1 is not"),
        ('import { one } from "/one.js";', "app.js:1 is not"),
        ('import { one } from "./one.js"; // why', "app.js:1 is not"),
        ('import { two } from "./one.js";', "imports two, which one.js does not export"),
        ('import { hidden } from "./one.js";', "imports hidden, which one.js does not export"),
        ('import { one } from "./none.js";', "imports none.js, which is not in"),
        ('import { one } from "../../one.js";', "imports one.js, which is not in"),
        ('import { app } from "./app.js";', "imports itself"),
        ('const one = import("./one.js");', "has import"),
        ("const here = import.meta.url;", "has import.meta"),
        ("const one = await 1;", "has await"),
        ("await 1;", "has await"),
        ("export default 1;", "declares in a way"),
        ("export { one };", "declares in a way"),
        ('export * from "./one.js";', "declares in a way"),
        ("var one = 1;", "declares in a way"),
        ("let one, two;", "declares in a way"),
        ("const { one: two } = {};", "declares in a way"),
        ("const text = '</script>';", "has </script"),
        ("const text = '<!--';", "has </script or <!--"),
        ("function fetch() {}", "a name of the browser's"),
    ],
)
def test_what_would_not_mean_the_same_is_refused(tmp_path: Path, line: str, met: str) -> None:
    files = {"one": "export const one = 1;\nconst hidden = 2;\n"}
    with pytest.raises(NotJoined, match=re.escape(met)):
        joined(tmp_path, app=f"{line}\n", **files)


def test_two_modules_with_one_name_are_refused_and_told_apart(tmp_path: Path) -> None:
    entry = 'import { one } from "./one.js";\nimport { two } from "./two.js";\none + two;\n'
    files = {"one": "export const one = 1;\nfunction half() {}\n", "two": "export const two = 2;\nconst { half } = {};\n"}
    with pytest.raises(NotJoined, match=r"two.js and one.js both call something half"):
        joined(tmp_path, app=entry, **files)


def test_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotJoined, match=r"one.js imports itself, by way of others"):
        joined(
            tmp_path,
            app='import { one } from "./one.js";\n',
            one='import { two } from "./two.js";\nexport const one = 1;\n',
            two='import { one } from "./one.js";\nexport const two = 2;\n',
        )


@pytest.mark.parametrize("entry", [name for name in ("app.js", "worker.js", "sw.js") if (PHONE / "web" / name).exists()])
def test_the_page_s_own_modules_are_joined(entry: str) -> None:
    script = join(PHONE / "web" / entry, PHONE / "web")
    assert f"// {entry}\n" in script
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
