"""A family of recipes, trained and measured one after the other; what is known already is not done again."""

import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeskin import targets
from edgeskin.benchmarks import ablation, evidence, latency
from edgeskin.benchmarks.ablation import Measured, Member, Network, Row, Table
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport, Interval, MetadataGiven
from edgeskin.benchmarks.papers import published
from edgeskin.contract import checkout
from edgeskin.data.cases import Case, Cases, data_list_sha256
from edgeskin.data.duplicates import Progress
from edgeskin.data.sets import open_set
from edgeskin.errors import DataError, EdgeskinError, GraphError, RunError
from edgeskin.export import average, evaluate, family, golden, journey
from edgeskin.export.average import Averaged
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.family import COSTS, Family, Trial, Trials
from edgeskin.export.measure import size_mib
from edgeskin.export.pattern import Pattern
from edgeskin.export.unseen import Unseen, unseen
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Precision

if TYPE_CHECKING:
    from edgeskin.train.plan import Part

FOLD = "fold"
"""The split that each fold held out of its own training."""
Done = TypeVar("Done")


@dataclass(frozen=True)
class Bench:
    """Where and on what a family is measured: data folder, split, ImageNet weights, device, and who is told.

    split: `val`, `test`, `select`, several joined by `+`, or `fold`; None for `fold` where all members have folds, and
    `val` otherwise. only: names of the members that are trained and measured, None for all; the table has every one.
    folds: so many of each member, from the first on, where `split` is `fold`; None for all.
    """

    data: Path
    split: str | None = None
    weights: Path | None = None
    device: str | None = None
    say: Say = silent
    progress: Progress = silent
    only: Collection[str] | None = None
    folds: int | None = None


@dataclass(frozen=True, eq=False)
class _Wanted:
    """What a row must be about, by the folders as they are now: images and files trained on, images measured on."""

    folder: Cases
    learnt: "Part"
    trained_on_sha256: str
    sources: dict[str, str]
    cases: tuple[Case, ...]

    @property
    def data_list_sha256(self) -> str:
        return data_list_sha256(case.image_id for case in self.cases)

    def holds(self, trial: Trial, split: str) -> bool:
        """Whether a trial's row has the figures."""
        row = Row.read(trial.folder)
        known = None if row is None else row.splits.get(split)
        if known is None or (trial.costs and known.not_exported is None and not {*COSTS} <= {*known.figures}):
            return False
        return (known.trained_on_sha256, known.sources, known.data_list_sha256) == (
            self.trained_on_sha256,
            self.sources,
            self.data_list_sha256,
        )

    def are_of(self, report: AccuracyReport | EvidenceEntry, graphs: Sequence[Graph], progress: Progress) -> bool:
        """Whether figures are of the wanted images, but for those that one of the networks cannot be judged on."""
        if report.n >= len(self.cases):
            return report.data_list_sha256 == self.data_list_sha256
        fresh = Unseen.by_all([unseen(graph, self.cases, self.folder, progress) for graph in graphs])
        return report.data_list_sha256 == data_list_sha256(case.image_id for case in fresh.cases)

    def measured(self, report: AccuracyReport | EvidenceEntry) -> Measured:
        """The figures of a row."""
        intervals: dict[str, dict[Network, Interval]] = {
            name: {"float": one.float_ci95, "int8": one.ci95}
            for name, one in report.metrics.items()
            if one.float_ci95 is not None and one.ci95 is not None
        }
        return Measured(
            dataset=report.dataset,
            n=report.n,
            data_list_sha256=self.data_list_sha256,
            trained_on_sha256=self.trained_on_sha256,
            sources=self.sources,
            figures={name: {"float": one.float, "int8": one.int8} for name, one in report.metrics.items()},
            intervals=intervals,
            cautions=report.cautions,
            commit=checkout.commit(),
            date=_now(),
        )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def show(path: Path, runs: Path, split: str | None = None) -> Table:
    """The table of a family as far as it has been run; nothing is trained, and no torch is needed.

    split: as in `Bench`. runs: the folder of runs; rows stand in `ablations/<hash>/row.json` below it.
    Raises: RecipeError with every mistake of the family and of its members' recipes.
    """
    declared, trials = family.read(path, runs)
    return _table(path, declared, trials, _split(split, trials))


def ablate(path: Path, runs: Path, bench: Bench) -> Table:
    """Train and measure every member that has no row yet, and give the table.

    A row counts while the data folder gives its recipe the same images to train on and to measure on, and the teacher
    and the weights to start from are the same files. The folds of a
    member are averaged too where no fold trains: on val and test.
    A member that fails becomes a row that says so, and the others go on; the next call tries it again, from its last
    finished epoch.

    Raises: RecipeError as `show`, before anything is trained. KeyboardInterrupt passes through, and its member's row
    says that it was interrupted.
    """
    declared, trials = family.read(path, runs)
    split = _split(bench.split, trials)
    for one in trials:
        if bench.only is not None and one.choice.name not in bench.only:
            continue
        if one.average is not None and average.unseen(split):
            _folds(one, one.average, bench, split)
        else:
            for trial in one.each[: bench.folds if split == FOLD else None]:
                _single(trial, bench, split)
    return _table(path, declared, trials, split)


