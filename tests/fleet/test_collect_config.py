"""The configuration of a collector: what it may say, and how a fault in it is named."""

import re
from pathlib import Path

import msgspec
import pytest

from limiar.edge_app.collect.check import check_config
from limiar.edge_app.collect.config import TEMPLATE, CollectConfig, Section, parse_config, read_config
from limiar.edge_app.errors import LimiarError
from limiar.edge_app.service.config_file import write_template


def parsed(text: str) -> CollectConfig:
    return parse_config(text, "collect.toml", Path("/etc/limiar"))


def uncommented() -> str:
    return re.sub(r"(?m)^# (?=[a-z_]+ = )", "", TEMPLATE.read_text())


def test_the_template_says_the_defaults() -> None:
    assert parsed(TEMPLATE.read_text()) == parsed("") == parsed(uncommented())


def test_the_template_explains_every_key() -> None:
    table, told = "", set()
    for text in uncommented().splitlines():
        if header := re.match(r"\[([a-z]+)\]", text):
            table = header[1]
        elif key := re.match(r"([a-z_]+) = .*#", text):
            told.add(f"{table}.{key[1]}")
    sections: list[type[Section]] = [one for one in Section.__subclasses__() if one is not CollectConfig]
    names = {type(getattr(CollectConfig(), name)): name for name in CollectConfig.__struct_fields__}
    assert {f"{names[one]}.{field.name}" for one in sections for field in msgspec.structs.fields(one)} == told


TLS = 'authority = "a.pem"\ncertificate = "c.pem"\nkey = "k.pem"\n'


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('[broker]\naddress = "broker"\n', 2, 1, "a host and a port"),
        ('[broker]\naddress = "localhost:0"\n', 2, 1, "a host and a port"),
        ('[broker]\naddress = "broker.example:8883"\n', 1, 2, "without TLS only a broker on this machine"),
        ('[broker]\nauthority = "a.pem"\ncertificate = "c.pem"\n', 3, 1, "belong together"),
        (f'[broker]\n{TLS}adress = "x"\n', 5, 1, "unknown field"),
        ('[broker]\ntopic = "a/#"\n', 2, 1, "letters, digits"),
        ("[status]\nsilent_s = 0\n", 2, 1, "silent_s"),
        ('[database]\n  url = ""\n', 2, 3, "database.url"),
    ],
)
def test_a_fault_is_named_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(LimiarError) as caught:
        parsed(text)
    assert caught.value.code == "E-CONFIG-VALUE"
    assert f"line {line}, column {column}: " in caught.value.message
    assert said in caught.value.message


def test_relative_paths_are_taken_from_the_file_s_folder() -> None:
    config = parsed(f'[broker]\n{TLS}[images]\nfolder = "images"\n')
    assert (config.broker.key, config.images.folder) == ("/etc/limiar/k.pem", "/etc/limiar/images")
    assert config.database.url == "sqlite:////etc/limiar/fleet.db"
    postgres = "postgresql+psycopg://limiar@localhost/fleet"
    assert parsed(f'[database]\nurl = "{postgres}"').database.url == postgres


def test_a_new_file_is_for_its_owner_and_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "collect.toml"
    write_template(path, TEMPLATE, 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "localhost:8883" in check_config(path)
    assert not (tmp_path / "fleet.db").exists()
    assert read_config(path).broker.host == "localhost"
    with pytest.raises(LimiarError, match="E-OUTPUT-EXISTS"):
        write_template(path, TEMPLATE, 0o600)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"[broker]\n{TLS}", "E-FLEET-CERTIFICATE"),
        ('[images]\nfolder = "none"', "E-CONFIG-FOLDER"),
        ('[database]\nurl = "mysql://localhost/x"', "E-COLLECT-DATABASE"),
        ('[database]\nurl = "postgresql+psycopg://u:secret@localhost:1/x"', "E-COLLECT-DATABASE"),
    ],
)
def test_check_opens_what_the_file_names(text: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "collect.toml"
    path.write_text(text)
    with pytest.raises(LimiarError) as caught:
        check_config(path)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
