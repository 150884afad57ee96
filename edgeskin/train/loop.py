"""Training a recipe: the float phase, then the quantization-aware phase from its best epoch, then the thresholds."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeskin.contract.model import HeadSpec
from edgeskin.data import fingerprint
from edgeskin.data.labels import Truth
from edgeskin.errors import RunError
from edgeskin.graph.folder import TRAINING_PRINTS
from edgeskin.models.start import start_encoder
from edgeskin.train import score
from edgeskin.train.balance import balance_for, balanced_weights
from edgeskin.train.checkpoint import PhaseName, RunRecord, Stored, load, read_run, store, write_run
from edgeskin.train.distill import Teacher, teacher_of
from edgeskin.train.distributed import Processes, joined
from edgeskin.train.loader import Samples, Showing, decode, plain_batches, training_batches
from edgeskin.train.log import Logs, Progress
from edgeskin.train.mode import FloatMode, Mode, QatMode
from edgeskin.train.networks import build_network, materialise, prepared_network, trained_network
from edgeskin.train.objective import objective_for
from edgeskin.train.phase import Losses, Trainer
from edgeskin.train.plan import Places, Plan, plan
from edgeskin.train.precision import spare_strided_depthwise
from edgeskin.train.provenance import changed_source, note_changes, precision, sources, versions
from edgeskin.train.recipe import Phase, Recipe
from edgeskin.train.sampling import Order, Showings, epoch_order, showings
from edgeskin.train.thresholds import cross_validated, thresholds

__all__ = ["OnEpoch", "Places", "train"]

STATISTICS_BATCHES = 4
TEACHERS = "teachers"
"""The folder in a run of the networks that teach it and are trained with it, a run each, without a quantized phase."""
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
    planned: Plan | None = None,
) -> RunRecord:
    """Train a recipe to its end, or go on where an interrupted run stopped.

    Processes that torchrun started train together. device: `cpu`, `cuda`, or None for a GPU where there is one.
    Progress goes to stderr. on_epoch: may raise, to give the run up; what it holds by then stays. planned: what `plan`
    said, where it was asked before.

    Raises: DataError, RecipeError, or RunError where the run folder holds another recipe's run, or a run though
    `resume` is not asked for. KeyboardInterrupt passes through; the run then holds every finished epoch.
    """
    with joined(_device(device)) as processes:
        processes.demand_even_batches(recipe)
        chosen = planned or plan(recipe, places)
        record = processes.agree(lambda: _open_run(recipe, places, chosen, processes, resume))
        processes.agree(lambda: _keep_prints(places.run / TRAINING_PRINTS, record, chosen))
        if record.finished:
            return record
        teacher = _teacher(recipe, places, chosen, processes)
        with Progress(recipe, quiet=not processes.first) as progress:
            session = _Session(recipe, places, chosen, processes, progress, record, teacher, on_epoch)
            session.float_phase()
            session.qat_phase()
            return session.finish()


def _teacher(recipe: Recipe, places: Places, planned: Plan, processes: Processes) -> Teacher | None:
    """The teacher that a recipe names, its networks trained where they are this recipe's own."""
    chosen = recipe.distill
    if chosen is None:
        return None
    if chosen.run is not None:
        return teacher_of(recipe, [Path(chosen.run)], processes.device)
    runs = [places.run / TEACHERS / str(number) for number in range(len(planned.teachers))]
    epochs = {} if chosen.epochs is None else {"epochs": chosen.epochs}
    own = recipe.model_copy(update={"distill": None, "float_phase": recipe.float_phase.model_copy(update=epochs)})
    for number, (run, part) in enumerate(zip(runs, planned.teachers, strict=True), 1):
        there, begun = replace(places, run=run), (run / "run.json").exists()
        # Without prints of its images: it is never exported.
        record = processes.agree(partial(_open_run, own, there, part, processes, resume=begun))
        if "float" not in record.phases_done:
            with Progress(own, quiet=not processes.first) as progress:
                progress.say(f"teacher {number} of {len(runs)}, which leaves out {len(part.held_out)} images")
                _Session(own, there, part, processes, progress, record).float_phase()
    place = {case.image_id: at for at, case in enumerate(planned.train.cases)}
    asked = torch.empty(len(place), dtype=torch.int64)
    for number, part in enumerate(planned.teachers):
        asked[[place[case.image_id] for case in part.held_out]] = number
    return teacher_of(recipe, runs, processes.device, asked.to(processes.device))