def _split(asked: str | None, trials: Sequence[Trials]) -> str:
    if asked is not None:
        return evaluate.canonical(asked)
    return FOLD if all(len(one.each) > 1 for one in trials) else "val"


# --- one network ---


def _single(trial: Trial, bench: Bench, split: str) -> None:
    """Train and measure one trial, unless its row is there."""

    def work() -> None:
        wanted = _wanted(trial, bench, split)
        if not wanted.holds(trial, split):
            run = _train(trial, bench)
            _keep(trial, split, _measure(trial, run, wanted, bench, split))

    _attempt(trial, bench, work)


def _attempt(trial: Trial, bench: Bench, work: Callable[[], Done]) -> Done | None:
    """What the work gives; None where it failed, and the trial's row says why."""
    try:
        return work()
    except KeyboardInterrupt:
        _row(trial).model_copy(update={"failed": "interrupted; run it again to go on"}).write(trial.folder)
        raise
    except EdgeskinError as error:
        failed = _in_one_line(error)
    except (RuntimeError, MemoryError) as error:  # torch's own: out of memory, an operator that is not there
        failed = f"{type(error).__name__}: {_in_one_line(error)}"
    bench.say(f"{trial.name}: failed: {failed}")
    _row(trial).model_copy(update={"failed": failed}).write(trial.folder)
    return None


def _in_one_line(error: Exception) -> str:
    """A message's first sentence; a headline that ends with a colon says nothing without what follows."""
    lines = str(error).splitlines() or ["no message"]
    return " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])


def _row(trial: Trial) -> Row:
    return Row.read(trial.folder) or Row(recipe=trial.recipe.name, recipe_sha256=trial.recipe.sha256())


def _keep(trial: Trial, split: str, measured: Measured) -> None:
    row = _row(trial)
    row.model_copy(update={"failed": None, "splits": {**row.splits, split: measured}}).write(trial.folder)


def _wanted(trial: Trial, bench: Bench, split: str) -> _Wanted:
    """Raises: RecipeError, DataError where recipe, data and split do not fit."""
    from edgeskin.train.plan import Places, plan
    from edgeskin.train.provenance import sources

    planned = plan(trial.recipe, Places(trial.source, bench.data, trial.run, bench.weights))
    if split == FOLD and not planned.held_out:
        raise DataError(f"{trial.name}: has no folds, so none was held out. Give --split val, or data.folds")
    folder = open_set(bench.data, trial.recipe.data.dataset)
    select = [case.image_id for case in planned.select.cases]
    cases = planned.held_out if split == FOLD else evaluate.chosen(folder, split, select, trial.name)
    trained_on = data_list_sha256([*select, *(case.image_id for case in planned.train.cases)])
    return _Wanted(folder, planned.train, trained_on, sources(trial.recipe, bench.weights), cases)


def _train(trial: Trial, bench: Bench) -> Path:
    from edgeskin.train.loop import train
    from edgeskin.train.plan import Places

    bench.say(trial.name)
    places = Places(trial.source, bench.data, trial.run, bench.weights)
    train(trial.recipe, places, resume=(trial.run / "run.json").is_file(), device=bench.device)
    return trial.run


def _measure(trial: Trial, run: Path, wanted: _Wanted, bench: Bench, split: str) -> Measured:
    try:
        graph = journey.find_graph(run, bench.say)
    except (GraphError, RunError) as error:
        if not trial.as_trained:
            raise
        bench.say(f"{trial.name}: cannot be exported, so it is measured in torch")
        return _measured_in_torch(trial, run, wanted, _in_one_line(error))
    measured = wanted.measured(_report(trial, graph, wanted, bench, split))
    if trial.costs:
        bench.say(f"{trial.name}: timing the network")
        measured = measured.model_copy(update={"figures": {**measured.figures, **_costs(graph)}})
    return measured


def _report(trial: Trial, graph: Graph, wanted: _Wanted, bench: Bench, split: str) -> AccuracyReport | EvidenceEntry:
    told: MetadataGiven | None = "unknown" if trial.fields == "unknown" else None
    card = trial.card(graph.card)
    on_cases = partial(
        evaluate.on_cases, cases=wanted.cases, layout=wanted.folder.layout, split=split, progress=bench.progress
    )
    if trial.fields == "pattern":
        fields = wanted.learnt.fields
        assert fields is not None, "a family demands fields of a recipe before it tells of them"
        pattern = Pattern.of(card, wanted.learnt.labels, fields.complete)
        return on_cases(pattern.card, pattern, pattern)
    if split == FOLD:  # no split of the data set, so it is no evidence of the Graph
        with evaluate.opened(graph) as (fp32, int8):
            return on_cases(card, fp32, int8, metadata=told)
    if trial.threshold is not None:  # nor is a threshold that is not its own
        with evaluate.opened(graph) as (fp32, int8):
            decided = replace(graph, card=card)
            return evaluate.measure(decided, int8, fp32, wanted.folder, split, metadata=told, progress=bench.progress)
    # An evaluation that was finished but not kept in a row: test, above all, is not looked at twice.
    entry = _evidence(graph, wanted, bench, split, told)
    if entry is not None:
        return entry
    return evaluate.evaluate(graph, bench.data, split, metadata=told, say=bench.say, progress=bench.progress)


