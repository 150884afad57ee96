"""What is minimised: each head's loss, the auxiliary tasks', and what a teacher says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.train import losses as formulas
from edgeskin.train.distill import Teacher
from edgeskin.train.loader import Batch
from edgeskin.train.recipe import HeadChoice, Phase, Recipe
from edgeskin.train.recipe.heads import Rank

IMPUTATION = "metadata.imputation"
"""The task of filling in clinical fields that were hidden; no head can have a name with a dot."""


def own(mean: Tensor, _cases: Tensor) -> Tensor:
    """The mean over this process's cases, which are all there are."""
    return mean


@dataclass(frozen=True)
class Enlargement:
    """The super-resolution task: its name in the recipe, and the decoder from the encoder's last map to a picture."""

    name: str
    decoder: nn.Module


@dataclass(frozen=True)
class Objective:
    """Each task's loss times its weight, in the order of `tasks`.

    weights: task -> weight, 1 for imputation. class_weights: head name -> (classes,), for softmax and sigmoid heads.
    attends_first: classifiers attend to the mask of the decoder's first run, whose logits the network returns last; the
    mask's loss is the mean over both runs (papers/joint_reverse_mtl_2024.txt, 3.4.2: "initial segmentation output").
    choices: how a head's loss is formed; the first loss of its kind for a head that is not there. enlargement, imputes:
    the auxiliary tasks, whose tensors the network returns behind its heads in this order. teacher: adds its own loss to
    that of each head's truth. across: makes a mean over so many cases of this process the mean over everybody's.
    """

    heads: tuple[HeadSpec, ...]
    weights: Mapping[str, float]
    class_weights: Mapping[str, Tensor] = field(hash=False)
    label_smoothing: float = 0.0
    choices: Mapping[str, HeadChoice] = field(default_factory=dict, hash=False)
    enlargement: Enlargement | None = None
    imputes: bool = False
    attends_first: bool = False
    teacher: Teacher | None = None
    across: Callable[[Tensor, Tensor], Tensor] = own

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all losses."""
        names = [head.name for head in self.heads]
        if self.enlargement is not None:
            names.append(self.enlargement.name)
        return (*names, IMPUTATION) if self.imputes else tuple(names)

    def __call__(self, outputs: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Each task's weighted loss, scalars."""
        logits, rest = outputs[: len(self.heads)], list(outputs[len(self.heads) :])
        taught = {} if self.teacher is None else self.teacher.answers(batch)
        losses: dict[str, Tensor] = {}
        first_mask = rest.pop() if self.attends_first else None
        images = torch.tensor(len(batch.image), device=batch.image.device)
        for head, answer in zip(self.heads, logits, strict=True):
            known = batch.has_mask if head.kind == "mask" else batch.labels[head.name] >= 0
            loss = self._against_truth(head, answer, batch)
            if head.kind == "mask" and first_mask is not None:
                loss = (loss + self._against_truth(head, first_mask, batch)) / 2
            loss = self.across(loss, known.sum())
            if self.teacher is not None:
                loss = loss + self.across(self.teacher.loss(head, answer, taught[head.name]), images)
            losses[head.name] = loss * self.weights[head.name]
        if self.enlargement is not None:
            picture = self.enlargement.decoder(rest.pop(0))
            loss = formulas.super_resolution_loss(picture, formulas.super_resolution_target(batch.image))
            losses[self.enlargement.name] = self.across(loss, images) * self.weights[self.enlargement.name]
        if self.imputes:
            assert batch.complete is not None, "a network that imputes is given clinical fields"
            assert batch.hidden is not None, "a network that imputes is given clinical fields"
            loss = formulas.imputation_loss(rest.pop(0), batch.complete, batch.hidden)
            losses[IMPUTATION] = self.across(loss, batch.hidden.sum())
        return losses

    def _against_truth(self, head: HeadSpec, logits: Tensor, batch: Batch) -> Tensor:
        choice = self.choices.get(head.name)
        if head.kind == "mask":
            return _mask_loss(choice, logits, batch)
        label, weights, smoothing = batch.labels[head.name], self.class_weights[head.name], self.label_smoothing
        if choice is not None and choice.loss_name() == "focal":
            focal = formulas.softmax_focal_loss if head.kind == "softmax" else formulas.sigmoid_focal_loss
            return focal(logits, label, weights, choice.focus, smoothing)
        entropy = formulas.softmax_loss if head.kind == "softmax" else formulas.sigmoid_loss
        return entropy(logits, label, weights, smoothing)


def _mask_loss(choice: HeadChoice | None, logits: Tensor, batch: Batch) -> Tensor:
    truth = (logits, batch.mask, batch.has_mask)
    name = "bce_dice" if choice is None else choice.loss_name()
    if name == "bce":
        return formulas.mask_bce_loss(*truth)
    if name == "dice":
        return formulas.mask_dice_loss(*truth)
    if name == "dice_rank":
        rank = Rank() if choice is None or choice.rank is None else choice.rank
        return formulas.mask_dice_rank_loss(*truth, rank.weight, rank.hard_pixels, rank.margin)
    return formulas.mask_loss(*truth)


def objective_for(
    recipe: Recipe,
    heads: tuple[HeadSpec, ...],
    class_weights: Mapping[str, Tensor],
    phase: Phase,
    module: nn.Module | None = None,
    teacher: Teacher | None = None,
    across: Callable[[Tensor, Tensor], Tensor] = own,
) -> Objective:
    """The objective a recipe asks for in a phase.

    module: what is trained; it is asked for its auxiliary decoder, `auxiliary.super_resolution`, where the recipe has
    that head.
    """
    enlargement = None
    if recipe.super_resolution is not None:
        assert module is not None, "super-resolution is learnt through the module's own decoder"
        enlargement = Enlargement(recipe.super_resolution, module.get_submodule("auxiliary.super_resolution"))
    fusion = recipe.network.fusion
    return Objective(
        heads,
        {name: head.weight for name, head in recipe.heads.items()},
        class_weights,
        phase.label_smoothing,
        recipe.heads,
        enlargement,
        imputes=fusion is not None and fusion.imputation is not None,
        attends_first=recipe.network.mask_attention is not None and recipe.network.joint_reverse is not None,
        teacher=teacher,
        across=across,
    )