def _device(word: str | None) -> torch.device:
    gpu = torch.cuda.is_available()
    if word not in (None, "cpu", "cuda"):
        raise RunError(f"--device {word}: write cpu or cuda")
    if word == "cuda" and not gpu:
        raise RunError("--device cuda: torch finds no GPU here. Leave it out to train on the CPU")
    return torch.device(word or ("cuda" if gpu else "cpu"))


def _open_run(recipe: Recipe, places: Places, planned: Plan, processes: Processes, resume: bool) -> RunRecord:
    identity = recipe.sha256()
    train_ids = tuple(sorted(case.image_id for case in planned.train.cases))
    began_from = sources(recipe, places.weights)
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
        other = changed_source(record.sources, began_from)
        if other is not None:
            raise RunError(f"{places.run}: began with another file than {other} now names. Choose another --run")
        return note_changes(record, processes)
    if resume:
        raise RunError(f"{places.run}: there is no run to resume. Leave out --resume to start one")
    record = RunRecord(
        recipe=recipe,
        recipe_sha256=identity,
        dataset="+".join(planned.datasets),
        train_ids=train_ids,
        select_ids=tuple(sorted(case.image_id for case in planned.select.cases)),
        held_out_ids=tuple(sorted(case.image_id for case in planned.held_out)),
        versions=versions(),
        sources=began_from,
        device=processes.device.type,
        threads=torch.get_num_threads(),
        processes=processes.count,
        multiplied_in=precision(processes.device),
    )
    write_run(places.run, record)
    return record


def _keep_prints(path: Path, record: RunRecord, planned: Plan) -> None:
    """What other copies of the training images are known by; a run from before they were kept is given them.

    Before its first epoch a run may be begun again with other images.
    """
    if not path.exists() or (record.state is None and not record.finished):
        fingerprint.write(path, planned.train.cases)


