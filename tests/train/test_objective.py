"""How an objective puts losses together; its default is in test_phase.py."""

from typing import Any

import pytest
import torch
from small_network import HEADS, Small, images
from torch import Tensor

from edgeskin import shipped
from edgeskin.contract.model import HeadSpec
from edgeskin.models.super_resolution import SuperResolution
from edgeskin.train import losses as formulas
from edgeskin.train import recipe
from edgeskin.train.distill import Teacher, sigmoid_distillation
from edgeskin.train.loader import Batch
from edgeskin.train.networks import build_network
from edgeskin.train.objective import IMPUTATION, Enlargement, Objective, objective_for
from edgeskin.train.recipe import HeadChoice
from edgeskin.train.recipe.heads import Rank

WEIGHTS = {"mask": 2.0, "melanoma": 0.5, "diagnosis": 1.0}
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("a", "b", "c"))


def batch(count: int = 8, **fields: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(1)
    masks = (torch.rand(count, 1, 16, 16, generator=generator) > 0.5).float()
    labels = {"melanoma": torch.arange(count) % 2, "diagnosis": torch.arange(count) % 3}
    return Batch(images(count), masks, torch.ones(count), labels, **fields)


def objective(heads: tuple[HeadSpec, ...] = HEADS, **more: Any) -> Objective:
    return Objective(heads, WEIGHTS, {"melanoma": torch.tensor([1.0, 3.0]), "diagnosis": torch.ones(3)}, 0.1, **more)


def test_a_mask_learns_by_the_loss_that_its_recipe_names() -> None:
    given = batch()
    logits = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    truth = (logits, given.mask, given.has_mask)
    expected = {
        "bce": formulas.mask_bce_loss(*truth),
        "dice": formulas.mask_dice_loss(*truth),
        "bce_dice": formulas.mask_loss(*truth),
        "dice_rank": formulas.mask_dice_rank_loss(*truth, 0.05, 30, 0.3),
    }
    for name, value in expected.items():
        choices = {"mask": HeadChoice.model_validate({"kind": "mask", "loss": name})}
        torch.testing.assert_close(objective(HEADS[:1], choices=choices)((logits,), given)["mask"], 2 * value)
    own = HeadChoice(kind="mask", loss="dice_rank", rank=Rank(weight=1.0, hard_pixels=5, margin=0.1))
    torch.testing.assert_close(
        objective(HEADS[:1], choices={"mask": own})((logits,), given)["mask"],
        2 * formulas.mask_dice_rank_loss(*truth, 1.0, 5, 0.1),
    )


def test_a_mask_that_classifiers_attend_to_before_a_second_run_is_taught_beside_the_answer() -> None:
    given = batch()
    generator = torch.Generator().manual_seed(0)
    answer, first = (torch.randn(8, 1, 16, 16, generator=generator) for _ in range(2))
    losses = [formulas.mask_loss(logits, given.mask, given.has_mask) for logits in (answer, first)]
    found = objective(HEADS[:1], attends_first=True)((answer, first), given)["mask"]
    torch.testing.assert_close(found, 2 * (losses[0] + losses[1]) / 2)


def test_a_recipe_with_attention_and_a_second_run_teaches_the_first() -> None:
    for step, taught in ((1, False), (2, True)):
        chosen = recipe.read(shipped.find("recipes", f"isic2016_mtl{step}"))
        assert objective_for(chosen, chosen.head_specs(), {}, chosen.qat).attends_first == taught
        assert ("first_mask" in build_network(chosen).taps) == taught


def test_classifiers_learn_by_focal_loss_where_their_recipe_says_so() -> None:
    given = batch()
    generator = torch.Generator().manual_seed(0)
    answers = torch.randn(8, 1, generator=generator), torch.randn(8, 3, generator=generator)
    choices = {
        "melanoma": HeadChoice(kind="sigmoid", loss="focal", focus=1.5),
        "diagnosis": HeadChoice(kind="softmax", labels=("a", "b", "c"), loss="focal"),
    }
    losses = objective((HEADS[1], DIAGNOSIS), choices=choices)(answers, given)
    weights = torch.tensor([1.0, 3.0])
    expected = 0.5 * formulas.sigmoid_focal_loss(answers[0], given.labels["melanoma"], weights, 1.5, 0.1)
    torch.testing.assert_close(losses["melanoma"], expected)
    expected = formulas.softmax_focal_loss(answers[1], given.labels["diagnosis"], torch.ones(3), 2.0, 0.1)
    torch.testing.assert_close(losses["diagnosis"], expected)


def test_the_auxiliary_tasks_read_what_stands_behind_the_heads() -> None:
    fields = torch.zeros(8, 4)
    hidden = torch.tensor([1.0, 0, 0, 0]).expand(8, 4)
    given = batch(metadata=fields, complete=fields + 0.5, hidden=hidden)
    torch.manual_seed(0)
    decoder = SuperResolution(6)
    features, imputed = torch.randn(8, 6, 1, 1), torch.randn(8, 4)
    # The decoder gives 64²; a network at 32² would be enlarged to that.
    given = given._replace(image=torch.rand(8, 3, 32, 32))
    own = Objective(
        HEADS,
        {**WEIGHTS, "detail": 0.3},
        {"melanoma": torch.ones(2)},
        enlargement=Enlargement("detail", decoder),
        imputes=True,
    )
    losses = own((*Small()(images()), features, imputed), given)
    assert tuple(losses) == own.tasks == ("mask", "melanoma", "detail", IMPUTATION)
    target = formulas.super_resolution_target(given.image)
    torch.testing.assert_close(losses["detail"], 0.3 * formulas.super_resolution_loss(decoder(features), target))
    torch.testing.assert_close(losses[IMPUTATION], ((imputed[:, 0] - 0.5) ** 2).mean())


def test_a_teachers_loss_is_added_to_that_of_the_truth_and_moves_the_student_only() -> None:
    torch.manual_seed(0)
    network, student, given = Small().eval(), Small(), batch()
    teacher = Teacher((network,), ("mask", "melanoma"), weight=0.5, temperature=2.0)
    outputs = student(given.image)
    losses, alone = objective(teacher=teacher)(outputs, given), objective()(outputs, given)
    answers = network(given.image)
    for index, name in enumerate(("mask", "melanoma")):
        more = WEIGHTS[name] * 0.5 * sigmoid_distillation(outputs[index], answers[index])
        torch.testing.assert_close(losses[name], alone[name] + more)
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_teacher_answers_where_truth_is_missing() -> None:
    torch.manual_seed(0)
    teacher = Teacher((Small().eval(),), ("mask", "melanoma"), weight=0.5, temperature=2.0)
    given = batch()._replace(has_mask=torch.zeros(8), labels={"melanoma": torch.full((8,), -1)})
    losses = objective(teacher=teacher)(Small()(given.image), given)
    assert all(float(loss.detach()) > 0 for loss in losses.values())


def test_an_objective_of_heads_alone_refuses_outputs_of_another_number() -> None:
    with pytest.raises(ValueError, match="zip"):
        objective()(Small()(images())[:1], batch())


def test_a_recipes_objective_has_its_losses_and_auxiliary_tasks() -> None:
    chosen = recipe.read(
        shipped.find("recipes", "phantom_tiny"), ("heads.detail.kind=super_resolution", "heads.detail.weight=0.3")
    )
    network = build_network(chosen)
    assert network.taps == ("features",)  # what the objective expects behind the heads
    own = objective_for(chosen, chosen.head_specs(), {}, chosen.float_phase, network)
    assert own.tasks == tuple(chosen.heads)
    assert own.weights["detail"] == 0.3
    assert own.choices == chosen.heads
    assert own.enlargement is not None
    assert own.enlargement.decoder is network.auxiliary["super_resolution"]
    assert not own.imputes
