import numpy as np
import pytest

from edgeskin.train.recipe.learning import Sampling
from edgeskin.train.sampling import epoch_order, occurrences, showings

LABELS = np.array([0, 1, 1, -1, 1, 0, 1, 1, 1, 1])
CLASSES = ("melanoma", "benign")
BALANCED = Sampling(kind="balanced", head="diagnosis")


def test_without_sampling_an_epoch_is_the_permutation_it_always_was() -> None:
    # What train/loader.py drew before there was sampling, and what clinic-1 was trained with.
    expected = np.random.default_rng([1, 1, 5, 0]).permutation(len(LABELS))
    np.testing.assert_array_equal(epoch_order(LABELS, CLASSES, None, (1, 1, 5)), expected)


def test_counts_show_each_class_so_many_times() -> None:
    # papers/joint_reverse_mtl_2024.txt, section 3.2: 16 views of a melanoma, 4 of what is benign. No label: once.
    sampling = Sampling(kind="counts", head="diagnosis", counts={"melanoma": 16, "benign": 4})
    order = epoch_order(LABELS, CLASSES, sampling, (1,))
    assert np.bincount(order, minlength=10).tolist() == [16, 4, 4, 1, 4, 16, 4, 4, 4, 4]


def test_a_class_that_is_not_named_counts_once() -> None:
    sampling = Sampling(kind="counts", head="diagnosis", counts={"melanoma": 3})
    times = np.bincount(epoch_order(LABELS, CLASSES, sampling, (1,)))
    assert times.tolist() == [3, 1, 1, 1, 1, 3, 1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_balanced_classes_are_equally_frequent_and_cases_evenly_within_them(seed: int) -> None:
    # Nine with a label: one class gets five, the other four. Two melanomas: 2 or 3 times each.
    order = epoch_order(LABELS, CLASSES, BALANCED, (seed,))
    times = np.bincount(order, minlength=10)
    assert len(order) == 10
    assert times[3] == 1
    melanomas, benign = times[[0, 5]], times[[1, 2, 4, 6, 7, 8, 9]]
    assert sorted((int(melanomas.sum()), int(benign.sum()))) == [4, 5]
    assert set(melanomas.tolist()) <= {2, 3}
    assert set(benign.tolist()) <= {0, 1}


def test_over_epochs_every_case_is_shown_about_as_often_as_its_class_asks() -> None:
    times = sum(np.bincount(epoch_order(LABELS, CLASSES, BALANCED, (1, epoch)), minlength=10) for epoch in range(400))
    # Expected: 4.5 of 9 for each class: 2.25 an epoch for a melanoma, 4.5 / 7 for a benign case.
    np.testing.assert_allclose(np.asarray(times)[[0, 5]] / 400, 2.25, atol=0.1)
    np.testing.assert_allclose(np.asarray(times)[[1, 2, 4, 6, 7, 8, 9]] / 400, 4.5 / 7, atol=0.1)
    np.testing.assert_allclose(showings(LABELS, CLASSES, BALANCED), np.asarray(times) / 400, atol=0.1)


def test_showings_by_hand() -> None:
    assert showings(LABELS, CLASSES, None).tolist() == [1] * 10
    twice = Sampling(kind="counts", head="diagnosis", counts={"melanoma": 2})
    assert showings(LABELS, CLASSES, twice).tolist() == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    # Half of the nine with a label for each class: 4.5 for two melanomas, 4.5 for seven benign cases.
    benign = 4.5 / 7
    expected = [2.25, benign, benign, 1, benign, 2.25, *[benign] * 4]
    np.testing.assert_allclose(showings(LABELS, CLASSES, BALANCED), expected, rtol=1e-12)


@pytest.mark.parametrize("sampling", [None, BALANCED, Sampling(kind="counts", head="diagnosis", counts={"benign": 2})])
def test_an_order_depends_on_its_seed_and_its_length_does_not(sampling: Sampling | None) -> None:
    first, again, other = (epoch_order(LABELS, CLASSES, sampling, (1, 1, epoch)) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()
    assert len(first) == len(other)


def test_occurrences_by_hand() -> None:
    assert occurrences(np.array([3, 1, 3, 3, 0, 1])).tolist() == [0, 0, 1, 2, 0, 1]
    assert occurrences(np.array([2, 0, 1])).tolist() == [0, 0, 0]
