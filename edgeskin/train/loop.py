"""Training a recipe: the float phase, then the quantization-aware phase from its best epoch, then the thresholds."""

import platform
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, data_list_sha256, read_cases, read_exclude
from edgeskin.data.labels import demand_every_class
from edgeskin.data.splits import carve_select
from edgeskin.errors import DataError, RecipeError, RunError
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.start import load_folded, load_torchvision
from edgeskin.train import qat, score
from edgeskin.train.balance import balanced_weights
from edgeskin.train.checkpoint import PhaseName, RunRecord, load, read_run, store, write_run
from edgeskin.train.loader import Samples, decode, plain_batches, training_batches
from edgeskin.train.log import Logs, Progress
from edgeskin.train.mode import FloatMode, Mode, QatMode
from edgeskin.train.networks import build_network, prepared_network, trained_network
from edgeskin.train.phase import Trainer, objective_for
from edgeskin.train.recipe import Phase, Recipe

IMAGENET = "mobilenet_v2_1.0_imagenet.npz"
STATISTICS_BATCHES = 4
SEED_OF: dict[PhaseName, int] = {"float": 1, "qat": 2}


@dataclass(frozen=True)
class Places:
    """Where things are: the recipe file (for its exclude list), the data folder, the run folder, ImageNet weights."""

    recipe: Path
    data: Path
    run: Path
    weights: Path | None


def train(recipe: Recipe, places: Places, *, resume: bool, device: str | None = None) -> RunRecord:
    """Train a recipe to its end, or go on where an interrupted run stopped.

    device: `cpu`, `cuda`, or None for a GPU where there is one. Progress goes to stderr.

    Raises: DataError, RecipeError, or RunError where the run folder holds another recipe's run, or a run though
    `resume` is not asked for. KeyboardInterrupt passes through; the run then holds every finished epoch.
    """
    chosen = _device(device)
    train_cases, select_cases, dataset = choose_cases(recipe, places)
    heads = recipe.head_specs()
    record = _open_run(recipe, places, train_cases, select_cases, dataset, chosen, resume)
    if record.finished:
        return record
    with Progress(recipe) as progress:
        for change in record.changes:
            progress.say(f"warning: resumed {change}; this is not exactly the uninterrupted run")
        progress.say("decoding images")
        samples = decode(train_cases, heads, recipe.network.size)
        select = decode(select_cases, heads, recipe.network.size)
        for part, name in ((samples, "train"), (select, "select")):
            _demand_labels(part, heads, name)
        _demand_batches(recipe, len(samples))
        session = _Session(recipe, places, heads, samples, select, chosen, progress, record)
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


def _demand_labels(samples: Samples, heads: tuple[HeadSpec, ...], split: str) -> None:
    """Every head must have something to learn and to be measured by, or a figure would be undefined."""
    for head in heads:
        if head.kind != "mask":
            demand_every_class(samples.labels[head.name], head, head.name, split)
        elif all(mask is None for mask in samples.masks):
            raise DataError(f"head {head.name}: no image of {split} has a mask. Add masks/, or take the head out")


def _demand_batches(recipe: Recipe, cases: int) -> None:
    problems = [
        f"{key}.batch is {phase.batch}, more than the {cases} images trained on"
        for key, phase in (("float", recipe.float_phase), ("qat", recipe.qat))
        if phase.batch > cases
    ]
    if problems:
        raise RecipeError(recipe.name, problems)


def choose_cases(recipe: Recipe, places: Places) -> tuple[tuple[Case, ...], tuple[Case, ...], str]:
    """The cases trained on, those that choose epochs and thresholds, and the data set's name."""
    exclude = frozenset[str]()
    if recipe.data.exclude is not None:
        exclude = read_exclude(places.recipe.parent / recipe.data.exclude)
    cases = read_cases(places.data, exclude)
    if cases.layout.name != recipe.data.dataset:
        raise DataError(
            f"{places.data}: has the layout of {cases.layout.name}, the recipe is for {recipe.data.dataset}. "
            "Give the recipe's data folder with --data"
        )
    heads = recipe.head_specs()
    candidates = cases.split("train")
    stratify = next((head.name for head in heads if head.kind == "softmax"), None)
    chosen, select = carve_select(candidates, recipe.data.select, seed=recipe.seed, stratify=stratify)
    return chosen, select, cases.layout.name