class _Session:
    """One call of `train`: what its phases share."""

    def __init__(
        self,
        recipe: Recipe,
        places: Places,
        planned: Plan,
        processes: Processes,
        progress: Progress,
        record: RunRecord,
        teacher: Teacher | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        self.recipe, self.places, self.heads = recipe, places, recipe.head_specs()
        self.processes, self.device = processes, processes.device
        self.progress, self.record = progress, record
        self.teacher, self.on_epoch = teacher, on_epoch
        for change in record.changes:
            progress.say(f"warning: resumed {change}; this is not exactly the uninterrupted run")
        for note in planned.notes:
            progress.say(note)
        progress.say("decoding images")
        showing = Showing(recipe.network.size, recipe.preprocessing, recipe.second_pass)
        self.samples, self.select = (
            decode(part.cases, self.heads, showing, part.labels, part.fields)
            for part in (planned.train, planned.select)
        )
        self.class_weights = {
            head.name: self._weights(head).to(self.device) for head in self.heads if head.kind != "mask"
        }

    @cached_property
    def logs(self) -> Logs:
        """Opened at the first epoch's end, by the one process that writes."""
        return Logs(self.places.run)

    def _weights(self, head: HeadSpec) -> Tensor:
        classes = max(2, len(head.labels))
        if self.recipe.heads[head.name].class_weights == "none":
            return torch.ones(classes)
        return torch.from_numpy(balanced_weights(self.samples.labels[head.name], classes, self._showings()))

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
        if self.device.type == "cpu":
            spare_strided_depthwise(network)
        self._run(FloatMode(network), phase)

    def qat_phase(self) -> None:
        """Fine-tune with fake quantization, from the best float epoch."""
        phase = self.recipe.qat
        if self._done("qat"):
            return
        self.progress.say("preparing quantization-aware training")
        prepared = prepared_network(self.recipe, self._stored(self.record.best["float"]))
        if self.record.state is not None and self.record.state.phase == "qat":
            materialise(prepared, self.recipe)
        self.processes.synchronise_ranges(prepared)
        self._run(QatMode(prepared, phase), phase)

    def _stored(self, stored: Stored) -> dict[str, Tensor]:
        return self.processes.agree(lambda: load(self.places.run, stored))

    def _done(self, name: PhaseName) -> bool:
        return name in self.record.phases_done

    def _run(self, mode: Mode, phase: Phase) -> None:
        name, module = mode.name, mode.module
        objective = objective_for(
            self.recipe, self.heads, self.class_weights, phase, module, self.teacher, self.processes.mean
        )
        masks = [head.name for head in self.heads if head.kind == "mask"]
        steps = len(self._order((0,))) // phase.batch
        balance = balance_for(self.recipe.balance, objective.tasks, masks)
        trainer = Trainer(module, phase, steps, self.device, balance, self.processes)
        self.processes.equalise(module)
        if self.record.state is not None:
            tensors = self._stored(self.record.state)
            go_on = trainer.restore if self.record.state.phase == name else trainer.inherit
            go_on(tensors)
        while not trainer.finished:
            epoch = trainer.epoch
            seed = (self.recipe.seed, SEED_OF[name], epoch)
            mode.begin_training(epoch)
            self.progress.begin_epoch(name, epoch, phase.epochs, steps)
            losses = trainer.run_epoch(
                training_batches(
                    self.samples, self.recipe.augment, phase.batch, seed, self._order(seed), self.processes.share
                ),
                objective,
                seed,
                self.progress.step,
                mixed_precision=name == "float",
            )
            figures = self.processes.agree(lambda: self._evaluate(mode, trainer))
            value = sum(figures.values()) / len(figures)
            if mode.may_be_best(epoch):
                trainer.observe(value)
            self.record = self.processes.agree(partial(self._commit, mode, trainer, losses, value, figures))
            self.progress.end_epoch(losses, figures)
            if self.on_epoch is not None:
                self.on_epoch(name, trainer.epoch, value)

    def _order(self, seed: Sequence[int]) -> Order:
        return epoch_order(*self._sampled(), self.recipe.sampling, seed)

    def _showings(self) -> Showings:
        return showings(*self._sampled(), self.recipe.sampling)

    def _sampled(self) -> tuple[Truth, Sequence[str]]:
        """The labels by which an epoch samples the cases, and their classes; blank where it does not."""
        sampling = self.recipe.sampling
        if sampling is None:
            return np.zeros(len(self.samples), np.int64), ()
        return self.samples.labels[sampling.head], self.recipe.heads[sampling.head].classes

    def _evaluate(self, mode: Mode, trainer: Trainer) -> dict[str, float]:
        with trainer.average.applied(mode.module):
            mode.begin_evaluation()
            answers = self._asked(mode.module, self.select)
        return score.measure(answers, self.select, self.heads)

    def _asked(self, network: score.Network, samples: Samples) -> dict[str, npt.NDArray[np.float32]]:
        return score.probabilities(network, samples, self.heads, 32, self.device, self.recipe.cleanup)

    def _commit(
        self, mode: Mode, trainer: Trainer, losses: Losses, value: float, figures: dict[str, float]
    ) -> RunRecord:
        """Log and store the epoch that the trainer has just done; the run's new record."""
        name, epoch = mode.name, trainer.epoch - 1
        # Logged first: a kill in between repeats the epoch and replaces its row; otherwise the row would be lost.
        self.logs.epoch(name, epoch, losses, figures)
        best = self.record.best.get(name)
        folder = self.places.run
        changes: dict[str, object] = {
            "state": store(folder, f"state-{name}", trainer.state(), name, trainer.epoch, value, figures)
        }
        if mode.may_be_best(epoch) and (best is None or value > best.score):
            stored = store(folder, f"{name}-best", trainer.average.tensors, name, trainer.epoch, value, figures)
            changes["best"] = {**self.record.best, name: stored}
        if trainer.finished:
            changes["phases_done"] = (*self.record.phases_done, name)
        record = self.record.model_copy(update=changes)
        write_run(folder, record)
        return record

    def finish(self) -> RunRecord:
        """Choose the quantized network's thresholds and close the run."""
        return self.processes.agree(self._finish)

    def _finish(self) -> RunRecord:
        prepared = trained_network(self.places.run, self.record)
        answers = self._asked(prepared.to(self.device), self.select)
        if self.teacher is None or self.teacher.asked is None:
            chosen = thresholds(answers, self.select, self.heads, self.recipe)
        else:
            self.progress.say("choosing thresholds")
            chosen = cross_validated(answers, self.samples, self.select, self.teacher, self.recipe, self._asked)
        record = self.record.model_copy(update={"thresholds": chosen, "finished": True})
        write_run(self.places.run, record)
        return record
