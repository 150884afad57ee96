"""Training a recipe: the float phase, then the quantization-aware phase from its best epoch, then the thresholds."""

import itertools
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.errors import RunError
from edgeskin.models.start import start_encoder
from edgeskin.train import score
from edgeskin.train.balance import balance_for, balanced_weights
from edgeskin.train.checkpoint import PhaseName, RunRecord, load, read_run, store, write_run
from edgeskin.train.distill import Teacher, teacher_for
from edgeskin.train.loader import Samples, Showing, decode, plain_batches, training_batches
from edgeskin.train.log import Logs, Progress
from edgeskin.train.mode import FloatMode, Mode, QatMode
from edgeskin.train.networks import build_network, materialise, prepared_network, trained_network
from edgeskin.train.objective import objective_for
from edgeskin.train.phase import Trainer
from edgeskin.train.plan import Places, Plan, plan
from edgeskin.train.recipe import Phase, Recipe
from edgeskin.train.sampling import Order, epoch_order

__all__ = ["OnEpoch", "Places", "train"]

STATISTICS_BATCHES = 4
SEED_OF: dict[PhaseName, int] = {"float": 1, "qat": 2}

OnEpoch: TypeAlias = Callable[[PhaseName, int, float], None]
"""Told after every epoch: the phase, how many of its epochs are done, the score on `select`."""


def train(
    recipe: Recipe,
    places: Places,
    *,
    resume: bool,
    device: str | None = None,
    on_epoch: OnEpoch | None = None,
) -> RunRecord:
    """Train a recipe to its end, or go on where an interrupted run stopped.

    device: `cpu`, `cuda`, or None for a GPU where there is one. Progress goes to stderr. on_epoch: may raise, to give
    the run up; what it holds by then stays.

    Raises: DataError, RecipeError, or RunError where the run folder holds another recipe's run, or a run though
    `resume` is not asked for. KeyboardInterrupt passes through; the run then holds every finished epoch.
    """
    chosen = _device(device)
    planned = plan(recipe, places)
    heads = recipe.head_specs()
    record = _open_run(recipe, places, planned, chosen, resume)
    if record.finished:
        return record
    teacher = teacher_for(recipe, chosen)
    with Progress(recipe) as progress:
        for change in record.changes:
            progress.say(f"warning: resumed {change}; this is not exactly the uninterrupted run")
        for note in planned.notes:
            progress.say(note)
        progress.say("decoding images")
        showing = Showing(recipe.network.size, recipe.preprocessing, recipe.second_pass)
        samples, select = (
            decode(part.cases, heads, showing, part.labels, part.fields) for part in (planned.train, planned.select)
        )
        session = _Session(recipe, places, samples, select, chosen, progress, record, teacher, on_epoch)
        session.float_phase()
        session.qat_phase()
        return session.finish()


def _device(word: str | None) -> torch.device:
    gpu = torch.cuda.is_available()
    if word not in (None, "cpu", "cuda"):
        raise RunError(f"--device {word}: write cpu or cuda")
    if word == "cuda" and not gpu:
        raise RunError("--device cuda: torch finds no GPU here. Leave it out to train on the CPU")
    return torch.device(word or ("cuda" if gpu else "cpu"))


def _open_run(recipe: Recipe, places: Places, planned: Plan, device: torch.device, resume: bool) -> RunRecord:
    identity = recipe.sha256()
    train_ids = tuple(sorted(case.image_id for case in planned.train.cases))
    record = read_run(places.run) if (places.run / "run.json").exists() else None
    # A start that failed before its first epoch leaves nothing to lose: it may be begun again, with another recipe too.
    if record is not None and (resume or record.state is not None):
        if not resume:
            raise RunError(
                f"{places.run}: holds a run already. Go on with --resume, or choose another folder with --run"
            )
        if record.recipe_sha256 != identity:
            raise RunError(f"{places.run}: was trained by another recipe ({record.recipe.name}). Choose another --run")
        if record.train_ids != train_ids:
            raise RunError(
                f"{places.run}: was trained on other images than {places.data} now gives. Choose another --run"
            )
        return _note_changes(record, device)
    if resume:
        raise RunError(f"{places.run}: there is no run to resume. Leave out --resume to start one")
    record = RunRecord(
        recipe=recipe,
        recipe_sha256=identity,
        dataset="+".join(planned.datasets),
        train_ids=train_ids,
        select_ids=tuple(sorted(case.image_id for case in planned.select.cases)),
        held_out_ids=tuple(sorted(case.image_id for case in planned.held_out)),
        versions=_versions(),
        device=str(device),
        threads=torch.get_num_threads(),
    )
    write_run(places.run, record)
    return record


