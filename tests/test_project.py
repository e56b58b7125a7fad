"""The project as a whole: what is pinned, what is tracked, and that the docs and the code say the same."""

import ast
import base64
import hashlib
import importlib.metadata
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from limiar.edge_app.cli import limiar

LOCKS = ("installer", "desktop", "device-newest", "device-lowest", "device-bookworm-camera", "tflite-runtime", "picamera2")
LOCK_LINE = re.compile(
    r"""
    (?:[a-z0-9][a-z0-9._-]*(?:\[[a-z,-]+\])?==[A-Za-z0-9.+!]+(?:\ ;\ [a-z0-9_.'"<>=!\ ()-]+)?\ \\   # a package, exactly
    |\ {4}--hash=sha256:[0-9a-f]{64}(?:\ \\)?                                                     # one of its files
    |\ {4}\#.*)                                                                                   # who asked for it
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Written apart, so that this file does not name what it looks for.
REGISTRIES = re.compile("|".join(f"{a}{b}" for a, b in [("py", "pi[.]org"), ("python", "hosted"), ("pi", "wheels[.]org")]))
CODE = re.compile(r"""["'](E(?:-[A-Z0-9]+)+)["']""")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".gif", ".ico"}
DATA_URI = re.compile(rb"data:image/[a-z.+-]+;base64,([A-Za-z0-9+/=\s]+)")

# What is declared where, and the code that it is declared for; a more exact part of the code takes precedence.
PARTS = {
    "edge_app": "",
    "edge_app/archive": "archive",
    "edge_app/archive/dask_driver.py": "dask",
    "edge_app/collect": "collect",
    "edge_app/fleet": "fleet",
    "edge_app/page": "web",
    "edge_app/image/decoders/dicom_gdcm.py": "gdcm",
    "edge_app/image/decoders/dicom_jpeg_2000.py": "dicom",
    "edge_app/image/decoders/dicom_jpeg_ls.py": "dicom",
    "edge_app/report": "html",
    "edge_app/runtimes/onnx.py": "onnx",
    "edge_app/runtimes/tflite.py": "tflite",
    "train": "train",
    "train/data/ct_file.py": "dicom-write",
    "train/data/luna16.py": "luna16",
    "train/sweep": "sweep",
    "train/tracking/to_mlflow.py": "mlflow",
    "train/tracking/to_tensorboard.py": "tensorboard",
    "convert": "convert",
    "convert/run/golden_dicom.py": "dicom-write",
    "convert/dicom_export": "dicom-export",
    "scripts": "dev",
    "studies": "dev",
    "tests": "test",
}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "cv2": "opencv-python-headless",
    "gdcm": "python-gdcm",
    "jpeg_ls": "pyjpegls",
    "mlflow": "mlflow-skinny",
    "openjpeg": "pylibjpeg-openjpeg",
    "paho": "paho-mqtt",
    "sklearn": "scikit-learn",
}
NOT_FROM_PIP = {"_typeshed", "libcamera", "picamera2", "tf_keras"}  # types alone; apt; what wrote tests/convert/data once
NOT_IMPORTED = {  # a package -> who needs it
    "alembic": "mlflow-skinny, for runs in SQLite",
    "sqlalchemy": "mlflow-skinny, for runs in SQLite",
    "numpy": "also where an extra narrows the device's range",
    "dask": "distributed, which brings it",
    "flask-cors": "moto's server",
    "moto": "tests of object storage, which start it as a server",
    "psycopg": "SQLAlchemy, for PostgreSQL",
    "s3fs": "fsspec, for s3:// addresses",
    "editables": "hatchling",
    "hatchling": "scripts/environment.py",
    "import-linter": "scripts/check",
    "mypy": "scripts/check",
    "ruff": "scripts/check",
    "pytest-xdist": "scripts/test",
    "pydicom-data": "tests of DICOM, which find its files by path",
    "pylibjpeg": "pydicom, to write JPEG 2000",
}

LINES, COMMAND_LINES = 400, 25  # what a file, and what a command's body has at most
FILE_NAME = re.compile(r"(?<![\w./-])[\w/-]+\.py\b")
OTHERS_FILES = {"numpy.py", "random.py", "picamera2.py", "request.py", "mlflow/telemetry/utils.py"}


@pytest.fixture(scope="session")
def tracked(project: Path) -> list[Path]:
    """Every file that git tracks, except links to folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=project, capture_output=True)
    if listed.returncode:
        pytest.skip(f"needs a git checkout: {listed.stderr.decode(errors='replace').strip()}")
    paths = [project / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if not path.is_dir()]


def lock_faults(text: str) -> list[str]:
    """The lines that a lock must not have, and the packages without a hash."""
    lines = text.splitlines()
    faults = [line for line in lines if not LOCK_LINE.fullmatch(line) or "://" in line]
    packages = [number for number, line in enumerate(lines) if "==" in line and not line.startswith(" ")]
    return faults + [lines[at] for at in packages if "--hash=" not in "".join(lines[at + 1 : at + 2])]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_exact_versions_and_hashes_and_nothing_else(project: Path, name: str) -> None:
    text = (project / "requirements" / f"{name}.lock").read_text()
    assert lock_faults(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "-i https://example.org/simple",
        "--extra-index-url file:///srv/simple",
        "--find-links /srv/wheels",
        "--trusted-host example.org",
        "-r other.txt",
        "numpy @ https://example.org/numpy-2.4.6.whl",
        "numpy>=2",
        "    # from https://example.org/simple",
    ],
)
def test_a_line_that_names_a_place_or_leaves_a_choice_is_found_in_a_lock(line: str) -> None:
    package = f"click==8.5.1 \\\n    --hash=sha256:{'0' * 64}\n"
    assert lock_faults(package) == []
    assert lock_faults(package + line) == [line]


def test_no_device_gets_tensorflow(project: Path) -> None:
    for name in ("device-newest", "device-lowest", "device-bookworm-camera", "tflite-runtime"):
        packages = re.findall(r"^([a-z0-9-]+)==", (project / "requirements" / f"{name}.lock").read_text(), re.MULTILINE)
        assert "numpy" in packages
        assert not {"tensorflow", "keras", "jax", "scikit-learn", "matplotlib"} & set(packages)


def declared(project: Path) -> dict[str, set[str]]:
    """The packages of each extra, without its ranges and without limiar's own extras; "" is what every device gets."""
    table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    lists = {"": table["dependencies"], **table["optional-dependencies"]}
    packages = {extra: {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in lists[extra]} for extra in lists}
    return {extra: names - {"limiar"} for extra, names in packages.items()}


def is_python(path: Path) -> bool:
    return path.suffix == ".py" or (not path.suffix and re.match(rb"#!.*python", path.read_bytes()) is not None)


def imported(path: Path) -> set[str]:
    """What a file imports that is neither Python's own nor the project's, by the names that pip knows."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - NOT_FROM_PIP
    return {DISTRIBUTIONS.get(top, top.replace("_", "-")) for top in tops}


@pytest.fixture(scope="session")
def used(project: Path, tracked: list[Path]) -> dict[str, set[str]]:
    """The packages that the code of each extra imports."""
    sources = [path for path in tracked if is_python(path)]
    beside = [path for path in sources if path.relative_to(project).parts[0] in ("scripts", "studies", "tests")]
    own = {"limiar", "virtualpi", *(path.stem.replace("_", "-") for path in beside)}
    found: dict[str, set[str]] = {extra: set() for extra in PARTS.values()}
    for path in sources:
        relative = path.relative_to(project)
        parts = [part for part in PARTS if relative.is_relative_to(part)]
        if parts:
            found[PARTS[max(parts, key=len)]] |= imported(path) - own
    return found


def test_what_is_imported_is_declared_where_the_code_that_imports_it_is_installed(
    project: Path, used: dict[str, set[str]]
) -> None:
    lists = declared(project)
    everything = set[str]().union(*lists.values())
    with_it = {
        "archive": "html",
        "collect": "fleet",
        "dask": "archive",
        "sweep": "train",
        "luna16": "train",
        "mlflow": "train",
        "tensorboard": "train",
        "dicom-write": "dicom",
        "dicom-export": "dicom-write",
    }
    missing = {}
    for extra, packages in used.items():
        at_hand = (
            everything if extra in ("dev", "test") else lists[""] | lists[extra] | lists.get(with_it.get(extra, ""), set())
        )
        missing[extra] = packages - at_hand
    assert {extra: packages for extra, packages in missing.items() if packages} == {"train": {"jax"}}  # only if asked for


def test_what_is_declared_is_imported(project: Path, used: dict[str, set[str]]) -> None:
    code = {**used, "dev": set[str]().union(*used.values())}
    unused = {extra: packages - code.get(extra, set()) - set(NOT_IMPORTED) for extra, packages in declared(project).items()}
    assert {extra: packages for extra, packages in unused.items() if packages} == {
        "train-gpu": {"tensorflow"}
    }  # CUDA beside it


def comments(path: Path) -> Iterator[str]:
    """The comments and docstrings of a file."""
    text = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def test_a_file_that_a_comment_names_is_beside_it_or_there_from_a_folder_above(project: Path, tracked: list[Path]) -> None:
    stale = [
        (str(path.relative_to(project)), name)
        for path in tracked
        if is_python(path)
        for comment in comments(path)
        for name in FILE_NAME.findall(comment)
        if name not in OTHERS_FILES
        if not any((folder / name).is_file() for folder in path.parents if folder.is_relative_to(project))
    ]
    assert stale == []


def package_files(tracked: list[Path], project: Path) -> list[Path]:
    return [
        path
        for path in tracked
        if is_python(path) and path.relative_to(project).parts[0] in ("edge_app", "train", "convert", "limiar")
    ]


def test_no_file_of_the_packages_has_more_than_400_lines(project: Path, tracked: list[Path]) -> None:
    files = [*package_files(tracked, project), *sorted((project / "edge_app/phone/web").rglob("*.js"))]
    lines = {str(path.relative_to(project)): len(path.read_text().splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > LINES} == {}


def is_command(function: ast.FunctionDef) -> bool:
    return any(isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".command") for call in function.decorator_list)


def test_no_command_does_more_than_hand_its_options_on(project: Path, tracked: list[Path]) -> None:
    """The body of a command, without its docstring: options, one call of a public function, printing."""
    long = {}
    for path in package_files(tracked, project):
        for function in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(function, ast.FunctionDef) and is_command(function):
                body = function.body[1 if ast.get_docstring(function) else 0 :]
                count = (body[-1].end_lineno or 0) - body[0].lineno + 1
                if count > COMMAND_LINES:
                    long[function.name] = count
    assert long == {}


def test_no_tracked_file_names_a_package_registry(tracked: list[Path]) -> None:
    assert [path for path in tracked if REGISTRIES.search(path.read_bytes().decode("latin-1"))] == []


def test_every_script_with_a_first_line_for_it_can_be_run(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.read_bytes()[:2] == b"#!" and not os.access(path, os.X_OK)] == []


def test_the_installed_version_is_the_code_s_and_the_changelog_knows_it(project: Path) -> None:
    from limiar.edge_app import __version__

    assert importlib.metadata.version("limiar") == __version__
    assert f"## [{__version__}]" in (project / "CHANGELOG.md").read_text()


def test_help_loads_neither_numpy_nor_a_runtime() -> None:
    help_text = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "limiar", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in help_text.stderr.splitlines()}
    assert "click" in loaded  # the list of imports is there, and reads as it should
    heavy = {
        "numpy",
        "PIL",
        "cv2",
        "ai_edge_litert",
        "tflite_runtime",
        "onnxruntime",
        "tensorflow",
        "keras",
        "cryptography",
    }
    assert not heavy & loaded


def command_names() -> set[str]:
    context = limiar.make_context("limiar", [], resilient_parsing=True)
    return set(limiar.list_commands(context))


def documents(project: Path) -> list[Path]:
    return [project / "README.md", *sorted((project / "docs").rglob("*.md"))]


def test_the_docs_name_every_command_and_no_other(project: Path) -> None:
    named = set()
    for document in documents(project):
        named |= set(re.findall(r"\blimiar ([a-z][a-z-]+)\b", "\n".join(code_in(document.read_text()))))
    assert (command_names() - named, named - command_names()) == (set(), set())  # not in the docs, in the docs alone


def test_the_docs_name_every_script_study_and_campaign_and_no_other(project: Path, tracked: list[Path]) -> None:
    named = set()
    for document in documents(project):
        named |= set(re.findall(r"\b(?:scripts|studies|tests/harness)/[a-zA-Z]\w*(?:\.py)?\b(?!\.[a-z])", document.read_text()))
    there = {str(path.relative_to(project)) for path in tracked}
    commands = {name for name in there if re.match(r"scripts/[^._]+$|studies/(?!_)|tests/harness/(?!_)[^/]+\.py$", name)}
    commands -= {"tests/harness/killing.py"}  # what tests/harness/kill_training.py runs
    packages = {"tests/harness/virtualpi"}
    assert (commands - named, named - there - packages) == (set(), set())  # not in the docs, not in the project


def test_a_test_that_is_listed_as_long_is_there(project: Path) -> None:
    lines = (project / "tests" / "long.txt").read_text().splitlines()
    assert lines
    assert lines == sorted(set(lines))
    for path, name in (line.split("::")[:2] for line in lines):
        assert re.search(rf"^(async )?(def|class)? ?{name}\b", (project / path).read_text(), re.MULTILINE), (
            f"{path} has no {name}"
        )


def anchor(heading: str) -> str:
    """What a heading is called in a link, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_every_link_of_the_docs_leads_to_a_file_and_a_heading(project: Path) -> None:
    pages = {page: re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL) for page in documents(project)}
    anchors = {
        page: {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)} for page, text in pages.items()
    }
    broken = []
    for page, text in pages.items():
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            name, _, heading = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (heading and heading not in anchors.get(target, {heading})):
                broken.append((page.name, link))
    assert broken == []


