"""What quantization-aware training keeps, and that measuring it teaches it nothing."""

import pytest
import torch
from small_network import Small, images

from edgeskin.train import qat
from edgeskin.train.average import WeightAverage
from edgeskin.train.mode import FloatMode, QatMode
from edgeskin.train.recipe import QatPhase


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        # Observers freeze from half of the epochs, batch norm from 0.6 of them: 3 and 3.6 of six, 1 and 1.2 of two.
        (6, [False, False, False, False, True, True]),
        (2, [False, True]),
        (1, [True]),
    ],
)
def test_only_an_epoch_that_was_trained_frozen_is_kept_or_the_last(epochs: int, expected: list[bool]) -> None:
    mode = QatMode(torch.fx.GraphModule({}, torch.fx.Graph()), QatPhase(epochs=epochs))
    assert [mode.may_be_best(epoch) for epoch in range(epochs)] == expected


def test_any_float_epoch_may_be_the_best() -> None:
    assert FloatMode(torch.nn.Identity()).may_be_best(0)


def test_measuring_teaches_no_range_and_changes_no_weight() -> None:
    prepared = qat.prepare(Small(), images(2))
    mode = QatMode(prepared, QatPhase(epochs=4))
    mode.begin_training(0)
    prepared(images())
    average = WeightAverage(0.9)
    average.update(prepared)
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    with average.applied(prepared):
        mode.begin_evaluation()
        prepared(3 * images())
    after = prepared.state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []


def test_what_is_measured_has_the_scales_of_the_file() -> None:
    prepared = qat.prepare(Small(), images(2))
    mode = QatMode(prepared, QatPhase(epochs=4))
    mode.begin_training(0)
    prepared(images())
    mode.begin_evaluation()
    scales = [each.scale for each in qat.fake_quantizers(prepared) if not each.is_per_channel]
    assert all(torch.equal(scale, scale.half().float()) for scale in scales)
