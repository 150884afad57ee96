"""By hand."""

import pytest

from edgeskin.benchmarks.spread import Spread


def test_the_spread_of_folds_is_that_of_a_sample() -> None:
    found = Spread.of([0.7, 0.8, 0.9])
    # By hand: mean 0.8; squared distances 0.01 + 0 + 0.01 over 2.
    assert (found.mean, found.sd, found.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert str(found) == "0.800 ± 0.100"


def test_one_number_has_no_deviation_and_none_has_no_mean() -> None:
    assert Spread.of([0.7]) == Spread(mean=0.7, sd=None, n=1)
    assert str(Spread.of([0.7])) == "0.700"
    assert Spread.of([]) == Spread(mean=None, sd=None, n=0)
    assert str(Spread.of([])) == "–"


def test_one_number_may_have_an_interval() -> None:
    assert str(Spread(mean=0.7, sd=None, n=1, ci95=(0.65, 0.8))) == "0.700 (0.650–0.800)"
