from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from edgeskin.data.cases import Case, read_cases
from edgeskin.data.datasets import PAD_UFES_20
from edgeskin.data.fields import fields, hide, hiding_rates
from edgeskin.errors import DataError

RECORDS = (
    [{"smoke": "True", "age": "50", "itch": None}] * 2
    + [{"smoke": None, "age": "50", "itch": "True"}] * 3
    + [{"smoke": "True", "age": "50", "itch": "False"}] * 3
)
CLASSES = ["cancer"] * 2 + ["nevus"] * 6
"""Unknown shares: smoke 0 of cancer, 1/2 of nevus; age none; itch all of cancer, none of nevus."""


def case(**labels: str) -> Case:
    return Case("a", Path("unread.png"), None, "train", None, labels)


def test_unknown_words_become_none() -> None:
    cells = {"age": "55.0", "sex": "unknown", "grew": "UNK", "region": "", "bleed": "NaN", "itch": "False"}
    assert fields(case(**cells), list(cells)) == {
        "age": "55.0", "sex": None, "grew": None, "region": None, "bleed": None, "itch": "False",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["biopsed", "dx_type", "geometry"])
def test_a_column_that_tells_how_data_were_collected_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"the field {name} may not be given to a network: "):
        fields(case(**{name: "True"}), [name])


def test_a_column_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match="no column 'gendr'; did you mean 'gender'"):
        fields(case(gender="MALE"), ["gendr"])


def test_rates_by_hand() -> None:
    records = [{name: one[name] for name in ("smoke", "age")} for one in RECORDS]
    assert hiding_rates(records, CLASSES) == {
        "cancer": {"smoke": 0.5, "age": 0.0},  # (1/2 − 0) / (1 − 0)
        "nevus": {"smoke": 0.0, "age": 0.0},
    }


def test_a_field_that_a_class_never_knows_is_refused() -> None:
    with pytest.raises(DataError, match=r"itch \(of cancer\)\. Take them out"):
        hiding_rates(RECORDS, CLASSES)


def test_hiding_reaches_the_probability_and_tells_no_value() -> None:
    rng = np.random.default_rng(0)
    values = {"age": "50", "sex": "male", "site": None}
    shown = [hide(values, 0.25, rng) for _ in range(4000)]
    # Standard deviation of a share: sqrt(0.25 · 0.75 / 4000) = 0.007.
    for name in ("age", "sex"):
        assert np.mean([one[name] is None for one in shown]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([one["age"] is None and one["sex"] is None for one in shown]) == pytest.approx(0.25**2, abs=0.02)
    assert all(one["site"] is None for one in shown)
    assert hide(values, 0.0, rng) == values
    assert set(hide(values, 1.0, rng).values()) == {None}


def test_equal_seeds_hide_alike_whatever_the_values() -> None:
    a, b = ({"age": "50", "sex": "male"}, {"age": None, "sex": "female"})
    first, second = (hide(values, 0.5, np.random.default_rng(7)) for values in (a, b))
    assert [value is None for value in first.values()][1] == [value is None for value in second.values()][1]
    assert hide(a, 0.5, np.random.default_rng(7)) == first


def test_what_is_equalised_is_hidden_together() -> None:
    rng = np.random.default_rng(0)
    rates = {"smoke": 0.5, "drink": 0.5}
    shown = [hide({"smoke": "True", "drink": "False"}, 0.0, rng, rates) for _ in range(2000)]
    assert all((one["smoke"] is None) == (one["drink"] is None) for one in shown)
    # sqrt(0.5 · 0.5 / 2000) = 0.011.
    assert np.mean([one["smoke"] is None for one in shown]) == pytest.approx(0.5, abs=0.05)


def pattern_auroc(missing: np.ndarray, cancer: np.ndarray, patients: list[str]) -> float:
    """How well a forest tells cancer from what is missing, on patients it has not seen."""
    forest = RandomForestClassifier(100, min_samples_leaf=10, random_state=0)
    found = cross_val_predict(forest, missing, cancer, groups=patients, cv=GroupKFold(5), method="predict_proba")
    return float(roc_auc_score(cancer, found[:, 1]))


@pytest.mark.data
def test_in_pad_ufes_20_the_missing_pattern_tells_cancer_until_it_is_equalised(pad_ufes_20: Path) -> None:
    cases = read_cases(pad_ufes_20).cases
    records = [fields(case, PAD_UFES_20.fields) for case in cases]
    diagnoses = [case.value("diagnosis") for case in cases]
    cancer = np.isin(diagnoses, ["BCC", "MEL", "SCC"])
    patients = [case.group or case.image_id for case in cases]
    before = np.array([[value is None for value in one.values()] for one in records])
    assert roc_auc_score(cancer, -before.sum(axis=1)) == pytest.approx(0.81, abs=0.01)  # data/README.md
    rates, rng = hiding_rates(records, diagnoses), np.random.default_rng(0)
    shown = [hide(one, 0.0, rng, rates[of]) for one, of in zip(records, diagnoses, strict=True)]
    after = np.array([[value is None for value in one.values()] for one in shown])
    assert pattern_auroc(before, cancer, patients) > 0.8
    # 501 cancers and 395 others: the AUROC of a guess has a standard deviation of about 0.02.
    assert pattern_auroc(after, cancer, patients) < 0.56
    assert 0.44 < roc_auc_score(cancer, -after.sum(axis=1)) < 0.56
    for name, share in zip(records[0], after.T, strict=True):
        of_cancer, of_others = share[cancer].mean(), share[~cancer].mean()
        assert abs(of_cancer - of_others) < 0.12, name
