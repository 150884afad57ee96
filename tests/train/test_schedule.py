from itertools import pairwise

import pytest
import torch

from edgeskin.train.recipe.learning import Schedule
from edgeskin.train.schedule import Watch, rate

CONSTANT = Schedule(kind="constant")


def test_the_default_is_half_a_cosine() -> None:
    assert [rate(step, 40, 0.2) for step in range(40)] == [rate(step, 40, 0.2, Schedule()) for step in range(40)]


@pytest.mark.parametrize("kind", ["cosine", "plateau", "exponential", "constant"])
def test_every_schedule_begins_with_a_linear_warm_up(kind: str) -> None:
    schedule = Schedule.model_validate({"kind": kind})
    assert [rate(step, 100, 0.1, schedule, 10) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1, 1])


def test_a_constant_rate_stays() -> None:
    assert {rate(step, 50, 0.1, CONSTANT) for step in range(5, 50)} == {1.0}


def test_steps_are_those_of_torch() -> None:
    # papers/metadata_superresolution_pad_ufes_2024.txt: × 0.1 every 15 epochs; here 4 steps an epoch, no warm-up.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 15, 0.1)
    schedule = Schedule(kind="step", every=15, gamma=0.1)
    for epoch in range(40):
        for step in range(4):
            found = rate(4 * epoch + step, 160, 0.0, schedule, epoch_steps=4)
            assert found == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_an_exponential_rate_ends_at_gamma_and_falls_evenly() -> None:
    # papers/joint_reverse_mtl_2024.txt, section 3.4: by a factor of 10 over the training.
    schedule = Schedule(kind="exponential", gamma=0.1)
    rates = [rate(step, 101, 0.0, schedule) for step in range(101)]
    assert rates[1] == 1  # one step of warm-up at least
    assert rates[51] == pytest.approx(10**-0.5)
    assert rates[100] == pytest.approx(0.1, rel=0.03)
    ratios = {round(after / before, 9) for before, after in pairwise(rates[1:])}
    assert ratios == {round(0.1 ** (1 / 100), 9)}


def test_a_plateau_multiplies_by_gamma_each_time() -> None:
    schedule = Schedule(kind="plateau", every=5, gamma=0.8)
    assert [rate(50, 100, 0.1, schedule, 10, cuts) for cuts in (0, 1, 3)] == pytest.approx([1, 0.8, 0.512])


def test_a_watch_counts_epochs_since_the_best_and_reductions_by_hand() -> None:
    # Better at epochs 1, 2 and 8; with every = 2 the waits 3-4 and 5-6 make a reduction each, 7 begins a third wait.
    watch = Watch()
    seen = []
    for score in (0.5, 0.6, 0.6, 0.59, 0.6, 0.5, 0.4, 0.61, 0.61):
        watch = watch.after(score, 2)
        seen.append((watch.best, watch.epochs_since_best, watch.reductions))
    assert seen == [
        (0.5, 0, 0),
        (0.6, 0, 0),
        (0.6, 1, 0),
        (0.6, 2, 1),
        (0.6, 3, 1),
        (0.6, 4, 2),
        (0.6, 5, 2),
        (0.61, 0, 2),
        (0.61, 1, 2),
    ]


def test_reductions_are_those_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # Torch's patience is how many bad epochs it bears, so five bad ones exceed a patience of four.
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.8, 4, threshold=0)
    watch = Watch()
    scores = torch.rand(60, generator=torch.Generator().manual_seed(0)).tolist()
    for score in scores:
        scheduler.step(score)
        watch = watch.after(score, 5)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.8**watch.reductions)
    assert watch.reductions > 3
