"""A family of recipes, trained and measured one after the other; what is known already is not done again."""

import itertools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeskin import shipped, targets
from edgeskin.benchmarks import ablation, accuracy, evidence
from edgeskin.benchmarks.ablation import Measured, Member, Row, Table
from edgeskin.benchmarks.accuracy import Predictions
from edgeskin.benchmarks.device import usable_cores
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport
from edgeskin.benchmarks.papers import published
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, Name
from edgeskin.data.cases import Case, data_list_sha256, read_cases
from edgeskin.data.duplicates import Progress
from edgeskin.errors import DataError, EdgeskinError, GraphError, RecipeError, RunError
from edgeskin.export import evaluate, journey
from edgeskin.export.evaluate import SELECT, Say, silent
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Session
from edgeskin.train import recipe as recipes
from edgeskin.train.recipe import Recipe

RUN = "run"
"""The run folder beside a row."""
FOLD = "fold"
"""The split that each fold held out of its own training."""


class MemberChoice(Frozen):
    """One member: the family's base with `set` on top, or another recipe. paper: `file/row` of a published figure."""

    name: str
    recipe: str | None = None
    changes: Annotated[tuple[str, ...], Field(alias="set")] = ()
    paper: str | None = None


class Family(Frozen):
    """A family file.

    base: a recipe beside the file, or a shipped one. set: `key=value` overrides of every member, those of a member come
    after. metrics: the table's columns, by default those that the papers beside it print.
    """

    format: Literal[1] = 1
    name: Name
    base: str
    changes: Annotated[tuple[str, ...], Field(alias="set")] = ()
    metrics: tuple[str, ...] = ()
    members: Annotated[tuple[MemberChoice, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> "Family":
        names = [member.name for member in self.members]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"members: each needs a name of its own; there are several called {', '.join(twice)}")
        return self


@dataclass(frozen=True)
class Trial:
    """One recipe to train: a member's, or one fold of it. source: its file. folder: where its row and run stand."""

    name: str
    recipe: Recipe
    source: Path
    folder: Path


@dataclass(frozen=True)
class Bench:
    """Where and on what a family is measured: data folder, split, ImageNet weights, device, and who is told.

    split: `val`, `test`, `select`, several joined by `+`, or `fold`; None for `fold` where all members have folds, and
    `val` otherwise.
    """

    data: Path
    split: str | None = None
    weights: Path | None = None
    device: str | None = None
    say: Say = silent
    progress: Progress = silent


def show(path: Path, runs: Path, split: str | None = None) -> Table:
    """The table of a family as far as it has been run; nothing is trained, and no torch is needed.

    split: as in `Bench`. runs: the folder of runs; rows stand in `ablations/<hash>/row.json` below it.
    Raises: RecipeError with every mistake of the family and of its members' recipes.
    """
    family, trials = plan(path, runs)
    return _table(path, family, trials, _split(split, trials))


def ablate(path: Path, runs: Path, bench: Bench) -> Table:
    """Train and measure every member that has no row yet, and give the table.

    A member that fails becomes a row that says so, and the others go on; the next call tries it again, from its last
    finished epoch.

    Raises: RecipeError as `show`, before anything is trained; DataError for an unusable data folder. KeyboardInterrupt
    passes through, and its member's row says that it was interrupted.
    """
    family, trials = plan(path, runs)
    split = _split(bench.split, trials)
    expected = _expected_images(bench.data, split)
    for each in trials:
        for trial in each:
            row = Row.read(trial.folder)
            measured = None if row is None else row.splits.get(split)
            if measured is None or expected not in (None, measured.data_list_sha256):
                bench.say(f"{family.name}: {trial.name}")
                _run(trial, row, bench, split)
    return _table(path, family, trials, split)


def plan(path: Path, runs: Path) -> tuple[Family, tuple[tuple[Trial, ...], ...]]:
    """What a family asks for: for every member one trial, or one a fold.

    Raises: RecipeError with the mistakes of all members at once.
    """
    family = declaration.read(path, Family)
    problems: list[str] = []
    trials: list[tuple[Trial, ...]] = []
    for member in family.members:
        try:
            source = _source(path, member.recipe or family.base)
            changes = (*family.changes, *member.changes)
            first = recipes.read(source, changes)
            folds = range(first.data.folds or 1)
            chosen = [first] if first.data.folds is None else [_fold(source, changes, fold) for fold in folds]
            names = [member.name if len(chosen) == 1 else f"{member.name}, fold {fold}" for fold in folds]
            if member.paper is not None:
                published(member.paper, path.parent)
        except RecipeError as error:
            problems += [f"{member.name}: {problem}" for problem in error.problems]
            continue
        except EdgeskinError as error:
            problems.append(f"{member.name}: {error}")
            continue
        trials.append(
            tuple(
                Trial(name, one, source, runs / "ablations" / identity(one))
                for name, one in zip(names, chosen, strict=True)
            )
        )
    if problems:
        raise RecipeError(str(path), problems)
    return family, tuple(trials)


def identity(recipe: Recipe) -> str:
    """The hash of a recipe with all its values, as run.json has it."""
    return sha256(recipe.model_dump_json(by_alias=True).encode()).hexdigest()


def _split(asked: str | None, trials: Sequence[Sequence[Trial]]) -> str:
    if asked is not None:
        return evaluate.canonical(asked)
    return FOLD if all(trial.recipe.data.folds is not None for each in trials for trial in each) else "val"


def _source(path: Path, word: str) -> Path:
    beside = path.parent / word
    return beside if beside.is_file() else shipped.find("recipes", word)


def _fold(source: Path, changes: Sequence[str], fold: int) -> Recipe:
    return recipes.read(source, (*changes, f"data.fold={fold}"))


def _expected_images(data: Path, split: str) -> str | None:
    """The hash of the images that figures must be about; None for `select` and `fold`, which depend on the run."""
    folder = read_cases(data)
    names = split.split("+")
    if SELECT in names or FOLD in names:
        return None
    return data_list_sha256(case.image_id for name in names for case in folder.split(name))


def _run(trial: Trial, row: Row | None, bench: Bench, split: str) -> None:
    """Train and measure one trial, and keep its row whatever happens."""
    known = row or Row(recipe=trial.recipe.name, recipe_sha256=identity(trial.recipe))
    try:
        measured = _train_and_measure(trial, bench, split)
    except KeyboardInterrupt:
        known.model_copy(update={"failed": "interrupted; run it again to go on"}).write(trial.folder)
        raise
    except EdgeskinError as error:
        failed = str(error).splitlines()[0]
    except (RuntimeError, MemoryError) as error:  # torch's own: out of memory, an operator that is not there
        failed = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
    else:
        known.model_copy(update={"failed": None, "splits": {**known.splits, split: measured}}).write(trial.folder)
        return
    bench.say(f"{trial.name}: failed: {failed}")
    known.model_copy(update={"failed": failed}).write(trial.folder)


def _train_and_measure(trial: Trial, bench: Bench, split: str) -> Measured:
    from edgeskin.train.loop import train
    from edgeskin.train.plan import Places, plan

    run = trial.folder / RUN
    places = Places(trial.source, bench.data, run, bench.weights)
    train(trial.recipe, places, resume=(run / "run.json").is_file(), device=bench.device)
    held_out = plan(trial.recipe, places).held_out if split == FOLD else ()
    if split == FOLD and not held_out:
        raise DataError(f"{trial.name}: has no folds, so none was held out. Give --split val, or data.folds")
    try:
        graph = journey.find_graph(run, bench.say)
    except (GraphError, RunError) as error:
        bench.say(f"{trial.name}: cannot be exported, so it is measured in torch")
        return _measured_in_torch(run, held_out, bench, split, str(error).splitlines()[0])
    if split == FOLD:
        return _measured(_evaluate(graph, held_out, bench))
    # An evaluation that was finished but not kept in a row: test, above all, is not looked at twice.
    entry = evidence.find(graph.evidence, graph.sha256, split, read_cases(bench.data).layout.name)
    if entry is not None:
        return _measured(entry)
    return _measured(evaluate.evaluate(graph, bench.data, split, say=bench.say, progress=bench.progress))


def _measured_in_torch(run: Path, held_out: Sequence[Case], bench: Bench, split: str, reason: str) -> Measured:
    from edgeskin.train.measure import measure

    folder = read_cases(bench.data)
    cases = held_out or tuple(case for name in split.split("+") for case in folder.split(name))
    return Measured(
        dataset=folder.layout.name,
        n=len(cases),
        data_list_sha256=data_list_sha256(case.image_id for case in cases),
        figures={
            metric: {network: None if math.isnan(value) else value for network, value in values.items()}
            for metric, values in measure(run, cases).items()
        },
        cautions=folder.layout.cautions,
        not_exported=reason,
    )


def _evaluate(graph: Graph, cases: Sequence[Case], bench: Bench) -> AccuracyReport:
    """Float and int8 on given cases; a fold is no split of the data set, so it is no evidence of the Graph."""
    target, metadata = targets.get("onnx"), evaluate.given(graph.card)

    def predict(name: str, network: Session) -> Predictions:
        done = itertools.count(1)
        return accuracy.predict(
            network,
            graph.card,
            cases,
            workers=usable_cores(),
            on_case=lambda: bench.progress(name, next(done), len(cases)),
            metadata=metadata,
        )

    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder, evaluate.baseline(graph, target, 1) as fp32:
        in_float = predict("float network", fp32)
        in_int8 = predict("int8", target.open(target.build(graph, "int8", Path(folder))))
    layout = read_cases(bench.data).layout
    return accuracy.measure(in_float, in_int8, cases, graph.card, layout=layout, split=FOLD, metadata=metadata)


def _measured(report: AccuracyReport | EvidenceEntry) -> Measured:
    return Measured(
        dataset=report.dataset,
        n=report.n,
        data_list_sha256=report.data_list_sha256,
        figures={name: {"float": one.float, "int8": one.int8} for name, one in report.metrics.items()},
        cautions=report.cautions,
    )


def _table(path: Path, family: Family, trials: Sequence[Sequence[Trial]], split: str) -> Table:
    members = []
    for choice, each in zip(family.members, trials, strict=True):
        paper, printed = (None, None) if choice.paper is None else published(choice.paper, path.parent)
        rows = tuple(Row.read(trial.folder) for trial in each)
        members.append(Member(name=choice.name, rows=rows, paper=paper, printed=printed))
    return ablation.table(family.name, split, members, family.metrics)
