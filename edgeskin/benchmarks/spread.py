"""Mean and standard deviation of what was measured several times: on images, or on the folds of a cross-validation."""

from collections.abc import Sequence

import numpy as np

from edgeskin.contract.model import Frozen


class Spread(Frozen):
    """Mean and sample standard deviation (n − 1) of `n` numbers; None where there are too few of them.

    ci95: of a single number, its interval, where it has one with two ends.
    """

    mean: float | None
    sd: float | None
    n: int
    ci95: tuple[float, float] | None = None

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """The spread of some numbers."""
        array = np.asarray(values, np.float64)
        return Spread(
            mean=float(array.mean()) if len(array) else None,
            sd=float(array.std(ddof=1)) if len(array) > 1 else None,
            n=len(array),
        )

    def __str__(self) -> str:
        """As it is printed in a table."""
        if self.mean is None:
            return "–"
        beside = "" if self.ci95 is None else " ({:.3f}–{:.3f})".format(*self.ci95)
        return f"{self.mean:.3f}" + (beside if self.sd is None else f" ± {self.sd:.3f}")
