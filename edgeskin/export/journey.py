"""The journey: Graph → artifact → measurements → verdict → bundle, in one call."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeskin import files, optional, shipped, targets
from edgeskin.benchmarks import accuracy, device, evidence, gate, latency, memory, numerics, report
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.gate import Gate, Verdict
from edgeskin.benchmarks.measurements import (
    TO_ARTIFACT,
    AccuracyReport,
    LatencyFigure,
    Measurements,
    NumericsHop,
    PlacementFigure,
    SpeedRatio,
)
from edgeskin.benchmarks.report import Report
from edgeskin.contract import bundle
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.findings import decode
from edgeskin.contract.image import letterbox, read_photo
from edgeskin.data.cases import Case, Cases, read_cases
from edgeskin.errors import DataError, GraphError, TargetError
from edgeskin.export import golden
from edgeskin.export.golden import Golden
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Artifact, Precision, Session, Target
from edgeskin.targets.onnx import reference_session

Say = Callable[[str], None]
GRAPH_IN_RUN = "graph"
"""The folder of a run that holds its Graph."""


@dataclass(frozen=True)
class Exported:
    """A finished bundle and how it was judged."""

    folder: Path
    verdict: Verdict
    graph: Graph


def find_graph(source: Path | None, say: Say = lambda _: None) -> Graph:
    """The Graph folder that a path means: itself, that of a run (made if need be), or the shipped release for None.

    Raises: GraphError where `source` is neither; RunError for a run that cannot be exported; MissingDependencyError where
    a run is given and torch is not installed.
    """
    folder = shipped.default_release() if source is None else source
    if (folder / "model.json").is_file():
        return Graph.open(folder)
    if not (folder / "run.json").is_file():
        raise GraphError(f"{folder}: neither a run (run.json) nor a Graph folder (model.json, fp32.onnx, int8.onnx)")
    stamp = folder / GRAPH_IN_RUN / "run.sha256"
    run_hash = files.sha256(folder / "run.json")
    if stamp.is_file() and stamp.read_text() == run_hash:
        return Graph.open(folder / GRAPH_IN_RUN)
    for module in ("torch", "torchao", "safetensors", "onnxscript"):
        optional.require(module)
    from edgeskin.export.from_run import graph_from_run

    say(f"tracing {folder}: fp32.onnx, int8.onnx, golden cases")
    graph = graph_from_run(folder, folder / GRAPH_IN_RUN)
    files.write_text(stamp, run_hash)
    return graph


def export(
    graph: Graph,
    profile: Profile,
    out: Path,
    *,
    precision: Precision,
    rules: Gate,
    data: Path | None = None,
    split: str | None = None,
    say: Say = lambda _: None,
) -> Exported:
    """Build, measure and judge one bundle, and put it in the place of `out`.

    data: a data folder on whose `split` (by default the profile's) accuracy is measured; without it accuracy rests on the Graph's evidence, where
    the profile accepts that. A bundle that failed or is pending is complete all the same; its report says so.

    Raises: TargetError where the target is missing here or has no such precision; DataError, GraphError. A bundle that
    stood at `out` is untouched then.
    """
    target = _target(profile, precision)
    cases = golden.read(graph.golden, graph.card)
    changed = cases.changed_inputs()
    if changed:
        raise GraphError(
            f"{graph.golden}: this machine turns {len(changed)} golden photos ({changed[0]}…) into other bytes than stored"
        )
    with files.new_folder(out) as building:
        say(f"building {target.name} {precision}")
        artifact = target.build(graph, precision, building)
        shutil.copyfile(graph.folder / "model.json", building / "model.json")
        shutil.copytree(graph.golden, building / "golden")
        bundle.write_labels(building, graph.card)
        measured = measure(
            graph, target, artifact, cases, profile.threads, data=data, split=split or profile.split, say=say
        )
        verdict = gate.judge(
            measured,
            rules,
            graph.card,
            artifact.precision,
            may_be_pending=profile.may_be_pending,
            accept_inherited=profile.accept_inherited,
        )
        report.write(building, _report(graph, artifact, measured, verdict, profile, out))
        bundle.write_manifest(
            building,
            target=target.name,
            precision=artifact.precision,
            artifact=artifact.path.name,
            graph_sha256=graph.sha256,
        )
    return Exported(out, verdict, graph)


def _target(profile: Profile, precision: Precision) -> Target:
    target = targets.get(profile.target)
    if precision not in target.precisions:
        raise TargetError(f"{target.name}: no {precision}. It builds {', '.join(sorted(target.precisions))}")
    sentence = target.missing()
    if sentence is not None:
        raise TargetError(f"{target.name} cannot be built here: {sentence}")
    return target


def measure(
    graph: Graph,
    target: Target,
    artifact: Artifact,
    cases: Golden,
    threads: int,
    *,
    data: Path | None,
    split: str,
    say: Say,
) -> Measurements:
    """Everything this machine can measure of an artifact, quickly."""
    say("comparing on golden cases")
    session = target.open(artifact, threads=threads)
    with _baseline(graph, target, threads) as fp32:
        hops = (*_chain(graph), *_last_hop(graph, session, cases, artifact))
        say("measuring speed and memory")
        figures, speed = _speed(session, fp32, artifact, cases, threads)
        used = memory.measure(artifact, graph.card.size, threads=threads)
        return Measurements(
            accuracy=_accuracy(graph, artifact.precision, session, fp32, data, split, say),
            numerics=hops,
            latency=figures,
            speed=speed,
            size_mib=_size_mib(artifact.path),
            memory=used if isinstance(used, memory.MemoryFigure) else None,
            placement=PlacementFigure.of(session.placement()),
            device=device.facts(),
        )


@contextmanager
def _baseline(graph: Graph, target: Target, threads: int) -> Iterator[Session]:
    """The float network on the same engine: what speed and accuracy are compared with."""
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
        yield target.open(target.build(graph, "fp32", Path(folder)), threads=threads)


def _chain(graph: Graph) -> tuple[NumericsHop, ...]:
    """The hops that needed torch, measured when the run was traced."""
    path = graph.folder / "chain.json"
    try:
        return tuple(NumericsHop.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise GraphError(f"{path}: cannot be read: {error}. Export the run again") from error


def _last_hop(graph: Graph, session: Session, cases: Golden, artifact: Artifact) -> tuple[NumericsHop, ...]:
    """The artifact against the file it was built from, both on the golden inputs."""
    quantized = artifact.precision == "int8"
    reference = cases.int8_outputs if quantized else cases.float_outputs
    source = graph.int8 if quantized else graph.fp32
    plain, optimised = (cases.run(reference_session(source, plain=plain).run) for plain in (True, False))
    gaps = numerics.engine_gaps(optimised, plain)
    return numerics.compare(
        f"{'int8' if quantized else 'fp32'}.onnx {TO_ARTIFACT}",
        reference,
        cases.run(session.run),
        graph.card,
        engine_gap=gaps,
    )


def _speed(
    session: Session, fp32: Session, artifact: Artifact, cases: Golden, threads: int
) -> tuple[tuple[LatencyFigure, ...], SpeedRatio | None]:
    image = np.ascontiguousarray(cases.cases[0].image[None])

    def run() -> None:
        session.run(image)

    def baseline() -> None:
        fp32.run(image)

    figures = [latency.measure(run, "quick", f"model {artifact.precision}", threads)]
    if artifact.precision == "fp32":
        return tuple(figures), None
    figures.append(latency.measure(baseline, "quick", "model fp32", threads))
    return tuple(figures), latency.ratio(baseline, run, "quick", threads)


def _accuracy(
    graph: Graph, precision: Precision, session: Session, fp32: Session, data: Path | None, split: str, say: Say
) -> AccuracyReport | None:
    if data is not None:
        say(f"measuring accuracy on {data.name}, {split}")
        return measure_accuracy(graph, session, fp32, data, split)
    entries = [entry for entry in evidence.read(graph.evidence) if entry.graph_sha256 == graph.sha256]
    fitting = [entry for entry in entries if entry.split == split]
    return fitting[-1].inherited(precision) if fitting else None


def measure_accuracy(graph: Graph, session: Session, fp32: Session, data: Path, split: str) -> AccuracyReport:
    """Accuracy of an artifact and of the float network on the same images of one split, or of several (`select+val`)."""
    folder = read_cases(data)
    chosen = cases_of(graph, folder, split)
    in_float, in_int8 = (accuracy.predict(one, graph.card, chosen, workers=2) for one in (fp32, session))
    return accuracy.measure(in_float, in_int8, chosen, graph.card, layout=folder.layout, split=split)


def cases_of(graph: Graph, folder: Cases, split: str) -> tuple[Case, ...]:
    """The cases of a split, or of several joined by `+`; `select` is what training held out, by the model card's list.

    Raises: DataError for an unknown split, or where the folder does not hold the network's `select` images.
    """
    chosen: list[Case] = []
    for name in split.split("+"):
        if name != "select":
            chosen.extend(folder.split(name))
            continue
        held_out = set(graph.card.provenance.select_ids)
        found = [case for case in folder.cases if case.image_id in held_out]
        if not held_out or len(found) != len(held_out):
            raise DataError(
                f"{folder.folder}: holds {len(found)} of the {len(held_out)} images that {graph.card.name} kept as select. "
                "Give the data set it was trained on, or another --split"
            )
        chosen.extend(found)
    return tuple(chosen)


def evaluate(
    graph: Graph, data: Path, split: str, *, target: str = "onnx", record: bool = True, say: Say = lambda _: None
) -> AccuracyReport:
    """Measure float and int8 on one split, and append it to the Graph's evidence.

    Raises: EdgeskinError where the test split was measured before with this Graph.
    """
    folder = read_cases(data)
    if record:
        evidence.refuse_second_test(graph.evidence, graph.sha256, folder.layout.name, split)
    builder = targets.get(target)
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as temporary, _baseline(graph, builder, 1) as fp32:
        session = builder.open(builder.build(graph, "int8", Path(temporary)))
        say(f"{data.name}, {split}: {len(cases_of(graph, folder, split))} images, float and int8")
        figures = measure_accuracy(graph, session, fp32, data, split)
    if record:
        evidence.append(graph.evidence, EvidenceEntry.of(figures, graph.sha256, device.engine_versions()))
    return figures


def _size_mib(path: Path) -> float:
    parts: Sequence[Path] = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(part.stat().st_size for part in parts) / 2**20


def _report(
    graph: Graph, artifact: Artifact, measured: Measurements, verdict: Verdict, profile: Profile, out: Path
) -> Report:
    notes = [note for note in (device.machine().saturation, *map(latency.warning, measured.latency)) if note]
    return Report(
        name=graph.card.name,
        version=graph.card.version,
        target=artifact.target,
        precision=artifact.precision,
        artifact=artifact.path.name,
        artifact_sha256=files.sha256(artifact.path),
        graph_sha256=graph.sha256,
        profile=profile.name,
        gate=profile.gate,
        measurements=measured,
        verdict=verdict,
        cautions=(*notes, graph.card.intended_use, *graph.card.provenance.notes),
        next_commands=(
            ("Predict", f"edgeskin predict PHOTO --bundle {out}"),
            ("Benchmark", f"edgeskin benchmark {out}"),
            ("Verify", f"edgeskin verify {out}"),
        ),
    )


def benchmark(folder: Path, threads: int, mode: latency.Mode) -> Measurements:
    """Speed and memory of a finished bundle: the network alone, and from photo to findings.

    Raises: BundleError, TargetError.
    """
    opened = Bundle.open(folder)
    manifest = opened.manifest
    artifact = Artifact(opened.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
    cases = golden.read(opened.golden, opened.card)
    session = targets.get(manifest.target).open(artifact, threads=threads)
    image = np.ascontiguousarray(cases.cases[0].image[None])

    def model() -> None:
        session.run(image)

    def whole() -> None:
        picture, box = letterbox(read_photo(cases.cases[0].photo), opened.card.size)
        answers = session.run(picture[None])
        decode({name: values[0] for name, values in answers.items()}, opened.card, box, cases.cases[0].photo.name)

    used = memory.measure(artifact, opened.card.size, threads=threads)
    return Measurements(
        latency=(
            latency.measure(model, mode, f"model {artifact.precision}", threads),
            latency.measure(whole, mode, "photo to findings", threads),
        ),
        size_mib=_size_mib(artifact.path),
        memory=used if isinstance(used, memory.MemoryFigure) else None,
        placement=PlacementFigure.of(session.placement()),
        device=device.facts(),
    )
