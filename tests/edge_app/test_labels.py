"""Labels that are probably not what was meant."""

import pytest

from limiar.edge_app.errors import DataError
from limiar.train.dataset.listing import list_images


@pytest.fixture
def made(tmp_path):
    """made("cat/0.png", …) -> the data folder with such files; nothing here looks into them."""

    def make(*files):
        for file in files:
            path = tmp_path / "data" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"image")
        return tmp_path / "data"

    return make


def folders(outer, inner):
    return [f"{above}/{below}/{above}{k}.png" for above in outer for below in inner for k in range(2)]


@pytest.mark.parametrize("twin", ["cat ", "cat  ", "café"])
@pytest.mark.parametrize("split", ["", "train/"])
def test_two_folders_that_look_alike_are_not_two_classes(made, twin, split):
    first = "cafe\u0301" if twin == "café" else "cat"
    with pytest.raises(DataError, match=r"^E-DATA-LABEL: the labels .* look alike") as refused:
        list_images(made(*(f"{split}{name}/{k}.png" for name in (first, twin, "dog") for k in range(2))), None)
    assert ascii(first) in refused.value.message
    assert ascii(twin) in refused.value.message


def test_nor_are_two_labels_of_a_table(made, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.png,cat\n1.png,cat \n2.png,dog\n")
    with pytest.raises(DataError, match="'cat' and 'cat ' look alike"):
        list_images(made("0.png", "1.png", "2.png"), table)


def test_labels_that_differ_in_case_are_two_classes_and_said_to_be(made):
    listing = list_images(made("A/0.png", "a/1.png", "b/2.png"), None)
    assert {image.label for image in listing.images} == {"A", "a", "b"}
    assert "the labels A and a differ only in case and are taken for two classes" in listing.notes


@pytest.mark.parametrize(
    "outer",
    [
        ("fold_1", "fold_2", "fold_3"),
        ("fold0", "fold1"),
        ("p1", "p2"),
        ("Patient 7", "Patient 12"),
        ("hospital_A", "hospital_B"),
        ("original", "augmented"),
    ],
)
def test_folds_and_patients_that_hold_the_classes_are_no_classes(made, outer):
    with pytest.raises(DataError, match="each contain the folders neg, pos, which are probably the classes: give --csv"):
        list_images(made(*folders(outer, ("pos", "neg"))), None)


def test_a_table_of_such_folders_is_taken(made, tmp_path):
    files = folders(("p1", "p2"), ("pos", "neg"))
    table = tmp_path / "labels.csv"
    table.write_text("file,label,group\n" + "".join(f"{file},{file.split('/')[1]},{file.split('/')[0]}\n" for file in files))
    images = list_images(made(*files), table).images
    assert {(image.label, image.group) for image in images} == {(a, b) for a in ("pos", "neg") for b in ("p1", "p2")}


@pytest.mark.parametrize("split", ["", "train/"])
def test_classes_that_hold_the_same_folders_are_classes_and_said_to_be(made, split):
    listing = list_images(made(*(split + file for file in folders(("covid", "normal"), ("images", "masks")))), None)
    assert {image.label for image in listing.images} == {"covid", "normal"}
    assert any("each contain the folders images, masks; the classes are the outer ones" in note for note in listing.notes)


@pytest.mark.parametrize("inner", [("covid", "normal"), ("all",)])
def test_nothing_is_said_of_classes_that_hold_other_folders_or_one(made, inner):
    files = [f"{label}/{inner[k % len(inner)]}/{k}.png" for k, label in enumerate(("covid", "normal"))]
    assert list_images(made(*files), None).notes == ()


def test_a_name_and_a_folder_that_contradict_each_other_are_refused(made):
    files = ["pos/0_pos.png", "neg/1_neg.png", "neg/2_pos.png"]
    with pytest.raises(DataError, match=r"neg/2_pos\.png is named _pos but is in a folder neg: rename or move it"):
        list_images(made(*files), None)