def _costs(graph: Graph) -> Mapping[str, Mapping[Network, float | None]]:
    """What the float and the int8 network take on this machine, by `COSTS`."""
    inputs, target = golden.read(graph.golden, graph.card).cases[0].inputs, targets.get("onnx")
    found: dict[str, dict[Network, float | None]] = {name: {} for name in COSTS}
    networks: tuple[tuple[Network, Precision], ...] = (("float", "fp32"), ("int8", "int8"))
    for network, precision in networks:
        with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
            session = target.open(target.build(graph, precision, Path(folder)), threads=1)
            found["size_mib"][network] = size_mib(session.path)
            (figure, *_) = latency.of_network(session, inputs, "quick", precision, 1)
            found["latency_p50_ms"][network] = figure.p50_ms
    return found


def _evidence(
    graph: Graph, wanted: _Wanted, bench: Bench, split: str, told: MetadataGiven | None = None
) -> EvidenceEntry | None:
    """What is known already of a Graph on the wanted images."""
    dataset, metadata = wanted.folder.layout.name, evaluate.given(graph.card, told)
    entry = evidence.find(graph.evidence, graph.sha256, split, dataset, metadata=metadata)
    return entry if entry is not None and wanted.are_of(entry, [graph], bench.progress) else None


def _measured_in_torch(trial: Trial, run: Path, wanted: _Wanted, reason: str) -> Measured:
    from edgeskin.train.measure import measure

    cases = evaluate.with_outlines(trial.recipe.head_specs(), wanted.cases)
    return Measured(
        dataset=wanted.folder.layout.name,
        n=len(cases),
        data_list_sha256=wanted.data_list_sha256,
        trained_on_sha256=wanted.trained_on_sha256,
        sources=wanted.sources,
        figures={
            metric: {network: None if math.isnan(value) else value for network, value in values.items()}
            for metric, values in measure(run, cases).items()
        },
        cautions=wanted.folder.layout.cautions,
        not_exported=reason,
        commit=checkout.commit(),
        date=_now(),
    )


# --- all folds of a recipe ---


def _folds(trials: Trials, mean: Trial, bench: Bench, split: str) -> None:
    """Train all folds of a member, then look at the images once: with each fold, and with their average.

    One look, because the test split has only one. Folds that cannot be exported are measured singly and not averaged.
    """
    planned = [_attempt(trial, bench, partial(_wanted, trial, bench, split)) for trial in trials.each]
    wanted = [one for one in planned if one is not None]
    if len(wanted) < len(planned):
        return
    of_mean = replace(wanted[0], trained_on_sha256=data_list_sha256(one.trained_on_sha256 for one in wanted))
    everything = zip((*trials.each, mean), (*wanted, of_mean), strict=True)
    if all(one.holds(trial, split) for trial, one in everything):
        return
    trained = [_attempt(trial, bench, partial(_train, trial, bench)) for trial in trials.each]
    runs = [run for run in trained if run is not None]
    if len(runs) < len(trained):
        return
    try:
        graphs = [journey.find_graph(run, bench.say) for run in runs]
    except (GraphError, RunError):
        for trial in trials.each:
            _single(trial, bench, split)
        return
    _attempt(mean, bench, partial(_average, mean, graphs, of_mean, bench, split))
    for trial, graph, one in zip(trials.each, graphs, wanted, strict=True):
        entry = _evidence(graph, one, bench, split)
        if entry is not None:
            _keep(trial, split, one.measured(entry))


def _average(mean: Trial, graphs: Sequence[Graph], wanted: _Wanted, bench: Bench, split: str) -> None:
    """Keep the row of the average, measured now or in an earlier call that ended before it was kept."""
    out = mean.folder / f"{split}.json"
    found = Averaged.read(out)
    same = found is not None and found.graphs == tuple(graph.sha256 for graph in graphs)
    if found is None or not same or not wanted.are_of(found.accuracy, graphs, bench.progress):
        found = average.evaluate(graphs, bench.data, split, out, say=bench.say, progress=bench.progress)
    _keep(mean, split, wanted.measured(found.accuracy))


def _table(path: Path, declared: Family, trials: Sequence[Trials], split: str) -> Table:
    members = []
    for one in trials:
        choice, mean = one.choice, one.average
        paper, printed = (None, None) if choice.paper is None else published(choice.paper, path.parent)
        members.append(
            Member(
                name=choice.name,
                seed=one.each[0].recipe.seed,
                rows=tuple(Row.read(trial.folder) for trial in one.each),
                average=None if mean is None else Row.read(mean.folder),
                paper=paper,
                printed=printed,
            )
        )
    return ablation.table(declared.name, split, members, declared.metrics)