def _open_run(
    recipe: Recipe,
    places: Places,
    train_cases: tuple[Case, ...],
    select_cases: tuple[Case, ...],
    dataset: str,
    device: torch.device,
    resume: bool,
) -> RunRecord:
    identity = sha256(recipe.model_dump_json(by_alias=True).encode()).hexdigest()
    record = read_run(places.run) if (places.run / "run.json").exists() else None
    # A start that failed before its first epoch leaves nothing to lose: it may be begun again, with another recipe too.
    if record is not None and (resume or record.state is not None):
        if not resume:
            raise RunError(
                f"{places.run}: holds a run already. Go on with --resume, or choose another folder with --run"
            )
        if record.recipe_sha256 != identity:
            raise RunError(f"{places.run}: was trained by another recipe ({record.recipe.name}). Choose another --run")
        if data_list_sha256(record.train_ids) != data_list_sha256(case.image_id for case in train_cases):
            raise RunError(
                f"{places.run}: was trained on other images than {places.data} now gives. Choose another --run"
            )
        return _note_changes(record, device)
    if resume:
        raise RunError(f"{places.run}: there is no run to resume. Leave out --resume to start one")
    record = RunRecord(
        recipe=recipe,
        recipe_sha256=identity,
        dataset=dataset,
        train_ids=tuple(sorted(case.image_id for case in train_cases)),
        select_ids=tuple(sorted(case.image_id for case in select_cases)),
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
        heads: tuple[HeadSpec, ...],
        samples: Samples,
        select: Samples,
        device: torch.device,
        progress: Progress,
        record: RunRecord,
    ) -> None:
        self.recipe, self.places, self.heads = recipe, places, heads
        self.samples, self.select, self.device = samples, select, device
        self.progress, self.record = progress, record
        self.logs = Logs(places.run)
        self.class_weights = {
            head.name: self._weights(head, samples).to(device) for head in heads if head.kind != "mask"
        }

    def _weights(self, head: HeadSpec, samples: Samples) -> Tensor:
        classes = max(2, len(head.labels))
        if self.recipe.heads[head.name].class_weights == "none":
            return torch.ones(classes)
        return torch.from_numpy(balanced_weights(samples.labels[head.name], classes))

    def float_phase(self) -> None:
        """Train in float, from ImageNet or at random."""
        phase = self.recipe.float_phase
        if self._done("float", phase):
            return
        network = build_network(self.recipe)
        if self.record.state is None:
            self._start_encoder(network.encoder)
        self._run(FloatMode(network), phase)

    def _start_encoder(self, encoder: MobileNetV2) -> None:
        start = self.recipe.network.start
        if start == "random":
            return
        if start != "imagenet":
            load_torchvision(encoder, Path(start))
            return
        if self.places.weights is None:
            raise RecipeError(
                self.recipe.name,
                [
                    f'network.start is "imagenet", which needs {IMAGENET}: give its folder with --weights DIR or '
                    'EDGESKIN_WEIGHTS, or write start = "random"'
                ],
            )
        batches = plain_batches(self.samples, 32)
        images = [batch.image for batch, _ in zip(batches, range(STATISTICS_BATCHES), strict=False)]
        load_folded(encoder, self.places.weights / IMAGENET, images)

    def qat_phase(self) -> None:
        """Fine-tune with fake quantization, from the best float epoch."""
        phase = self.recipe.qat
        if self._done("qat", phase):
            return
        self.progress.say("preparing quantization-aware training")
        prepared = prepared_network(self.recipe, load(self.places.run, self.record.best["float"]))

        if self.record.state is not None and self.record.state.phase == "qat":
            qat.materialise(prepared, self.recipe.network.size)
        self._run(QatMode(prepared, phase), phase)

    def _done(self, name: PhaseName, phase: Phase) -> bool:
        state = self.record.state
        return state is not None and (
            (state.phase == name and state.epoch >= phase.epochs) or (name == "float" and state.phase == "qat")
        )

    def _run(self, mode: Mode, phase: Phase) -> None:
        name, module = mode.name, mode.module
        trainer = Trainer(module, phase, len(self.samples) // phase.batch, self.device)
        if self.record.state is not None and self.record.state.phase == name:
            trainer.restore(load(self.places.run, self.record.state))
        objective = objective_for(self.recipe, self.heads, self.class_weights, phase)
        while trainer.epoch < phase.epochs:
            epoch = trainer.epoch
            seed = (self.recipe.seed, SEED_OF[name], epoch)
            mode.begin_training(epoch)
            self.progress.begin_epoch(name, epoch, phase.epochs, len(self.samples) // phase.batch)
            losses = trainer.run_epoch(
                training_batches(self.samples, self.recipe.augment, phase.batch, seed),
                objective,
                seed,
                self.progress.step,
                mixed_precision=name == "float",
            )
            with trainer.average.applied(module):
                mode.begin_evaluation()
                figures = self._evaluate(module)
            # Logged first: a kill in between repeats the epoch and replaces its row; otherwise the row would be lost.
            self.logs.epoch(name, epoch, losses, figures)
            self._commit(name, trainer, figures, may_be_best=mode.may_be_best(epoch))
            self.progress.end_epoch(losses, figures)

    def _evaluate(self, module: nn.Module) -> dict[str, float]:
        answers = score.probabilities(module, self.select, self.heads, 32, self.device)
        return score.measure(answers, self.select, self.heads)

    def _commit(self, name: PhaseName, trainer: Trainer, figures: dict[str, float], *, may_be_best: bool) -> None:
        value = sum(figures.values()) / len(figures)
        best = self.record.best.get(name)
        folder = self.places.run
        changes: dict[str, object] = {
            "state": store(folder, f"state-{name}", trainer.state(), name, trainer.epoch, value, figures)
        }
        if may_be_best and (best is None or value > best.score):
            stored = store(folder, f"{name}-best", trainer.average.tensors, name, trainer.epoch, value, figures)
            changes["best"] = {**self.record.best, name: stored}
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
