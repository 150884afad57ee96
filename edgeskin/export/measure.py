"""Everything this machine can measure of an artifact: the numbers that its gate judges.

What no engine here runs is compared all the same, by our executor on the saved bytes. What only an engine tells (time,
memory, placement) was not measured then, and says where it can be.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeskin import targets
from edgeskin.benchmarks import beside, cold, device, evidence, latency, memory
from edgeskin.benchmarks.conditions import Watch
from edgeskin.benchmarks.gate import Section
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    ColdStart,
    Form,
    LatencyFigure,
    Measurements,
    MemoryFigure,
    NumericsHop,
    PlacementFigure,
    SpeedRatio,
)
from edgeskin.benchmarks.memory import NotMeasured
from edgeskin.data.cases import Cases
from edgeskin.data.duplicates import Progress
from edgeskin.errors import GraphError, TargetError
from edgeskin.export import evaluate
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.form import form_of
from edgeskin.export.golden import Golden
from edgeskin.export.profile import Profile
from edgeskin.export.reference import Reference
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Artifact, Precision, Runnable, Session, Target, elsewhere


def measure(
    graph: Graph,
    target: Target,
    artifact: Artifact,
    cases: Golden,
    reference: Reference,
    profile: Profile,
    *,
    labelled: Cases | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> Measurements:
    """Measure an artifact that was just built, quickly, at the profile's threads.

    reference: of the graph. labelled: images to measure accuracy on, by the profile's split; without them it is that of
    the Graph's evidence. A stand-in for an engine counts as none.

    Raises: DataError where an image is unreadable.
    """
    threads, precision = profile.threads, artifact.precision
    form = form_of(precision, target.computes(precision))
    here = Here.open(target, artifact, threads)
    if here.simulated:
        here = Here(target, artifact, threads, {})
    with evaluate.baseline(graph, target if here.sessions else targets.get("onnx"), threads) as fp32:
        alone = of_artifact(here, cases, reference, "quick", fp32=fp32, say=say)
        accuracy = _accuracy(graph, form, here.default, fp32, labelled, profile.split, say, progress)
    unknown = {} if accuracy is not None else {"accuracy": _no_evidence(graph, form, profile.split)}
    others = beside.Beside()
    if target.beside_others:
        others = beside.beside(graph, precision, cases.cases[0].inputs, "quick", threads)
    return alone.model_copy(
        update={
            "accuracy": accuracy,
            "reads_back": target.read(artifact) == target.holds(graph, precision),
            "numerics": (*_chain(graph, precision), *reference.shown, *alone.numerics),
            "latency": (*alone.latency, *others.figures),
            "not_measured": alone.not_measured | unknown | dict(others.not_measured),
        }
    )


@dataclass(frozen=True)
class Here:
    """An artifact opened by everything on this machine that runs it.

    sessions: by processor, the one that an app gets by default first; empty where nothing runs it.
    """

    target: Target
    artifact: Artifact
    threads: int
    sessions: Mapping[str, Session]

    @staticmethod
    def open(target: Target, artifact: Artifact, threads: int) -> "Here":
        """Open it on every processor. Raises: TargetError where one of them cannot run it."""
        sessions = {name: target.open(artifact, threads=threads, processor=name) for name in target.processors()}
        return Here(target, artifact, threads, sessions)

    @property
    def simulated(self) -> bool:
        """Whether a stand-in answers in the place of an engine."""
        return any(getattr(session, "simulated", False) for session in self.sessions.values())

    @property
    def labels(self) -> Mapping[str, Session]:
        """The sessions by what is said of them beside a name: nothing of the default one, `, gpu` of another."""
        return {f", {name}" if number else "": self.sessions[name] for number, name in enumerate(self.sessions)}

    @cached_property
    def default(self) -> Runnable:
        """What an app gets by default; the executor where nothing runs the artifact."""
        return next(iter(self.sessions.values()), None) or self.target.execute(self.artifact)


def of_artifact(
    here: Here,
    cases: Golden,
    reference: Reference,
    mode: latency.Mode,
    *,
    fp32: Runnable | None = None,
    say: Say = silent,
) -> Measurements:
    """What is measured with the artifact and its golden cases alone.

    fp32: the float network on the same engine, to tell how much faster the artifact is.
    """
    artifact = here.artifact
    say("comparing on golden cases")
    known = Measurements(size_mib=size_mib(artifact.path), device=device.facts())
    if not here.sessions:
        hops, why_not = reference.compare(here.default.run, cases), elsewhere(here.target, "attest")
        absent = dict.fromkeys(_ONLY_DEVICES, why_not)
        return known.model_copy(update={"verified": here.target.reader, "numerics": hops, "not_measured": absent})
    hops = tuple(
        hop for label, session in here.labels.items() for hop in reference.compare(session.run, cases, label=label)
    )
    say("measuring speed and memory")
    speed = _speed(here, fp32, cases, mode)
    used = memory_of(artifact, cases.card.size, here.threads)
    started = cold.measure(artifact, cases.card.size, mode, threads=here.threads) if mode == "release" else None
    not_started = {"cold start": started.reason} if isinstance(started, NotMeasured) else {}
    placed = placement_of(here.labels[""])
    return known.model_copy(
        update={
            "numerics": hops,
            "latency": speed.figures,
            "speed": speed.ratio,
            "cold_start": started if isinstance(started, ColdStart) else None,
            "size_mib": size_mib(here.labels[""].path),
            "memory": used.figure,
            "placement": placed.figure,
            "not_measured": used.not_measured | placed.not_measured | not_started,
        }
    )


_ONLY_DEVICES: tuple[Section, ...] = ("numerics", "latency", "memory", "placement")
"""What nobody but an engine that runs the artifact can tell; numerics are then known of the saved bytes alone."""


@dataclass(frozen=True)
class MemoryOf:
    """Peak memory, or why it is not known, as `Measurements` takes them."""

    figure: MemoryFigure | None
    not_measured: dict[str, str]


def memory_of(artifact: Artifact, size: int, threads: int) -> MemoryOf:
    """Peak memory of an artifact in a process of its own. size: side of the square input."""
    used = memory.measure(artifact, size, threads=threads)
    if isinstance(used, MemoryFigure):
        return MemoryOf(used, {})
    return MemoryOf(None, {"memory": used.reason})


@dataclass(frozen=True)
class PlacementOf:
    """Where the operators ran, and what of it is not known, as `Measurements` takes them."""

    figure: PlacementFigure | None
    not_measured: dict[str, str]


def placement_of(session: Session) -> PlacementOf:
    """What an engine tells of where its operators run."""
    try:
        placement = PlacementFigure.of(session.placement())
    except TargetError as error:
        return PlacementOf(None, {"placement": str(error)})
    if placement.integer_convolutions is None:
        untold = f"{placement.provider} does not tell which convolutions run on integers"
        return PlacementOf(placement, {"placement": untold})
    return PlacementOf(placement, {})


def size_mib(path: Path) -> float:
    """What an artifact, a file or a folder, takes on disk."""
    parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(part.stat().st_size for part in parts) / 2**20


# --- the chain of forms that one network takes ---


def _chain(graph: Graph, precision: Precision) -> tuple[NumericsHop, ...]:
    """The hops that needed torch, measured when the run was traced; they lead to int8.onnx and to nothing else."""
    path = graph.folder / "chain.json"
    if precision != "int8" or not path.exists():
        return ()
    try:
        return tuple(NumericsHop.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise GraphError(f"{path}: cannot be read: {error}. Export the run again") from error


# --- speed ---


@dataclass(frozen=True)
class _Speed:
    figures: tuple[LatencyFigure, ...]
    ratio: SpeedRatio | None


def _speed(here: Here, fp32: Runnable | None, cases: Golden, mode: latency.Mode) -> _Speed:
    inputs, threads, precision = cases.cases[0].inputs, here.threads, here.artifact.precision
    watch = Watch.of(mode)
    own = tuple(
        figure
        for label, session in here.labels.items()
        for figure in latency.of_network(session, inputs, mode, f"model {precision}{label}", threads, watch=watch)
    )
    if fp32 is None or precision == "fp32":
        return _Speed(own, None)
    before = latency.of_network(fp32, inputs, mode, "model fp32", threads, watch=watch)
    return _Speed((*own, *before), latency.speedup(fp32, here.default, inputs, mode, threads, watch=watch))


# --- accuracy ---


def _accuracy(
    graph: Graph,
    form: Form,
    artifact: Runnable,
    fp32: Runnable,
    labelled: Cases | None,
    split: str,
    say: Say,
    progress: Progress,
) -> AccuracyReport | None:
    if labelled is not None:
        say(f"measuring accuracy on {labelled.folder.name}, {split}")
        return evaluate.measure(graph, artifact, fp32, labelled, split, form=form, progress=progress)
    for dataset in _evidence_of(graph):
        entry = evidence.find(
            graph.evidence,
            graph.sha256,
            evaluate.canonical(split),
            dataset,
            metadata=evaluate.given(graph.card),
            form=form,
        )
        if entry is not None:
            return entry.inherited(form)
    return None


def _evidence_of(graph: Graph) -> tuple[str | None, ...]:
    """The data sets whose evidence counts: those it was trained on; where the card names none, any."""
    return graph.card.provenance.data or (None,)


def _no_evidence(graph: Graph, form: Form, split: str) -> str:
    """Why accuracy is not known, and by which other split it could be judged."""
    metadata = evaluate.given(graph.card)
    entries = [
        entry
        for dataset in _evidence_of(graph)
        for entry in evidence.of(graph.evidence, graph.sha256, dataset, metadata=metadata)
        if entry.speaks_of(form)
    ]
    others = list(dict.fromkeys(entry.split for entry in entries if not evidence.touches_test(entry.split)))
    hint = f" (there is on {', '.join(others)}: --split {others[-1]} judges by it)" if others else ""
    of_form = "" if form in ("int8", "fp32", "fp16") else f" of {form}"
    wanted = evaluate.canonical(split)
    command = ["edgeskin", "evaluate", str(graph.folder), "--split", wanted, *(["--form", form] if of_form else [])]
    return (
        f"no data was given and there is no evidence for this graph{of_form} on {wanted}{hint}. "
        f"Measure it, and export again: {shlex.join(command)}"
    )
