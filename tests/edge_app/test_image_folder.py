"""Where images, labels and splits come from, and everything that is refused."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from limiar.edge_app.bundle.manifest import InputSpec
from limiar.edge_app.errors import DataError
from limiar.train.dataset.image_folder import default_positive, load
from limiar.train.dataset.listing import list_images
from limiar.train.dataset.splits import Shares

SPEC = InputSpec(height=40, width=40, channels=3)


@pytest.fixture
def png():
    """png(seed) -> the bytes of a PNG of noise; equal seeds give equal images."""

    def make(seed: int, side: int = 20) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def loaded():
    """loaded(folder, table=None, **shares) -> (DataSet, notes)."""

    def read(folder, table=None, **changes):
        shares = {"test": 0.25, "val": 0.15, "minimum": 1, "seed": 0} | changes
        return load(folder, table, SPEC, Shares(**shares), lambda done, total: None)

    return read


def write(folder, **files):
    """Files by name, `__` standing for a slash and the extension .png added."""
    for name, data in files.items():
        path = folder / (name.replace("__", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def folder(tmp_path, png):
    """Ten images of each class, labelled by suffix."""
    write(tmp_path, **{f"{k:02}_{'pos' if k % 2 else 'neg'}": png(k) for k in range(20)})
    return tmp_path


def table(folder, text):
    path = folder.parent / f"{folder.name}.csv"
    path.write_text(text)
    return path


def code_of(call, *arguments, **changes):
    with pytest.raises(DataError) as refused:
        call(*arguments, **changes)
    assert "\n" not in refused.value.message
    return refused.value.code


def test_suffixes_give_the_labels(folder, loaded):
    data, notes = loaded(folder)
    assert data.labels == ("neg", "pos")
    assert all(row.label in row.file for row in data.rows)
    assert data.images.take(np.arange(20)).shape == (20, 40, 40, 3)
    assert notes == ()


def test_class_folders_give_the_labels(tmp_path, png, loaded):
    write(tmp_path, **{f"{name}__{k}": png(10 * c + k) for c, name in enumerate(("cat", "dog", "fox")) for k in range(6)})
    data, _ = loaded(tmp_path)
    assert data.labels == ("cat", "dog", "fox")
    assert all(row.file.startswith(row.label + "/") for row in data.rows)
    assert data.rows[0].sha256 != data.rows[1].sha256


def test_a_table_gives_labels_splits_and_groups(folder, loaded):
    names = sorted(path.name for path in folder.iterdir())
    parts = ["train", "train", "train_more", "train_more", "val", "val", "test", "test"]
    lines = [f"{name},{name[3:6]},{part},g{part}" for name, part in zip(names, parts, strict=False)]
    data, _ = loaded(folder, table(folder, "file,label,split,group,extra\n" + "".join(line + ",x\n" for line in lines)))
    assert [row.split for row in data.rows] == parts
    assert [row.part for row in data.rows] == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    assert data.rows[0].group == "gtrain"


def test_the_folders_own_manifest_is_used_and_said(folder, loaded):
    lines = [f"{path.name},{'b' if 'pos' in path.name else 'a'},,\n" for path in sorted(folder.iterdir())]
    (folder / "manifest.csv").write_text("file,label,split,other\n" + "".join(lines))
    data, notes = loaded(folder)
    assert data.labels == ("a", "b")
    assert "manifest.csv" in notes[0]


def test_another_manifest_is_passed_over(folder, loaded):
    (folder / "manifest.csv").write_text("name,size\nx,1\n")
    assert loaded(folder)[0].labels == ("neg", "pos")


def test_splits_are_in_proportion_and_repeatable(tmp_path, png, loaded):
    write(tmp_path, **{f"{k:03}_{'pos' if k % 4 == 0 else 'neg'}": png(k, side=6) for k in range(200)})
    data, _ = loaded(tmp_path)
    counts = {(part, label): 0 for part in ("train", "val", "test") for label in data.labels}
    for row in data.rows:
        counts[row.part, row.label] += 1
    aims = [90, 30, 22.5, 7.5, 37.5, 12.5]  # of 150 neg and 50 pos: 60, 15 and 25 %
    assert list(counts.values()) == pytest.approx(aims, abs=1)
    assert loaded(tmp_path)[0].rows == data.rows
    assert loaded(tmp_path, seed=1)[0].rows != data.rows


def test_groups_and_equal_images_stay_together(folder, png, loaded):
    write(folder, zz_pos=png(1), zy_pos=png(1))  # the same image as 01_pos
    names = sorted(path.name for path in folder.iterdir())
    lines = [f"{name},{name[3:6]},{'' if name[0] == 'z' else k // 4}\n" for k, name in enumerate(names)]
    for seed in range(5):
        data, _ = loaded(folder, table(folder, "file,label,group\n" + "".join(lines)), seed=seed)
        parts = {}
        for row in data.rows:
            parts.setdefault(row.group or "0", set()).add(row.part)
        assert all(len(found) == 1 for found in parts.values())


def test_a_validation_part_is_taken_from_training_where_none_is_given(folder, loaded):
    lines = [f"{p.name},{p.name[3:6]},{'test' if p.name < '06' else 'train_x'}\n" for p in sorted(folder.iterdir())]
    data, _ = loaded(folder, table(folder, "file,label,split\n" + "".join(lines)))
    splits = [row.split for row in data.rows]
    assert (splits.count("test"), splits.count("val"), splits.count("train_x")) == (
        6,
        4,
        10,
    )  # a fifth of each class, rounded up


def test_a_name_that_is_not_utf8_is_taken_and_reported(folder, png, loaded):
    with open(os.fsencode(folder) + b"/\xff\xfe_pos.png", "wb") as file:
        file.write(png(99))
    data, notes = loaded(folder)
    assert len(data.rows) == 21
    assert notes == ("1 file name is not UTF-8, for instance \\xff\\xfe_pos.png",)


def test_a_folder_that_is_none_is_refused(tmp_path, loaded):
    assert code_of(loaded, tmp_path / "nowhere") == "E-DATA-MISSING"


def test_a_folder_without_images_is_refused(tmp_path, loaded):
    assert code_of(loaded, tmp_path) == "E-DATA-EMPTY"


def test_an_empty_class_folder_is_refused(tmp_path, png, loaded):
    write(tmp_path, cat__1=png(1), dog__1=png(2))
    (tmp_path / "fox").mkdir()
    assert code_of(loaded, tmp_path) == "E-DATA-EMPTY"


def test_an_image_without_a_label_is_refused(folder, png, loaded):
    write(folder, unnamed=png(50))
    assert code_of(loaded, folder) == "E-DATA-LABEL"


def test_of_names_one_of_which_has_no_label_that_one_is_met(folder, png, loaded):
    write(folder, unnamed=png(50))
    with pytest.raises(DataError, match=r"^E-DATA-LABEL: unnamed\.png is not in a class folder, and ends in neither _neg nor"):
        loaded(folder)
    met = []
    listing = list_images(folder, None, lambda error, file: met.append(file))
    assert met == ["unnamed.png"]
    assert sorted({image.label for image in listing.images}) == ["neg", "pos"]
    assert len(listing.images) == 20


def test_beside_class_folders_a_name_is_no_label(tmp_path, png, loaded):
    write(tmp_path, cat__a=png(1), dog__b=png(2), c_pos=png(3))
    with pytest.raises(DataError, match=r"^E-DATA-LABEL: c_pos\.png is not in a class folder, and not all names end like that"):
        loaded(tmp_path)


def test_one_class_is_refused(tmp_path, png, loaded):
    write(tmp_path, **{f"{k}_pos": png(k) for k in range(9)})
    assert code_of(loaded, tmp_path) == "E-DATA-ONE-CLASS"


@pytest.mark.parametrize("above", ["images", "archive__data"])
def test_a_folder_that_holds_the_class_folders_is_named_as_the_one_to_give(tmp_path, png, loaded, above):
    write(tmp_path, **{f"{above}__{name}__{k}": png(10 * c + k) for c, name in enumerate(("cat", "dog")) for k in range(6)})
    with pytest.raises(DataError, match=r"E-DATA-ONE-CLASS: .*if the folders in it are the classes") as refused:
        loaded(tmp_path)
    inside = refused.value.message.partition("give ")[2].partition(" if the folders")[0]
    assert loaded(type(tmp_path)(inside))[0].labels == ("cat", "dog")


def test_one_image_under_both_labels_is_refused(folder, png, loaded):
    write(folder, zz_neg=png(1))
    assert code_of(loaded, folder) == "E-DATA-BOTH-LABELS"


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("03_pos.png", lambda data: data[:-20], "E-IMAGE-TRUNCATED"),
        ("03_pos.png", lambda data: b"", "E-IMAGE-EMPTY"),
        ("03_pos.png", lambda data: b"no image at all", "E-IMAGE-FORMAT"),
    ],
)
def test_a_bad_image_is_named_with_its_reason(folder, loaded, name, damage, reason):
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as refused:
        loaded(folder)
    assert refused.value.code == "E-DATA-IMAGE"
    assert name in refused.value.message
    assert reason in refused.value.message


def test_images_outside_the_image_rules_are_named(folder, loaded):
    Image.new("CMYK", (20, 20)).save(folder / "zz_pos.jpg")
    Image.new("1", (8000, 8000)).save(folder / "zy_pos.png")  # 64 megapixels in 8 KB
    with pytest.raises(DataError) as refused:
        loaded(folder)
    assert "2 of 22 images cannot be used" in refused.value.message
    assert "E-IMAGE-COLOUR" in refused.value.message
    assert "E-IMAGE-PIXELS" in refused.value.message


def test_a_link_in_the_folder_is_refused(folder, tmp_path_factory, png, loaded):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, x_pos=png(70))
    (folder / "zz_pos.png").symlink_to(elsewhere / "x_pos.png")
    assert code_of(loaded, folder) == "E-DATA-LINK"
    (folder / "zz_pos.png").unlink()
    (folder / "more").symlink_to(elsewhere)
    assert code_of(loaded, folder) == "E-DATA-LINK"


@pytest.mark.parametrize("path", ["../x_pos.png", "/etc/hostname", "a/../../x_pos.png", "more/x_pos.png"])
def test_a_listed_path_that_leaves_the_folder_is_refused(folder, tmp_path_factory, png, loaded, path):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, x_pos=png(70))
    (folder / "more").symlink_to(elsewhere)
    assert code_of(loaded, folder, table(folder, f"file,label\n{path},pos\n")) == "E-DATA-OUTSIDE"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("name,label\nx,y\n", "E-DATA-CSV"),
        ("file,label\n00_neg.png,\n", "E-DATA-CSV"),
        ("file,label\n00_neg.png\n", "E-DATA-CSV"),
        ("file,label\n00_neg.png,neg\n00_neg.png,neg\n", "E-DATA-CSV"),
        ("file,label\nrtsp://user:secret@camera/x.png,neg\n", "E-DATA-CSV"),
        ('file,label\n"00_neg.png,neg\n' + "01_pos.png,pos\n" * 10_000, "E-DATA-CSV"),  # a quote that is not closed
        ('"file,label\n' + "01_pos.png,pos\n" * 10_000, "E-DATA-CSV"),
        ("file,label\n", "E-DATA-EMPTY"),
        ("file,label,split\n00_neg.png,neg,holdout\n", "E-DATA-SPLIT"),
        ("file,label,split\n00_neg.png,neg,train\n01_pos.png,pos,\n", "E-DATA-SPLIT"),
        ("file,label\n00_neg.png,neg\nmissing.png,pos\n", "E-DATA-IMAGE"),
    ],
)
def test_a_table_with_a_fault_is_refused(folder, loaded, text, code):
    assert code_of(loaded, folder, table(folder, text)) == code


def test_a_table_that_is_not_there_or_not_utf8_is_refused(folder, loaded):
    assert code_of(loaded, folder, folder / "none.csv") == "E-DATA-MISSING"
    path = table(folder, "")
    path.write_bytes(b"file,label\n\xff.png,pos\n")
    assert code_of(loaded, folder, path) == "E-DATA-CSV"


def test_the_same_image_in_two_splits_is_refused_also_in_another_format(folder, loaded):
    Image.open(folder / "01_pos.png").save(folder / "zz_pos.bmp")
    lines = [f"{p.name},{p.name[3:6]},{'test' if p.suffix == '.bmp' else 'train'}\n" for p in sorted(folder.iterdir())]
    assert code_of(loaded, folder, table(folder, "file,label,split\n" + "".join(lines))) == "E-DATA-DUPLICATE"


def test_the_same_group_in_two_splits_is_refused(folder, loaded):
    lines = [f"{p.name},{p.name[3:6]},{'test' if p.name < '06' else 'train'},scan 7\n" for p in sorted(folder.iterdir())]
    assert code_of(loaded, folder, table(folder, "file,label,split,group\n" + "".join(lines))) == "E-DATA-GROUP"


def test_too_few_images_of_a_class_are_refused(folder, loaded):
    assert code_of(loaded, folder, minimum=3) == "E-DATA-FEW"
    assert len(loaded(folder, minimum=1)[0].rows) == 20


def test_the_ct_patches_are_listed_with_their_splits(lung):
    listing = list_images(lung, None)
    splits = [image.split for image in listing.images]
    assert {name: splits.count(name) for name in sorted(set(splits))} == {
        "test": 437,
        "train": 1648,
        "train_more": 2795,
        "val": 239,
    }


def test_the_ct_patches_load_without_a_leak(lung, loaded):
    data, _ = loaded(lung, minimum=100)
    assert len(data.rows) == 5119


@pytest.mark.parametrize(
    ("labels", "positive"), [(("neg", "pos"), "pos"), (("pos", "zzz"), "pos"), (("cat", "dog"), "dog"), (("a", "b", "c"), None)]
)
def test_of_two_labels_pos_is_positive_or_else_the_second(labels, positive):
    assert default_positive(labels) == positive


def test_it_is_known_whether_the_test_part_was_given(folder, loaded):
    assert loaded(folder)[0].drawn
    lines = [f"{p.name},{p.name[3:6]},{'test' if p.name < '06' else 'train'}\n" for p in sorted(folder.iterdir())]
    assert not loaded(folder, table(folder, "file,label,split\n" + "".join(lines)))[0].drawn


@pytest.mark.parametrize("kind", ["fifo", "device", "large"])
def test_a_table_that_has_no_end_is_refused_at_once(folder, loaded, kind):
    path = folder.parent / f"{folder.name}.csv"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 30)
    assert code_of(loaded, folder, path) == "E-DATA-MISSING"


def test_a_folders_own_table_is_no_link_and_no_fifo(folder, loaded):
    (folder / "manifest.csv").symlink_to("/dev/zero")
    assert code_of(loaded, folder) == "E-DATA-LINK"
    (folder / "manifest.csv").unlink()
    os.mkfifo(folder / "manifest.csv")
    assert code_of(loaded, folder) == "E-DATA-MISSING"