def _versions() -> dict[str, str]:
    packages = ("torch", "torchao", "numpy", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _note_changes(record: RunRecord, device: torch.device) -> RunRecord:
    """The record with a sentence for everything that decides the arithmetic and is not what it was at the start."""
    then = {**record.versions, "device": record.device, "threads": str(record.threads)}
    now = {**_versions(), "device": str(device), "threads": str(torch.get_num_threads())}
    epoch = (
        "before the first epoch" if record.state is None else f"after {record.state.phase} epoch {record.state.epoch}"
    )
    changes = tuple(
        f"{epoch}: {name} {now[name]} instead of {then[name]}" for name in now if now[name] != then.get(name)
    )
    new = tuple(change for change in changes if change not in record.changes)
    return record.model_copy(update={"changes": (*record.changes, *new)})


class _Session:
    """One call of `train`: what its phases share."""

    def __init__(
        self,
        recipe: Recipe,
        places: Places,
        samples: Samples,
        select: Samples,
        device: torch.device,
        progress: Progress,
        record: RunRecord,
        teacher: Teacher | None,
        on_epoch: OnEpoch | None,
    ) -> None:
        self.recipe, self.places, self.heads = recipe, places, recipe.head_specs()
        self.samples, self.select, self.device = samples, select, device
        self.progress, self.record = progress, record
        self.teacher, self.on_epoch = teacher, on_epoch
        self.logs = Logs(places.run)
        self.class_weights = {
            head.name: self._weights(head, samples).to(device) for head in self.heads if head.kind != "mask"
        }

    def _weights(self, head: HeadSpec, samples: Samples) -> Tensor:
        classes = max(2, len(head.labels))
        if self.recipe.heads[head.name].class_weights == "none":
            return torch.ones(classes)
        return torch.from_numpy(balanced_weights(samples.labels[head.name], classes))

    def float_phase(self) -> None:
        """Train in float, from ImageNet or at random."""
        phase = self.recipe.float_phase
        if self._done("float"):
            return
        network = build_network(self.recipe)
        if self.record.state is None:
            batches = itertools.islice(plain_batches(self.samples, 32), STATISTICS_BATCHES)
            images = (batch.image for batch in batches)
            start_encoder(network.encoder, self.recipe.network.start, self.places.weights, images)
        self._run(FloatMode(network), phase)

    def qat_phase(self) -> None:
        """Fine-tune with fake quantization, from the best float epoch."""
        phase = self.recipe.qat
        if self._done("qat"):
            return
        self.progress.say("preparing quantization-aware training")
        prepared = prepared_network(self.recipe, load(self.places.run, self.record.best["float"]))
        if self.record.state is not None and self.record.state.phase == "qat":
            materialise(prepared, self.recipe)
        self._run(QatMode(prepared, phase), phase)

    def _done(self, name: PhaseName) -> bool:
        return name in self.record.phases_done

    def _run(self, mode: Mode, phase: Phase) -> None:
        name, module = mode.name, mode.module
        objective = objective_for(self.recipe, self.heads, self.class_weights, phase, module, self.teacher)
        masks = [head.name for head in self.heads if head.kind == "mask"]
        steps = len(self._order((0,))) // phase.batch
        trainer = Trainer(module, phase, steps, self.device, balance_for(self.recipe.balance, objective.tasks, masks))
        if self.record.state is not None and self.record.state.phase == name:
            trainer.restore(load(self.places.run, self.record.state))
        while not trainer.finished:
            epoch = trainer.epoch
            seed = (self.recipe.seed, SEED_OF[name], epoch)
            mode.begin_training(epoch)
            self.progress.begin_epoch(name, epoch, phase.epochs, steps)
            losses = trainer.run_epoch(
                training_batches(self.samples, self.recipe.augment, phase.batch, seed, self._order(seed)),
                objective,
                seed,
                self.progress.step,
                mixed_precision=name == "float",
            )
            with trainer.average.applied(module):
                mode.begin_evaluation()
                figures = self._evaluate(module)
            value = sum(figures.values()) / len(figures)
            if mode.may_be_best(epoch):
                trainer.observe(value)
            # Logged first: a kill in between repeats the epoch and replaces its row; otherwise the row would be lost.
            self.logs.epoch(name, epoch, losses, figures)
            self._commit(name, trainer, value, figures, may_be_best=mode.may_be_best(epoch))
            self.progress.end_epoch(losses, figures)
            if self.on_epoch is not None:
                self.on_epoch(name, trainer.epoch, value)

    def _order(self, seed: Sequence[int]) -> Order:
        sampling = self.recipe.sampling
        if sampling is None:
            return epoch_order(np.zeros(len(self.samples), np.int64), (), None, seed)
        classes = self.recipe.heads[sampling.head].classes
        return epoch_order(self.samples.labels[sampling.head], classes, sampling, seed)

    def _evaluate(self, module: nn.Module) -> dict[str, float]:
        answers = score.probabilities(module, self.select, self.heads, 32, self.device)
        return score.measure(answers, self.select, self.heads)

    def _commit(
        self, name: PhaseName, trainer: Trainer, value: float, figures: dict[str, float], *, may_be_best: bool
    ) -> None:
        best = self.record.best.get(name)
        folder = self.places.run
        changes: dict[str, object] = {
            "state": store(folder, f"state-{name}", trainer.state(), name, trainer.epoch, value, figures)
        }
        if may_be_best and (best is None or value > best.score):
            stored = store(folder, f"{name}-best", trainer.average.tensors, name, trainer.epoch, value, figures)
            changes["best"] = {**self.record.best, name: stored}
        if trainer.finished:
            changes["phases_done"] = (*self.record.phases_done, name)
        self.record = self.record.model_copy(update=changes)
        write_run(folder, self.record)

    def finish(self) -> RunRecord:
        """Choose the thresholds with the quantized network and close the run."""
        prepared = trained_network(self.places.run, self.record)
        answers = score.probabilities(prepared.to(self.device), self.select, self.heads, 32, self.device)
        chosen = score.thresholds(answers, self.select, self.heads, self.recipe)
        self.record = self.record.model_copy(update={"thresholds": chosen, "finished": True})
        write_run(self.places.run, self.record)
        return self.record