def code_in(markdown: str) -> list[str]:
    """The fenced blocks and code spans of a document, except programs' output, in which `limiar` begins a sentence."""
    fenced = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    blocks = [block for block in fenced.findall(markdown) if not block.startswith("```text")]
    return blocks + re.findall(r"`([^`\n]+)`", fenced.sub("", markdown))


def test_every_error_code_has_its_row_in_the_docs_and_every_row_its_code(project: Path) -> None:
    sources = [path for folder in ("edge_app", "train", "convert") for path in sorted((project / folder).rglob("*.py"))]
    sources += [path for path in sorted((project / "scripts").iterdir()) if path.is_file()]
    sources += [path for folder in ("studies", "tests/harness") for path in sorted((project / folder).rglob("*.py"))]
    sources += sorted((project / "edge_app/phone/web").rglob("*.js"))
    in_code = {code for path in sources for code in CODE.findall(path.read_text())}
    rows = re.findall(r"^\| `?(E-[A-Z0-9-]+)`? \|", (project / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert rows == sorted(set(rows))
    assert (in_code - set(rows), set(rows) - in_code) == (set(), set())  # without a row, without code


def pixel_hash(data: bytes) -> str:
    """The same for two images that show the same as grey, whatever their format, depth or colour mode."""
    with Image.open(io.BytesIO(data)) as image:
        grey = image.convert("RGB").convert("L")
        return hashlib.sha256(f"{grey.size}".encode() + grey.tobytes()).hexdigest()


def images_in(path: Path) -> Iterator[bytes]:
    """The image that a file is, and those written into it as data: URIs."""
    data = path.read_bytes()
    if path.suffix.lower() in IMAGE_SUFFIXES:
        yield data
    for uri in DATA_URI.finditer(data):
        yield base64.b64decode(uri[1])


@pytest.fixture(scope="session")
def patch_hashes(lung: Path) -> set[str]:
    return {pixel_hash(path.read_bytes()) for path in lung.glob("*.png")}


def test_a_ct_patch_is_known_again_in_a_page_and_in_another_format(lung: Path, patch_hashes: set[str], tmp_path: Path) -> None:
    patch = min(lung.glob("*.png"))
    again = io.BytesIO()
    Image.open(patch).convert("RGB").save(again, "BMP")
    page = tmp_path / "page.html"
    page.write_bytes(b'<img src="data:image/bmp;base64,' + base64.b64encode(again.getvalue()) + b'">')
    assert [pixel_hash(data) in patch_hashes for data in images_in(page)] == [True]


def test_no_ct_patch_is_in_the_project(tracked: list[Path], patch_hashes: set[str]) -> None:
    found = []
    for path in tracked:
        for data in images_in(path):
            try:
                found += [path] if pixel_hash(data) in patch_hashes else []
            except OSError:
                continue  # a bad image that a test needs: it shows no patch
    assert found == []
