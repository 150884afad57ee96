"""Everything this machine can measure of an artifact that was just built: the numbers that its gate judges."""

import json
from dataclasses import dataclass
from pathlib import Path

from edgeskin.benchmarks import device, evidence, latency, memory, numerics
from edgeskin.benchmarks.measurements import (
    TO_ARTIFACT,
    AccuracyReport,
    LatencyFigure,
    Measurements,
    MemoryFigure,
    NumericsHop,
    PlacementFigure,
    SpeedRatio,
)
from edgeskin.data.cases import Cases
from edgeskin.data.duplicates import Progress
from edgeskin.errors import GraphError
from edgeskin.export import evaluate
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.golden import Golden
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Artifact, Precision, Session, Target
from edgeskin.targets.onnx import halved_session, optimised_session, reference_session


def measure(
    graph: Graph,
    target: Target,
    artifact: Artifact,
    cases: Golden,
    profile: Profile,
    *,
    labelled: Cases | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> Measurements:
    """Measure an artifact, quickly, at the profile's threads.

    labelled: images to measure accuracy on, by the profile's split; without them it is that of the Graph's evidence.

    Raises: GraphError where the golden cases are not those of the graph; DataError where an image is unreadable.
    """
    threads, precision = profile.threads, artifact.precision
    session = target.open(artifact, threads=threads)
    with evaluate.baseline(graph, target, threads) as fp32:
        say("comparing on golden cases")
        hops = (*_chain(graph, precision), *_last_hop(graph, session, cases, precision))
        say("measuring speed and memory")
        speed = _speed(session, fp32, precision, cases, threads)
        used = memory_of(artifact, graph.card.size, threads)
        accuracy = _accuracy(graph, precision, session, fp32, labelled, profile.split, say, progress)
        unknown = {} if accuracy is not None else {"accuracy": _no_evidence(graph, profile.split)}
        return Measurements(
            accuracy=accuracy,
            reads_back=target.read(artifact) == target.holds(graph, precision),
            numerics=hops,
            latency=speed.figures,
            speed=speed.ratio,
            size_mib=size_mib(artifact.path),
            memory=used.figure,
            placement=PlacementFigure.of(session.placement()),
            device=device.facts(),
            not_measured=used.not_measured | unknown,
        )


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


def _last_hop(graph: Graph, session: Session, cases: Golden, precision: Precision) -> tuple[NumericsHop, ...]:
    """The artifact against the file it was built from, both on the golden inputs.

    Raises: GraphError where that file itself, run by the reference engine, does not answer as the golden cases say.
    """
    quantized = precision == "int8"
    source = graph.int8 if quantized else graph.fp32
    reference = cases.int8_outputs if quantized else cases.float_outputs
    # float16 weights are a rounding too, and what onnxruntime makes of them is the unit for that precision.
    other = halved_session if precision == "fp16" else optimised_session
    plain, rounded = (cases.run(make(source).run) for make in (reference_session, other))
    gaps = numerics.engine_gaps(rounded, plain, graph.card)
    own = numerics.compare(source.name, reference, plain, graph.card, engine_gap=gaps)
    strange = [hop.tensor for hop in own if not hop.equivalent]
    if strange:
        raise GraphError(
            f"{graph.golden}: {source.name} answers otherwise than these golden cases say, in {', '.join(strange)}. "
            "One of them was changed: take a fresh copy of the Graph folder, or export its run again"
        )
    step = f"{source.name} {TO_ARTIFACT}"
    return numerics.compare(step, reference, cases.run(session.run), graph.card, engine_gap=gaps)


# --- speed ---


@dataclass(frozen=True)
class _Speed:
    figures: tuple[LatencyFigure, ...]
    ratio: SpeedRatio | None


def _speed(session: Session, fp32: Session, precision: Precision, cases: Golden, threads: int) -> _Speed:
    inputs = cases.cases[0].inputs

    def run() -> None:
        session.run(*inputs)

    def baseline() -> None:
        fp32.run(*inputs)

    own = latency.measure(run, "quick", f"model {precision}", threads)
    if precision == "fp32":
        return _Speed((own,), None)
    before = latency.measure(baseline, "quick", "model fp32", threads)
    return _Speed((own, before), latency.ratio(baseline, run, "quick", threads))


# --- accuracy ---


def _accuracy(
    graph: Graph,
    precision: Precision,
    session: Session,
    fp32: Session,
    labelled: Cases | None,
    split: str,
    say: Say,
    progress: Progress,
) -> AccuracyReport | None:
    if labelled is not None:
        say(f"measuring accuracy on {labelled.folder.name}, {split}")
        return evaluate.measure(graph, session, fp32, labelled, split, progress=progress)
    for dataset in _evidence_of(graph):
        entry = evidence.find(
            graph.evidence, graph.sha256, evaluate.canonical(split), dataset, metadata=evaluate.given(graph.card)
        )
        if entry is not None:
            return entry.inherited(precision)
    return None


def _evidence_of(graph: Graph) -> tuple[str | None, ...]:
    """The data sets whose evidence counts: those it was trained on; where the card names none, any."""
    return graph.card.provenance.data or (None,)


def _no_evidence(graph: Graph, split: str) -> str:
    """Why accuracy is not known, and by which other split it could be judged."""
    metadata = evaluate.given(graph.card)
    entries = [
        entry
        for dataset in _evidence_of(graph)
        for entry in evidence.of(graph.evidence, graph.sha256, dataset, metadata=metadata)
    ]
    others = list(dict.fromkeys(entry.split for entry in entries if not evidence.touches_test(entry.split)))
    hint = f" (there is on {', '.join(others)}: --split {others[-1]} judges by it)" if others else ""
    return f"no data was given and there is no evidence for this graph on {evaluate.canonical(split)}{hint}"
