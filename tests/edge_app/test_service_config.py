"""The configuration of a service: what it may say, and how a fault in it is named."""

import re
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.errors import LimiarError
from limiar.edge_app.service.config import TEMPLATE, Config, FrameRetention, Section, parse_config, read_config
from limiar.edge_app.service.config_file import write_template

FOLDER = '[[folder]]\npath = "/srv/inbox"\n'
CAMERA = '[[camera]]\nname = "bench"\nsource = "picamera:0"\n'


def parsed(text: str) -> Config:
    return parse_config(text, "limiar.toml", Path("/etc/limiar"))


def uncommented() -> str:
    return re.sub(r"(?m)^# (?=[a-z_]+ = |\[\[)", "", TEMPLATE.read_text())


def test_the_template_says_the_defaults() -> None:
    config = parsed(TEMPLATE.read_text())
    assert config == parsed('[[folder]]\npath = "/srv/limiar/inbox"')


def fields(section: type[Section], prefix: str = "") -> set[str]:
    found = set()
    for field in msgspec.structs.fields(section):
        inner = re.findall(r"config\.(\w+)", repr(field.type))
        kinds: list[type[Section]] = [*Section.__subclasses__(), FrameRetention]
        kind = next((one for one in kinds if one.__name__ in inner), None)
        found |= fields(kind, f"{field.name}.") if kind else {f"{prefix}{field.name}"}
    return found


def test_the_template_explains_every_key() -> None:
    table = ""
    said = set()
    for line in uncommented().splitlines():
        if header := re.match(r"\[+([a-z.]+)\]+", line):
            table = header[1].rpartition(".")[2]
        elif key := re.match(r"([a-z_]+) = ", line):
            said.add(f"{table}.{key[1]}")
    assert said == fields(Config)


