"""What a test split can decide is said before an hour is spent, not by a refusal at the end."""

import tomllib
from pathlib import Path

import pytest

from limiar.convert.gate.gate_file import DEFAULT
from limiar.convert.gate.noninferiority import paired_verdict
from limiar.train.record.evidence import ALPHA, MARGIN, evidence


def test_the_margin_is_the_gates_own():
    asked = tomllib.loads(Path(DEFAULT).read_text())["noninferiority"]
    assert (asked["margin"], asked["alpha"]) == (MARGIN, ALPHA)


@pytest.mark.parametrize("images", [8, 26, 58, 59, 400])
def test_enough_is_what_the_gate_finds_enough_for_a_file_that_loses_nothing(images):
    found = evidence({"a": images, "b": 500})
    assert found.enough == (paired_verdict(0, 0, images, MARGIN, ALPHA) == "PASS")


def test_the_class_with_the_fewest_images_is_named_with_what_it_decides_and_ways_out():
    text = evidence({"cat": 40, "dog": 26, "fox": 31}).text()
    assert text == (
        "the test split can only decide 10.9 points (26 images of dog); convert asks for 5 points, 59 of each class, for all "
        "files but full-precision copies: add test images, or convert with --margin 0.11, or with --allow-undecided, which "
        "says what is not proven"
    )


@pytest.mark.parametrize("images", [1, 3, 4])
def test_no_margin_is_named_that_the_command_line_refuses(images):
    text = evidence({"a": images, "b": 500}).text()
    assert "--margin" not in text
    assert "or convert with --allow-undecided" in text


@pytest.mark.parametrize("images", [5, 8, 17, 26, 30, 58])
def test_the_margin_that_is_named_is_one_that_passes(images):
    margin = float(evidence({"a": images, "b": 500}).text().partition("--margin ")[2].partition(",")[0])
    assert paired_verdict(0, 0, images, margin, ALPHA) == "PASS"


def test_nothing_is_said_of_a_class_without_images():
    assert evidence({"cat": 0, "dog": 26}) is None
    assert evidence({}) is None
