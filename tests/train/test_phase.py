import math

import pytest
import torch
from small_network import HEADS, Small, images
from torch import Tensor

from edgeskin import shipped
from edgeskin.errors import RunError
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.multitask import MultiTask
from edgeskin.train import recipe
from edgeskin.train.loader import Batch
from edgeskin.train.losses import mask_loss, sigmoid_loss
from edgeskin.train.phase import Objective, Trainer, objective_for, optimizer_for, rate
from edgeskin.train.recipe import Phase

CPU = torch.device("cpu")


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine() -> None:
    # 100 steps, a tenth of them warm-up: 1/10 … 10/10, then (1 + cos(π·k/90)) / 2.
    assert [rate(step, 100, 0.1) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate(10, 100, 0.1) == 1.0
    assert rate(55, 100, 0.1) == pytest.approx(0.5)
    assert rate(99, 100, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))


def test_a_phase_without_warm_up_begins_at_its_peak() -> None:
    assert rate(0, 10, 0.0) == 1.0


def test_the_encoder_has_its_own_rate_and_gains_and_biases_do_not_decay() -> None:
    network = MultiTask(MobileNetV2(0.35), HEADS, (16,), 0.0)
    phase = Phase(epochs=1, learning_rate=1e-2, encoder_rate=0.1, weight_decay=0.05)
    optimizer = optimizer_for(network, phase)
    found = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    assert len(found) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        assert found[parameter]["lr"] == pytest.approx(1e-3 if name.startswith("encoder.") else 1e-2)
        assert found[parameter]["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0)


def batch(count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    masks = (torch.rand(count, 1, 16, 16, generator=generator) > 0.5).float()
    return Batch(images(count), masks, torch.ones(count), {"melanoma": torch.arange(count) % 2})


def test_the_objective_is_each_heads_loss_times_its_weight() -> None:
    objective = Objective(HEADS, {"mask": 2.0, "melanoma": 0.5}, {"melanoma": torch.tensor([1.0, 3.0])}, 0.1)
    outputs, given = Small()(images(8)), batch()
    losses = objective(outputs, given)
    assert list(losses) == ["mask", "melanoma"]
    torch.testing.assert_close(losses["mask"], 2 * mask_loss(outputs[0], given.mask, given.has_mask))
    expected = 0.5 * sigmoid_loss(outputs[1], given.labels["melanoma"], torch.tensor([1.0, 3.0]), 0.1)
    torch.testing.assert_close(losses["melanoma"], expected)


def test_a_recipes_objective_has_its_weights_and_the_phases_smoothing() -> None:
    chosen = recipe.read(shipped.find("recipes", "isic2017_mobilenet_v2"))
    objective = objective_for(chosen, chosen.head_specs(), {}, chosen.qat)
    assert objective.weights == {name: head.weight for name, head in chosen.heads.items()}
    assert objective.label_smoothing == chosen.qat.label_smoothing


def trainer() -> Trainer:
    torch.manual_seed(0)
    return Trainer(Small(), Phase(epochs=3, batch=8, learning_rate=1e-2), 4, CPU)


def epoch(of: Trainer, number: int) -> dict[str, float]:
    objective = Objective(HEADS, {"mask": 1.0, "melanoma": 1.0}, {"melanoma": torch.ones(2)})
    return of.run_epoch(iter([batch()] * 4), objective, (1, number), lambda _: None, mixed_precision=False)


def test_losses_fall() -> None:
    own = trainer()
    losses = [sum(epoch(own, number).values()) for number in range(3)]
    assert losses[2] < losses[0]


def test_a_restored_trainer_goes_on_to_the_bit() -> None:
    whole = trainer()
    epoch(whole, 0)
    state = {name: value.clone() for name, value in whole.state().items()}
    epoch(whole, 1)
    resumed = trainer()
    resumed.restore(state)
    assert (resumed.epoch, resumed.step) == (1, 4)
    epoch(resumed, 1)
    expected: dict[str, Tensor] = whole.state()
    found = resumed.state()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_dropout_depends_on_the_seed_of_the_epoch_not_on_what_ran_before() -> None:
    first, second = trainer(), trainer()
    torch.manual_seed(123)
    assert epoch(first, 0) == epoch(second, 0)
    other = trainer()
    assert epoch(other, 7) != epoch(trainer(), 0)


def test_a_loss_that_is_no_number_stops_the_epoch_and_names_the_rate() -> None:
    def objective(outputs: object, each: Batch) -> dict[str, Tensor]:
        return {"mask": torch.tensor(float("nan"), requires_grad=True)}

    trainer = Trainer(Small(), Phase(epochs=1, learning_rate=123.0), 1, CPU)
    with pytest.raises(RunError, match=r"epoch 1, step 1: the loss is nan.*123"):
        trainer.run_epoch(iter([batch()]), objective, (0,), lambda _: None, mixed_precision=False)
