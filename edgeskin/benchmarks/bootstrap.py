"""Intervals and bounds by resampling images: every metric of both networks sees the same resamples.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import numpy as np

from edgeskin.benchmarks.measurements import MetricFigure
from edgeskin.benchmarks.metrics import Counts, Floats

Statistic: TypeAlias = Callable[[Counts], Floats]
"""A metric of one network as a function of how often each case counts: [..., n] -> [...]."""

RESAMPLES = 2000
SEED = 20170
DEFINED = 0.95
"""At least this fraction of the resamples must define the metric (hold both classes), else nothing is claimed."""
_ONE_SIDED = 1.645
"""The standard normal's 95 % quantile."""


def resample_counts(
    n: int, resamples: int = RESAMPLES, seed: int = SEED, groups: Sequence[Hashable] | None = None
) -> Counts:
    """How often each of n cases stands in each resample; [resamples, n].

    groups: one key a case (patient, lesion). Cases of one group are no independent witnesses, so whole groups are
    drawn, and a resample holds n cases only on average. Equal arguments give equal counts.
    """
    keys = {key: index for index, key in enumerate(dict.fromkeys(range(n) if groups is None else groups))}
    members = np.arange(n) if groups is None else np.array([keys[key] for key in groups], np.int64)
    drawn = np.random.default_rng(seed).integers(0, max(len(keys), 1), (resamples, len(keys)))
    drawn += np.arange(resamples)[:, np.newaxis] * len(keys)
    counts = np.bincount(drawn.ravel(), minlength=resamples * len(keys)).reshape(resamples, len(keys))
    return counts[:, members].astype(np.float64)


def interval95(values: Floats) -> tuple[float, float]:
    """The percentile interval of resampled values, nan ignored; (nan, nan) where too few are defined."""
    low, high = _quantiles(values, (0.025, 0.975))
    return low, high


def upper95(values: Floats) -> float:
    """The one-sided 95 % upper bound of resampled values, nan ignored; nan where too few are defined."""
    (bound,) = _quantiles(values, (0.95,))
    return bound


def compare(in_float: Statistic, in_int8: Statistic, counts: Counts, *, lower_is_better: bool = False) -> MetricFigure:
    """One metric of both networks on the same cases and the same resamples; counts [B, n]."""
    once = np.ones(counts.shape[-1])
    float_value, int8_value = float(in_float(once)), float(in_int8(once))
    float_values, int8_values = in_float(counts), in_int8(counts)
    worse = -1.0 if lower_is_better else 1.0
    drops = worse * (float_values - int8_values)
    defined = drops[~np.isnan(drops)]
    known = len(defined) > 1 and not math.isnan(upper95(drops))
    return MetricFigure(
        float=float_value,
        int8=int8_value,
        ci95=interval95(int8_values),
        float_ci95=interval95(float_values),
        drop=worse * (float_value - int8_value) + 0.0,
        drop_upper95=upper95(drops),
        smallest_detectable_drop=_ONE_SIDED * float(defined.std(ddof=1)) if known else None,
        n=counts.shape[-1],
    )


def _quantiles(values: Floats, levels: tuple[float, ...]) -> list[float]:
    defined = values[~np.isnan(values)]
    if not len(values) or len(defined) < DEFINED * len(values):
        return [math.nan] * len(levels)
    return [float(value) for value in np.quantile(defined, levels)]