def test_what_the_template_shows_as_a_default_is_one() -> None:
    shown = parsed(uncommented())
    optional = {"file", "runtime", "threads", "refer_below", "bundle"}  # these show an example
    default = parsed(FOLDER + CAMERA)
    for name in ("keep", "health", "drift", "update", "fleet", "log"):
        assert getattr(shown, name) == getattr(default, name)
    for field in msgspec.structs.fields(type(shown.answer)):
        if field.name not in optional:
            assert getattr(shown.answer, field.name) == getattr(default.answer, field.name), field.name


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('[answer]\nworkers = "x"\n' + FOLDER, 2, 1, "answer.workers: expected `int`"),
        (FOLDER + '[[folder]]\npth = "/b"\n', 4, 1, "folder[1].pth: object contains unknown field"),
        (FOLDER + '[[folder]]\nname = "x"\npath = "/srv/inbox/a"\n', 5, 1, "watch the outer one alone"),
        (CAMERA + "agree = 6\n", 4, 1, "6 of 5 frames cannot agree"),
        (CAMERA + "  roi = [\n 1,\n 2, 3]\n", 4, 3, "length 4"),
        (CAMERA + '# of\n\nof = "x"\n', 6, 1, "camera[0].of"),
        ('[[camera]]\nname = "a"\nsource = "foo:1"\n', 3, 1, "not a source"),
        (FOLDER + 'name = "a b"\n', 3, 1, "letters, digits"),
        (FOLDER + 'done = "../x"\n', 3, 1, "letters, digits"),
        (FOLDER + 'done = "x"\nquarantine = "x"\n', 4, 1, "two names"),
        (FOLDER + CAMERA.replace("bench", "inbox"), 4, 1, "two sources"),
        ("[answer]\nrevoked = ['a.pub']\n" + FOLDER, 2, 1, "revoked"),
        ("", 1, 1, "nothing to watch"),
        ("[keep.results]\ndays = -1\n" + FOLDER, 2, 1, "keep.results.days"),
        ("[answer]\nrefer_below = nan\n" + FOLDER, 2, 1, "refer_below"),
        ('[fleet]\ndevice = "a"\n' + FOLDER, 1, 2, "no `broker`"),
        ('[fleet]\nbroker = "broker.example"\n' + FOLDER, 2, 1, "fleet.broker"),
        (
            '[fleet]\nbroker = "broker.example:1883"\ndevice = "a"\n' + FOLDER,
            2,
            1,
            "without a certificate, only a broker on this",
        ),
        ('[fleet]\nbroker = "127.0.0.1:1883"\n' + FOLDER, 1, 2, "give the name of this device"),
        ('[fleet]\nbroker = "127.0.0.1:1883"\ndevice = "a/b"\n' + FOLDER, 3, 1, "fleet.device"),
        ('[fleet]\nbroker = "b.example:8883"\ncertificate = "c.pem"\n' + FOLDER, 3, 1, "belong together"),
        (
            '[fleet]\nbroker = "[::1]:1883"\ndevice = "a"\nbundles = "http://b.example/"\n' + FOLDER,
            4,
            1,
            "http is for this machine",
        ),
        (
            '[fleet]\nbroker = "[::1]:1883"\ndevice = "a"\nbundles = "ftp://b.example/"\n' + FOLDER,
            4,
            1,
            "the address of a folder",
        ),
        ('[fleet]\nbroker = "mqtts://b.example:8883"\n' + FOLDER, 2, 1, 'fleet.broker: give a host and a port, such as "'),
        ('[fleet]\nbroker = "127.0.0.1:99999"\ndevice = "a"\n' + FOLDER, 2, 1, "its port must be from 1 to 65535"),
        ('[fleet]\nbroker = "127.0.0.1:0"\ndevice = "a"\n' + FOLDER, 2, 1, "fleet.broker"),
        ('[fleet]\nbroker = "127.0.0.1:1883"\ndevice = "a.b"\n' + FOLDER, 3, 1, "letters, digits, dashes and underscores"),
        ('[page]\nhosts = ["http://x"]\n' + FOLDER, 2, 1, "names of hosts without a port"),
        *(
            (f'[fleet]\nbroker = "[::1]:1883"\ndevice = "a"\nbundles = "{address}"\n' + FOLDER, 4, 1, said)
            for address, said in (
                ("https://b.example:99999/", "the address of a folder"),
                ("https://[::1", "the address of a folder"),
                ("https://me:secret@b.example/", "the address of a folder"),
                ("https://b.example/?a=1", "the address of a folder"),
                ("https://b.example/a b", "the address of a folder"),
                ("https:///limiar", "the address of a folder"),
                ("http://localhost:x@b.example/", "the address of a folder"),
                ("http://localhost.example/", "http is for this machine"),
            )
        ),
        (
            '[answer]\nbundle = "b"\n[fleet]\nbroker = "[::1]:1883"\ndevice = "a"\nbundles = "https://b.example/"\n' + FOLDER,
            6,
            1,
            "what is pulled would not answer",
        ),
    ],
)
def test_a_fault_is_named_with_its_line_and_column(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(LimiarError, match=re.escape(said)) as caught:
        parsed(text)
    assert caught.value.code == "E-CONFIG-VALUE"
    assert f"line {line}, column {column}:" in caught.value.message


def test_a_file_that_is_not_toml_is_named_with_its_line() -> None:
    with pytest.raises(LimiarError, match="line 2") as caught:
        parsed("[answer]\nworkers = = 1\n")
    assert caught.value.code == "E-CONFIG-SYNTAX"


def test_relative_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    file = tmp_path / "limiar.toml"
    file.write_text(
        '[answer]\nbundle = "b"\nkeys = ["k.pub"]\n[[folder]]\npath = "in"\n[[camera]]\nname="c"\nsource="video:v.mp4"\n'
    )
    config = read_config(file)
    assert config.answer.bundle == str(tmp_path / "b")
    assert config.answer.keys == (str(tmp_path / "k.pub"),)
    assert config.folder[0].path == str(tmp_path / "in")
    assert config.camera[0].source == f"video:{tmp_path / 'v.mp4'}"


def test_a_password_in_a_cameras_address_is_not_repeated() -> None:
    with pytest.raises(LimiarError) as caught:
        parsed('[[camera]]\nname = "a"\nsource = "foo://me:secret@x/1"\n')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("made", ["missing", "latin-1", "large"])
def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path, made: str) -> None:
    file = tmp_path / "limiar.toml"
    if made == "latin-1":
        file.write_bytes(b"# \xff")
    elif made == "large":
        file.write_bytes(b"#" * 100_000)
    with pytest.raises(LimiarError, match="--init") as caught:
        read_config(file)
    assert caught.value.code == "E-CONFIG-READ"


def test_init_writes_a_file_that_can_be_read_and_replaces_none(tmp_path: Path) -> None:
    file = tmp_path / "limiar.toml"
    write_template(file, TEMPLATE, 0o644)
    read_config(file)
    with pytest.raises(LimiarError) as caught:
        write_template(file, TEMPLATE, 0o644)
    assert caught.value.code == "E-OUTPUT-EXISTS"
