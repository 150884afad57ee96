import pytest
import torch
from torch import nn

from edgeskin.train.average import WeightAverage


class Counted(nn.Module):
    """One weight and one integer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.tensor(0))

    def set(self, weight: float, count: int) -> None:
        self.weight.data.fill_(weight)
        self.count.fill_(count)


def after(decay: float, *weights: float) -> WeightAverage:
    module, average = Counted(), WeightAverage(decay)
    for count, weight in enumerate(weights, start=1):
        module.set(weight, count)
        average.update(module)
    return average


def test_the_average_by_hand() -> None:
    # Begins with the first state; then decays min(0.9, (1 + n) / (10 + n)): 3/12 and 4/13.
    average = after(0.9, 10.0, 20.0, 40.0)
    second = 10 * 3 / 12 + 20 * 9 / 12
    assert float(average.tensors["weight"]) == pytest.approx(second * 4 / 13 + 40 * 9 / 13)


def test_the_decay_never_exceeds_what_is_asked() -> None:
    # decay 0.1 is below (1 + n) / (10 + n) from the second step on.
    assert float(after(0.1, 10.0, 20.0).tensors["weight"]) == pytest.approx(0.1 * 10 + 0.9 * 20)


def test_integers_are_copied_not_averaged() -> None:
    assert int(after(0.9, 1.0, 2.0, 3.0).tensors["count"]) == 3


def test_the_module_computes_with_the_average_inside_and_with_its_own_weights_after() -> None:
    module, average = Counted(), WeightAverage(0.5)
    module.set(1.0, 1)
    average.update(module)
    module.set(5.0, 2)
    with average.applied(module):
        assert (module.weight.tolist(), int(module.count)) == ([1.0], 1)
    assert (module.weight.tolist(), int(module.count)) == ([5.0], 2)


def test_own_weights_come_back_after_an_error() -> None:
    module, average = Counted(), WeightAverage(0.5)
    module.set(1.0, 1)
    average.update(module)
    module.set(5.0, 2)
    with pytest.raises(KeyboardInterrupt), average.applied(module):
        raise KeyboardInterrupt
    assert module.weight.tolist() == [5.0]


def test_a_restored_average_goes_on_as_if_never_stopped() -> None:
    whole = after(0.9, 1.0, 2.0, 3.0, 4.0)
    half = after(0.9, 1.0, 2.0)
    resumed = WeightAverage(0.9)
    resumed.restore({name: value.clone() for name, value in half.tensors.items()}, half.steps, torch.device("cpu"))
    module = Counted()
    for weight, count in ((3.0, 3), (4.0, 4)):
        module.set(weight, count)
        resumed.update(module)
    assert torch.equal(resumed.tensors["weight"], whole.tensors["weight"])
