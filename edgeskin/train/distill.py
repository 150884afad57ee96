"""Teachers: the answers of trained float networks to the very views that the student is shown."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.contract.model import HeadSpec
from edgeskin.errors import RunError
from edgeskin.train.checkpoint import RunRecord, read_run
from edgeskin.train.loader import Batch
from edgeskin.train.networks import float_network
from edgeskin.train.recipe import Recipe


def softmax_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over images.

    T² keeps the size of its gradient independent of T. Shapes: student, teacher (N, C) -> scalar.
    Source: Hinton et al. 2015, Distilling the knowledge in a neural network, section 2.
    """
    expected = functional.log_softmax(teacher / temperature, 1)
    found = functional.log_softmax(student / temperature, 1)
    return temperature**2 * functional.kl_div(found, expected, reduction="batchmean", log_target=True)


def sigmoid_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy against the teacher's probability, the mean over images and pixels.

    Shapes: student, teacher (N, 1) or (N, 1, H, W) -> scalar.
    """
    return functional.binary_cross_entropy_with_logits(student, teacher.sigmoid())


@dataclass(frozen=True)
class Teacher:
    """Trained networks that answer the same questions.

    networks: in eval mode. order: their heads. weight: of their loss beside that of the truth, head by head. asked:
    which network answers for each of the student's samples (cases,) int64, where they compute; None for the first.
    """

    networks: tuple[nn.Module, ...]
    order: tuple[str, ...]
    weight: float
    temperature: float
    takes_metadata: bool = False
    asked: Tensor | None = None

    @torch.no_grad()
    def answers(self, batch: Batch) -> dict[str, Tensor]:
        """Their logits, head by head."""
        if self.asked is None:
            return self._said(self.networks[0], batch)
        assert batch.case is not None, "a batch of training cases says which they are"
        asked = self.asked[batch.case]
        found: dict[str, Tensor] = {}
        for number in sorted(set(asked.tolist())):
            rows = asked == number
            for name, answer in self._said(self.networks[number], batch.only(rows)).items():
                found.setdefault(name, answer.new_empty(len(asked), *answer.shape[1:]))[rows] = answer
        return found

    def _said(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        outputs = network(*batch.inputs) if self.takes_metadata else network(batch.image)
        return dict(zip(self.order, outputs, strict=False))  # a network may return more behind its heads

    def loss(self, head: HeadSpec, student: Tensor, teacher: Tensor) -> Tensor:
        """Its weighted loss for one head's logits; it has an answer to every image, labelled or not."""
        if head.kind == "softmax":
            return self.weight * softmax_distillation(student, teacher, self.temperature)
        return self.weight * sigmoid_distillation(student, teacher)


def teacher_of(recipe: Recipe, runs: Sequence[Path], device: torch.device, asked: Tensor | None = None) -> Teacher:
    """The best float networks of some runs as the teacher of a recipe. asked: as in `Teacher`.

    Raises: RunError where a run cannot be read or has no float epoch.
    """
    chosen = recipe.distill
    assert chosen is not None, "the recipe distils"
    records = [read_run(run) for run in runs]
    networks = tuple(
        float_network(run, record).to(device).requires_grad_(requires_grad=False)
        for run, record in zip(runs, records, strict=True)
    )
    first = records[0].recipe
    order = tuple(head.name for head in first.head_specs())
    return Teacher(networks, order, chosen.weight, chosen.temperature, first.metadata is not None, asked)


def problems(recipe: Recipe, forbidden: Collection[str], select: Collection[str] = ()) -> list[str]:
    """A sentence for everything that keeps the run that a recipe names from being its teacher.

    forbidden: ids of images that the teacher may have seen in no way, because figures are reported on them. select:
    of those that choose the student; they may have chosen the teacher too, as they choose the float network that the
    quantized one starts from, but it must not have learnt from them.
    """
    if recipe.distill is None or recipe.distill.run is None:
        return []
    run = Path(recipe.distill.run)
    if not (run / "run.json").is_file():
        return [
            f"distill.run: there is no run at {run}. Give the folder of a trained teacher; as with --run, a relative "
            f"path counts from the working directory, {Path.cwd()}"
        ]
    try:
        record = read_run(run)
    except RunError as error:
        return [f"distill.run: {error}"]
    found = lacking(recipe, record.recipe, str(run))
    if "float" not in record.best:
        found.append(
            f"distill.run: {run} has no finished float epoch. Go on with: edgeskin train … --run {run} --resume"
        )
    return [*found, *_seen(record, run, set(forbidden), set(select))]


def _seen(teacher: RunRecord, run: Path, forbidden: set[str], select: set[str]) -> Iterator[str]:
    for verb, ids, kept in (
        ("trained", teacher.train_ids, forbidden | select),
        ("chosen", teacher.select_ids, forbidden),
    ):
        shared = sorted(kept.intersection(ids))
        if shared:
            yield (
                f"distill.run: {run} was {verb} on {len(shared)} images that this recipe keeps for select, a held-out "
                f"fold, or reported figures, {shared[0]} among them. Train the teacher with the seed and the [data] of "
                "this recipe"
            )


def lacking(student: Recipe, teacher: Recipe, run: str) -> list[str]:
    """A sentence for everything that keeps one recipe's network from teaching another's."""
    theirs = {head.name: head for head in teacher.head_specs()}
    found = []
    for head in student.head_specs():
        their = theirs.get(head.name)
        if their is None:
            has = ", ".join(theirs)
            found.append(f"distill.run: {run} has no head {head.name}; it has {has}. Choose another run")
        elif (their.kind, their.labels) != (head.kind, head.labels):
            found.append(
                f"distill.run: the head {head.name} of {run} is a {their.kind} head of {', '.join(their.labels)}; "
                f"here it is a {head.kind} head of {', '.join(head.labels)}"
            )
    if teacher.metadata is not None:
        fields = None if student.metadata is None else student.metadata.fields
        if fields != teacher.metadata.fields:
            found.append(f"distill.run: {run} reads clinical fields; give this recipe the same [metadata] fields")
    for name in ("preprocessing", "second_pass"):
        if getattr(teacher, name) != getattr(student, name):
            found.append(f"distill.run: {run} was trained with another {name}, but is shown what this recipe shows")
    return found
