import math
from collections.abc import Sequence

import pytest
import torch
from small_network import HEADS, Small, images
from torch import Tensor, nn

from edgeskin import shipped
from edgeskin.errors import RunError
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.multitask import MultiTask
from edgeskin.models.spec import HeadLayout, NetworkSpec
from edgeskin.train import recipe
from edgeskin.train.balance import FixedBalance, UncertaintyBalance, balance_for
from edgeskin.train.loader import Batch
from edgeskin.train.losses import mask_loss, sigmoid_loss
from edgeskin.train.phase import Objective, Trainer, objective_for, optimizer_for, rate
from edgeskin.train.recipe import Phase
from edgeskin.train.recipe.learning import Balance, Schedule

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
    spec = NetworkSpec(decoder=(16,), dropout=0.0)
    network = MultiTask(MobileNetV2(0.35), spec, tuple(HeadLayout(head) for head in HEADS))
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


@pytest.mark.parametrize(
    ("bf16", "amx", "used"),
    [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_the_float_phase_multiplies_in_what_the_processor_has_instructions_for(
    bf16: bool, amx: bool, used: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    seen: list[torch.dtype] = []

    def objective(outputs: Sequence[Tensor], _: Batch) -> dict[str, Tensor]:
        seen.append(outputs[0].dtype)
        return {"mask": outputs[0].float().mean()}

    for mixed in (True, False):
        trainer().run_epoch(iter([batch()]), objective, (0,), lambda _: None, mixed_precision=mixed)
    assert seen == [used, torch.float32]


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


def test_a_phase_can_begin_with_the_balance_of_another_and_nothing_else_of_it() -> None:
    float_phase, qat = (
        Trainer(Small(), Phase(epochs=3, batch=8), 4, CPU, UncertaintyBalance(("mask", "melanoma"))) for _ in range(2)
    )
    epoch(float_phase, 0)
    own = {name: value.clone() for name, value in qat.state().items()}
    qat.inherit(float_phase.state())
    learnt = qat.state().pop("balance.log_variance")
    assert torch.equal(learnt, float_phase.state()["balance.log_variance"])
    assert learnt.abs().min() > 0
    for name in own.keys() - {"balance.log_variance"}:
        assert torch.equal(qat.state()[name], own[name]), name


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


# --- optimizers, schedules, balances ---

TASKS = ("mask", "melanoma")


@pytest.mark.parametrize(
    ("word", "kind", "decay"),
    [("adamw", torch.optim.AdamW, 0.02), ("adam", torch.optim.Adam, 0.0), ("sgd", torch.optim.SGD, 0.0)],
)
def test_an_optimizer_is_torchs_with_the_decay_that_suits_it(
    word: str, kind: type[torch.optim.Optimizer], decay: float
) -> None:
    optimizer = optimizer_for(Small(), Phase.model_validate({"epochs": 1, "optimizer": word, "momentum": 0.8}))
    assert type(optimizer) is kind
    assert {group["weight_decay"] for group in optimizer.param_groups} == {decay, 0.0}
    if word == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.8}


def test_log_variances_are_trained_without_decay_and_the_network_as_before() -> None:
    module, phase = Small(), Phase(epochs=1)
    plain, own = optimizer_for(module, phase, FixedBalance({})), optimizer_for(module, phase, UncertaintyBalance(TASKS))
    assert len(own.param_groups) == len(plain.param_groups) + 1
    assert own.param_groups[-1]["weight_decay"] == 0
    assert own.param_groups[-1]["lr"] == phase.learning_rate


def test_sgd_makes_the_step_of_the_formula() -> None:
    # Two steps of momentum 0.9 at rate 0.1 on a gradient of 1: 0.1·1, then 0.1·(0.9 + 1): −0.29.
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, image: Tensor) -> tuple[Tensor]:
            return (self.weight.expand(len(image)),)

    phase = Phase(epochs=1, optimizer="sgd", learning_rate=0.1, warmup=0, schedule=Schedule(kind="constant"))
    own = Trainer(One(), phase, 2, CPU)
    own.run_epoch(
        iter([batch()] * 2), lambda outputs, _: {"one": outputs[0].mean()}, (0,), lambda _: None, mixed_precision=False
    )
    assert float(own.module.get_parameter("weight").detach()) == pytest.approx(-0.29)


SCHEDULED: dict[str, dict[str, float]] = {
    "step": {"every": 1, "gamma": 0.5},
    "plateau": {"every": 1, "gamma": 0.5},
    "exponential": {"gamma": 0.5},
}


def learner(optimizer: str, schedule: str, balance: str | None) -> Trainer:
    torch.manual_seed(0)
    phase = Phase.model_validate(
        {
            "epochs": 8,
            "batch": 8,
            "learning_rate": 1e-2,
            "optimizer": optimizer,
            "patience": 3,
            "schedule": {"kind": schedule, **SCHEDULED.get(schedule, {})},
        }
    )
    chosen = None if balance is None else Balance.model_validate({"kind": balance})
    return Trainer(Small(), phase, 4, CPU, balance_for(chosen, TASKS, ("mask",)))


@pytest.mark.parametrize(
    ("optimizer", "schedule", "balance"),
    [
        ("sgd", "plateau", "uncertainty"),
        ("adam", "plateau", "average"),
        ("adamw", "step", "uncertainty"),
        ("sgd", "exponential", "alpha"),
    ],
)
def test_any_way_of_learning_goes_on_to_the_bit(optimizer: str, schedule: str, balance: str) -> None:
    scores = (0.5, 0.4, 0.6, 0.55)
    whole = learner(optimizer, schedule, balance)
    for number in range(3):
        epoch(whole, number)
        whole.observe(scores[number])
    state = {name: value.clone() for name, value in whole.state().items()}
    resumed = learner(optimizer, schedule, balance)
    resumed.restore(state)
    assert resumed.watch == whole.watch
    for own in (whole, resumed):
        epoch(own, 3)
        own.observe(scores[3])
    expected, found = whole.state(), resumed.state()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    rates = [[group["lr"] for group in own.optimizer.param_groups] for own in (whole, resumed)]
    assert rates[0] == rates[1]


def test_a_balance_learns_or_remembers_and_leaves_the_reported_losses_as_they_are() -> None:
    plain, uncertain, average = (learner("sgd", "constant", kind) for kind in (None, "uncertainty", "average"))
    first = [epoch(own, 0) for own in (plain, uncertain, average)]
    assert list(first[0]) == list(first[1]) == list(TASKS)
    assert isinstance(uncertain.balance, UncertaintyBalance)
    assert (uncertain.balance.log_variance != 0).all()
    assert first[0] == first[2]  # a dynamic average weighs all alike until two epochs are known
    second = [epoch(own, 1) for own in (plain, average)]
    assert second[0] == second[1]
    assert epoch(plain, 2) != epoch(average, 2)


def test_a_plateau_lowers_the_rate_of_every_group() -> None:
    own = learner("sgd", "plateau", "uncertainty")
    epoch(own, 0)
    before = [group["lr"] for group in own.optimizer.param_groups]
    own.observe(0.5)
    own.observe(0.5)  # every = 1: one epoch without a better score
    epoch(own, 1)
    assert [group["lr"] for group in own.optimizer.param_groups] == pytest.approx([0.5 * rate for rate in before])


def test_patience_ends_a_phase_and_a_better_score_renews_it() -> None:
    own = learner("adamw", "constant", None)
    for score in (0.5, 0.4, 0.4, 0.6, 0.6, 0.59):
        own.observe(score)
        assert not own.finished
    own.observe(0.6)
    assert own.finished


def test_without_patience_a_phase_ends_with_its_last_epoch() -> None:
    own = trainer()
    for number in range(3):
        assert not own.finished
        epoch(own, number)
        own.observe(0.1)
    assert own.finished
