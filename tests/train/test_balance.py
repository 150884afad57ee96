"""Balance between tasks; class weights are in test_losses.py."""

import math

import pytest
import torch
from torch import Tensor

from edgeskin.train.balance import DynamicAverage, FixedBalance, UncertaintyBalance, balance_for
from edgeskin.train.recipe.learning import Balance

TASKS = ("mask", "diagnosis", "melanoma")


def losses(*values: float) -> dict[str, Tensor]:
    return {task: torch.tensor(value) for task, value in zip(TASKS, values, strict=True)}


def test_without_a_balance_losses_are_added_to_the_bit() -> None:
    values = losses(0.1, 0.7, 1.3)
    assert torch.equal(balance_for(None, TASKS, ("mask",))(values), torch.stack(list(values.values())).sum())


def test_alpha_weighs_the_mask_against_the_rest() -> None:
    # The thesis's best: 0.8·L1 + 0.2·L2, L2 = 1 + 3.
    balance = balance_for(Balance(kind="alpha", alpha=0.8), TASKS, ("mask",))
    assert float(balance(losses(2, 1, 3))) == pytest.approx(0.8 * 2 + 0.2 * 4)


def test_alpha_never_maximises_a_loss() -> None:
    # As printed, (α − 1)·L2 would.
    rest = torch.tensor(1.0, requires_grad=True)
    balance_for(Balance(kind="alpha"), TASKS, ("mask",))({"mask": torch.tensor(1.0), "diagnosis": rest}).backward()
    assert rest.grad is not None
    assert float(rest.grad) == pytest.approx(0.2)


def test_uncertainty_by_hand() -> None:
    balance = UncertaintyBalance(TASKS)
    assert float(balance(losses(2, 1, 3)).detach()) == pytest.approx(6)  # every s is 0 at first
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([math.log(2), 0, math.log(4)]))
    # 2/2 + ln(2)/2 + 1 + 3/4 + ln(4)/2
    assert float(balance(losses(2, 1, 3)).detach()) == pytest.approx(2.75 + 1.5 * math.log(2))


def test_at_its_optimum_every_task_contributes_one_half() -> None:
    balance = UncertaintyBalance(TASKS)
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        balance(losses(2, 0.1, 30)).backward()
        torch.nn.utils.clip_grad_value_(balance.parameters(), 1.0)
        optimizer.step()
    # d/ds (exp(−s)·L + s/2) = 0 where exp(−s)·L = 1/2.
    found = torch.exp(-balance.log_variance.detach()) * torch.tensor([2, 0.1, 30])
    torch.testing.assert_close(found, torch.full((3,), 0.5), atol=1e-3, rtol=0)


def test_a_task_without_truth_in_the_batch_moves_no_variance() -> None:
    balance = UncertaintyBalance(TASKS)
    balance(losses(2, 0, 3)).backward()
    assert balance.log_variance.grad is not None
    assert (balance.log_variance.grad != 0).tolist() == [True, False, True]


def test_gradients_of_uncertainty() -> None:
    balance = UncertaintyBalance(TASKS).double()
    values = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda each, _: balance(dict(zip(TASKS, each, strict=True))), (values, balance.log_variance)
    )


def test_dynamic_average_by_hand() -> None:
    balance = DynamicAverage(TASKS, temperature=2.0)
    for means in ((4.0, 2.0, 1.0), (2.0, 2.0, 2.0)):
        assert balance.weights().tolist() == pytest.approx([1, 1, 1])  # until two epochs are known
        balance.after_epoch(dict(zip(TASKS, means, strict=True)))
    # Ratios 1/2, 1, 2 over temperature 2: 3·exp(r/2) / Σ.
    powers = [math.exp(ratio / 2) for ratio in (0.5, 1, 2)]
    expected = [3 * power / sum(powers) for power in powers]
    assert balance.weights().tolist() == pytest.approx(expected)
    assert float(balance(losses(1, 10, 100))) == pytest.approx(expected[0] + 10 * expected[1] + 100 * expected[2])


def test_a_task_that_had_no_loss_has_an_ordinary_weight() -> None:
    balance = DynamicAverage(TASKS, temperature=2.0)
    for means in ((1.0, 0.0, 1.0), (1.0, 5.0, 1.0)):
        balance.after_epoch(dict(zip(TASKS, means, strict=True)))
    assert balance.weights().tolist() == pytest.approx([1, 1, 1])


def test_a_recipe_chooses_its_balance() -> None:
    assert isinstance(balance_for(None, TASKS, ()), FixedBalance)
    assert isinstance(balance_for(Balance(kind="uncertainty"), TASKS, ()), UncertaintyBalance)
    average = balance_for(Balance(kind="average", temperature=3.0), TASKS, ())
    assert isinstance(average, DynamicAverage)
    assert average.temperature == 3.0
