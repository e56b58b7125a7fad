"""DICOM images of one patient stay together, whatever the files say or leave out."""

from limiar.train.dataset.dicom_facts import DicomFacts
from limiar.train.dataset.dicom_groups import grouped
from limiar.train.dataset.listed import Listed


def groups(*described):
    """The group of each image; described: (study, patient) or None for another format, or with a group that is given."""
    images, facts = [], []
    for number, one in enumerate(described):
        study, patient, group = (*one, "")[:3] if one else ("", "", "")
        images.append(Listed(f"{number}.dcm", "pos", group=group))
        facts.append(DicomFacts(study, patient.encode(), None, None) if one else None)
    found, notes = grouped(images, facts)
    assert [image.file for image in found] == [image.file for image in images]
    return [image.group for image in found], " ".join(notes)


def test_images_of_a_study_are_a_group():
    assert groups(("b", "1"), ("a", "2"), ("b", "1"))[0] == ["b", "a", "b"]


def test_studies_of_a_patient_are_one_group_which_has_the_first_hash():
    assert groups(("c", "1"), ("a", "2"), ("b", "1"), ("c", "1"))[0] == ["b", "a", "b", "b"]


def test_a_patient_that_every_image_names_says_nothing():
    found, note = groups(("b", "ANON"), ("a", "ANON"), ("b", "ANON"))
    assert found == ["b", "a", "b"]
    assert "do not tell patients apart" in note


def test_images_without_a_patient_are_grouped_by_study_beside_those_with_one():
    assert groups(("b", ""), ("a", "1"), ("d", "2"), ("c", "2"), ("b", ""))[0] == ["b", "a", "c", "c", "b"]


def test_a_group_that_is_given_stays_and_is_that_of_the_patient_s_other_images():
    assert groups(("b", "1", "mine"), ("c", "1"), ("a", "2"))[0] == ["mine", "mine", "a"]


def test_images_of_other_formats_get_no_group_and_no_note():
    assert groups(None, ("a", "1"), None)[0] == ["", "a", ""]
    assert groups(None, None) == (["", ""], "")


def test_an_image_without_study_and_patient_is_in_no_group():
    assert groups(("", ""), ("", ""), ("a", "1"), ("b", "2"))[0] == ["", "", "a", "b"]
