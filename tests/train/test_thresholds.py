import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeskin import shipped
from edgeskin.contract.model import HeadSpec
from edgeskin.train import recipe, score
from edgeskin.train.distill import Teacher
from edgeskin.train.loader import Samples, Showing
from edgeskin.train.thresholds import cross_validated, thresholds

MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)


def test_a_threshold_maximises_sensitivity_plus_specificity_or_reaches_the_asked_sensitivity() -> None:
    truth = np.array([0, 0, 0, 1, 0, 1, 1, -1])
    score = np.array([[0.1], [0.2], [0.3], [0.35], [0.4], [0.6], [0.8], [0.99]], np.float32)
    given = Samples((), (), {"melanoma": truth}, Showing(32))
    path = shipped.find("recipes", "phantom_tiny")
    # By hand: at 0.35 sensitivity 1, specificity 3/4; at 0.6 sensitivity 2/3, specificity 1: 1.75 beats 1.67.
    plain = recipe.read(path)
    assert thresholds({"melanoma": score}, given, (MELANOMA,), plain) == {"melanoma": pytest.approx(0.35)}
    # Two of three are asked for: the highest threshold that reaches 2/3 is 0.6.
    asked = recipe.read(path, ("heads.melanoma.target_sensitivity=0.66",))
    assert thresholds({"melanoma": score}, given, (MELANOMA,), asked) == {"melanoma": pytest.approx(0.6)}
    # One that the recipe gives is not chosen: it stands in the card from the beginning.
    fixed = recipe.read(path, ("heads.melanoma.threshold=0.3",))
    assert thresholds({"melanoma": score}, given, (MELANOMA,), fixed) == {}
    assert {head.name: head.threshold for head in fixed.head_specs()}["melanoma"] == 0.3


def grey(levels: list[int], melanoma: list[int]) -> Samples:
    """One even picture a case, of this brightness, without a mask."""
    images = tuple(np.full((32, 32, 3), level, np.uint8) for level in levels)
    return Samples(images, (None,) * len(images), {"melanoma": np.array(melanoma)}, Showing(32))


GREY = grey([0], [0])


class Brighter(nn.Module):
    """The brighter, the surer; `steep` is how sure it is of itself."""

    def __init__(self, steep: float, shift: float = 0.0) -> None:
        super().__init__()
        self.steep, self.shift = steep, shift

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.steep * (image.mean((1, 2, 3))[:, None] - self.shift),)


def test_teachers_choose_the_threshold_on_what_they_had_not_met() -> None:
    chosen = recipe.read(
        shipped.find("recipes", "phantom_tiny"),
        ("heads.mask=false", "heads.diagnosis=false", "heads.seborrheic_keratosis=false", "data.select=12"),
    )
    assert [head.name for head in chosen.head_specs()] == ["melanoma"]
    # By hand. The first teacher is asked for the even places: of 10, 30, 50, 70 the brightest two are melanomas, so 50
    # is its threshold; the second for the odd ones: melanomas from 80 on.
    samples = grey([10, 20, 30, 60, 50, 80, 70, 90], [0, 0, 0, 0, 1, 1, 1, 1])
    teacher = Teacher((Brighter(9), Brighter(0.1)), ("melanoma",), 1.0, 1.0, asked=torch.arange(8) % 2)
    # Of select the first flags 6 of 10 and the second 2: 4 of 10 on average, whatever their labels are. The student,
    # who is sure of nothing, flags as many: those from 70 on.
    select = grey([20, 30, 40, 45, 50, 60, 70, 75, 80, 90], [-1, 0, 0, 0, 0, 0, 0, 0, 0, 1])

    def ask(network: score.Network, shown: Samples) -> dict[str, np.ndarray]:
        return score.probabilities(network, shown, chosen.head_specs(), 3, torch.device("cpu"))

    student = Brighter(0.01, shift=4.0)
    answers = ask(student, select)
    found = cross_validated(answers, samples, select, teacher, chosen, ask)
    assert found == {"melanoma": float(answers["melanoma"][6, 0])}


def test_only_sigmoid_heads_have_a_stored_threshold() -> None:
    answers = {"mask": np.ones(5, np.float32), "diagnosis": np.ones((5, 3), np.float32)}
    assert thresholds(answers, GREY, (MASK, DIAGNOSIS), recipe.read(shipped.find("recipes", "phantom_tiny"))) == {}
