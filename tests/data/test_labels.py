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
