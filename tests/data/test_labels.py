"""Words of a column for a head's labels; what needs none is in test_cases.py."""

from pathlib import Path

import pytest

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case
from edgeskin.data.labels import MISSING, truth
from edgeskin.errors import DataError

CASES = [
    Case(name, Path("unread.png"), None, "train", None, {"diagnosis": name, "malignancy": word, "symmetry": ""})
    for name, word in (("mel", "malignant"), ("nv", "benign"), ("bcc", "Malignant"), ("bkl", ""))
]
MALIGNANT = HeadSpec(name="malignant", kind="sigmoid", labels=("malignant",), threshold=0.5)
THREE = HeadSpec(name="three", kind="softmax", labels=("melanoma", "nv", "other"))


def test_a_sigmoid_head_reads_benign_and_malignant() -> None:
    assert truth(CASES, MALIGNANT, "malignancy").tolist() == [1, 0, 1, MISSING]


def test_yes_against_the_rest() -> None:
    assert truth(CASES, MALIGNANT, "diagnosis", {"yes": ("mel", "bcc")}).tolist() == [1, 0, 1, 0]
    assert truth(CASES, MALIGNANT, "diagnosis", {"no": ("nv",)}).tolist() == [1, 0, 1, 1]


def test_words_that_say_nothing_are_missing() -> None:
    words = {"yes": ("mel",), "no": ("nv",), "": ("bcc", "bkl")}
    assert truth(CASES, MALIGNANT, "diagnosis", words).tolist() == [1, 0, MISSING, MISSING]
    assert truth(CASES, MALIGNANT, "diagnosis", {"yes": ("mel",), "": ("bcc",)}).tolist() == [1, 0, MISSING, 0]


def test_with_both_answers_named_another_word_is_a_mistake() -> None:
    with pytest.raises(DataError, match="bcc: diagnosis is 'bcc'"):
        truth(CASES, MALIGNANT, "diagnosis", {"yes": ("mel",), "no": ("nv", "bkl")})


def test_seven_diagnoses_become_three() -> None:
    # `nv` is named by no word, so it keeps its own.
    words = {"melanoma": ("mel",), "other": ("bcc", "bkl")}
    assert truth(CASES, THREE, "diagnosis", words).tolist() == [0, 1, 2, 2]
    with pytest.raises(DataError, match="bkl: diagnosis is 'bkl'"):
        truth(CASES, THREE, "diagnosis", {"melanoma": ("mel",), "other": ("bcc",)})


def test_a_label_with_words_of_its_own_is_no_longer_a_word() -> None:
    with pytest.raises(DataError, match="nv: diagnosis is 'nv'"):
        truth(CASES, THREE, "diagnosis", {"melanoma": ("mel",), "nv": ("nevus",), "other": ("bcc", "bkl")})


def test_a_wrong_word_is_told_once_with_the_number_of_its_cases() -> None:
    seven = HeadSpec(name="seven", kind="softmax", labels=("akiec", "df"))
    with pytest.raises(DataError) as caught:
        truth([*CASES, *CASES, *CASES[:1]], seven, "diagnosis")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5, "a headline, and a line for each of mel, nv, bcc, bkl"
    assert lines[1].startswith("  mel: diagnosis is 'mel'")
    assert lines[1].endswith("; so in 2 more cases")
    assert lines[2].endswith("; so in 1 more case")
