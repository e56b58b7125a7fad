"""The Parquet files of an archive: what a line of `limiar scan` becomes, and what a file says of itself."""

import random
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limiar.edge_app.archive.columns import COLUMNS, Row, RowFile, read_footer, read_rows, record_batch
from limiar.edge_app.errors import ArchiveError, OutputError

LABELS = ("neg", "pos")
ORIGIN = {"bundle": "b" * 64, "file": "tflite_int8", "runtime": "litert 2", "verified": "bundle", "app": "limiar 0"}
ANSWER = {
    "path": "/a/\\xff.png",
    "path_base64": "L2Ev/y5wbmc=",
    "sha256": "0f" * 32,
    "decision": "refer",
    "label": "pos",
    "confidence": 0.75,
    "probabilities": {"pos": 0.75, "neg": 0.25},
    "outside": ["mean"],
    "trailing": "padding",
    "ms": {"decode": 1.5, "resize": 0.25, "infer": 2.0},
    "frame": 2,
    "stored": True,
    "time": "2026-11-28T00:00:00.000Z",
    "peaks": [{"x": 1, "y": 2}],
    "tiles": {"size": 40},
    **ORIGIN,
}
REFUSED = {
    "path": "/b.png",
    "sha256": None,
    "decision": "refused",
    "code": "E-IMAGE-MISSING",
    "message": "it is gone",
    **ORIGIN,
}


def rows() -> list[Row]:
    return [msgspec.json.decode(msgspec.json.encode(line), type=Row) for line in (ANSWER, REFUSED)]


def written(path: Path) -> Path:
    with RowFile(path, LABELS, "plan") as file:
        file.write(record_batch(rows(), LABELS, chunk=7, first=3))
        file.publish(images=2, refused={"E-IMAGE-MISSING": 1})
    return path


def test_a_row_has_what_the_line_said_and_null_where_it_said_nothing(tmp_path: Path) -> None:
    answer, refused = next(read_rows(written(tmp_path / "one.parquet"))).to_pylist()
    assert answer == {
        **{key: ANSWER[key] for key in ANSWER if key not in ("ms", "stored", "time")},
        "chunk": 7,
        "row": 3,
        "sha256": b"\x0f" * 32,
        "probabilities": [0.25, 0.75],
        "code": None,
        "message": None,
        "decode_ms": 1.5,
        "resize_ms": 0.25,
        "infer_ms": 2.0,
        "tiles": '{"size":40}',
        "dicom": None,
        "peaks": '[{"x":1,"y":2}]',
    }
    assert {key: value for key, value in refused.items() if value is not None} == {
        **{key: value for key, value in REFUSED.items() if value is not None},
        "chunk": 7,
        "row": 4,
    }


def test_a_file_says_what_is_in_it_without_its_rows_being_read(tmp_path: Path) -> None:
    path = written(tmp_path / "one.parquet")
    footer = read_footer(path)
    assert (footer.rows, footer.images, footer.labels, footer.plan) == (2, 2, LABELS, "plan")
    assert footer.refused == {"E-IMAGE-MISSING": 1}
    assert pq.read_schema(path).equals(COLUMNS)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with RowFile(tmp_path / "one.parquet", LABELS, "plan") as file:
        file.write(record_batch(rows(), LABELS, 0, 0))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="E-OUTPUT-WRITE"):
        RowFile(Path("/proc/one.parquet"), LABELS, "plan")


def test_a_damaged_file_or_one_of_another_program_is_said_to_be_one(tmp_path: Path) -> None:
    path = written(tmp_path / "one.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    other = tmp_path / "other.parquet"
    pq.write_table(COLUMNS.empty_table(), other)
    for bad in (path, other, tmp_path / "missing"):
        with pytest.raises(ArchiveError, match="E-CHUNK-DAMAGED"):
            read_footer(bad)
    with pytest.raises(ArchiveError, match="E-CHUNK-DAMAGED"):
        next(read_rows(path))


def test_a_bit_that_the_disk_flips_makes_no_other_answer(tmp_path: Path) -> None:
    path = written(tmp_path / "one.parquet")
    good, want = path.read_bytes(), next(read_rows(path)).to_pylist()
    end = pq.read_metadata(path).row_group(0).to_dict()["total_byte_size"]
    rng, said = random.Random(1), 0
    for _ in range(300):
        data = bytearray(good)
        data[rng.randrange(min(end, len(good)))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            assert [batch.to_pylist() for batch in read_rows(path)] == [want]
        except ArchiveError:
            said += 1
    assert said > 100


@pytest.mark.parametrize("column", ["sha256", "frame", "decision", "label", "confidence"])
def test_a_file_with_other_columns_is_refused_whoever_wrote_it(tmp_path: Path, column: str) -> None:
    path = written(tmp_path / "one.parquet")
    table, about = pq.read_table(path), pq.read_metadata(path).metadata
    place = table.schema.get_field_index(column)
    for other in (
        table.drop([column]),
        table.set_column(place, column, pa.array([b"\xff"] * 2)),
        table.append_column("x", [[1, 2]]),
    ):
        pq.write_table(other.replace_schema_metadata(about), path)
        with pytest.raises(ArchiveError, match="E-CHUNK-DAMAGED"):
            read_footer(path)


def test_texts_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "one.parquet")
    table, about = pq.read_table(path), pq.read_metadata(path).metadata
    texts = pa.array([b"\xff", b"\xfe"]).view(pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", texts).replace_schema_metadata(about), path)
    with pytest.raises(ArchiveError, match="E-CHUNK-DAMAGED"):
        next(read_rows(path))
