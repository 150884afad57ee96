"""Where a bundle diverges: every tensor compared along the chain of forms, and the first that is something else named.

The forms that training had → int8.onnx, with fp32.onnx beside it → the artifact's saved bytes → each engine of this
machine. From a bundle alone it begins with the answers of its golden cases; the rest of the chain needs the run or
Graph folder that the bundle came from.

step: what is found, as values. compare, differences: two forms beside each other. engines: their tensors. picture.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from edgeskin import files, optional, targets
from edgeskin.benchmarks import report
from edgeskin.benchmarks.measurements import NumericsHop
from edgeskin.benchmarks.report import Report
from edgeskin.contract.bundle import Bundle
from edgeskin.errors import BundleError, GraphError
from edgeskin.export import golden, reference
from edgeskin.export.debug import compare
from edgeskin.export.debug.engines import engines_of
from edgeskin.export.debug.picture import to_svg
from edgeskin.export.debug.step import Diagnosis, Divergence, Step, TensorError
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.golden import Golden
from edgeskin.export.measure import Here
from edgeskin.export.reference import Reference
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import weights_only
from edgeskin.targets.base import Artifact, Precision, Runnable, Target, elsewhere
from edgeskin.targets.executed import ExecutedSession

__all__ = ["CASES", "Diagnosis", "Divergence", "Step", "TensorError", "debug"]

CASES = 4
"""How many golden cases are shown to every form, unless more are asked for."""


def debug(
    folder: Path,
    *,
    graph: Graph | None = None,
    run: Path | None = None,
    cases: int = CASES,
    picture: Path | None = None,
    say: Say = silent,
) -> Diagnosis:
    """Compare a bundle's artifact with itself in every engine of this machine, and with the Graph it was built from.

    graph: that Graph; without it a difference between int8.onnx and the saved bytes is seen in the outputs alone.
    run: the run that the Graph was traced from, whose forms in torch are compared too.
    cases: in how many of the golden cases tensors are compared, spread over all of them.
    picture: where the error by depth is drawn as SVG. The bundle stays as it is.

    Raises: BundleError where the bundle was changed, or was built from another graph; GraphError where the artifact
    cannot be read back; TargetError where an engine refuses it.
    """
    if picture is not None and picture.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{picture}: lies in the bundle, and a bundle stays as it is. Put the picture elsewhere")
    opened = Bundle.intact(folder)
    manifest, written = opened.manifest, Report.read(folder / report.JSON_NAME)
    if graph is not None and graph.sha256 != manifest.graph_sha256:
        raise BundleError(f"{folder}: was not built from {graph.folder}. Give the run or Graph folder it came from")
    target = targets.get(manifest.target)
    artifact = Artifact(opened.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
    stored = golden.read(opened.golden, opened.card)
    held = reference.of_bundle(opened, written.measurements, stored)
    some = _some(stored, cases)
    half = _is_half(target, artifact, written)
    network, file = target.read(artifact), artifact.path.name
    if set(network.outputs) != {head.name for head in opened.card.heads}:
        heads = ", ".join(head.name for head in opened.card.heads)
        raise GraphError(f"{artifact.path}: answers {', '.join(network.outputs)}, but its model.json names {heads}")
    steps = list[Step]()
    if graph is None:
        say(f"rounding the activations of {file} one by one")
        steps += _rounding(file, network, artifact.precision, some)
    else:
        say(f"comparing {file} with {graph.folder}")
        steps += _from_graph(graph, run, artifact.precision, some)
        before = target.holds(graph, artifact.precision)
        steps.append(compare.networks(f"{held.name} → {file}", before, network, some, judged=True, half=half))
    for engine in engines_of(target, artifact, network):
        say(f"comparing every tensor in {engine.name}")
        steps.append(compare.with_engine(f"{file} → {engine.name}", network, engine, some, half=half))
    say("comparing the outputs of all golden cases")
    here = Here.open(target, artifact, threads=1)
    if not here.sessions or here.simulated:
        own = ExecutedSession(artifact.path, network, half=half)
        steps.append(_whole(held, own, stored, "", _NO_ENGINE, *([] if graph else [_NO_GRAPH])))
    else:
        for label, session in here.labels.items():
            steps.append(_whole(held, session, stored, label, *([] if graph else [_NO_GRAPH])))
    found = Diagnosis(
        bundle=str(folder),
        target=target.name,
        precision=artifact.precision,
        cases=tuple(case.name for case in some.cases),
        steps=tuple(steps),
        not_compared=elsewhere(target, "debug", folder) if not here.sessions or here.simulated else None,
    )
    if picture is not None:
        files.write_text(picture, to_svg(found))
    return found


_NO_GRAPH = "a bundle holds no other form of its network: with --from RUN or GRAPH every tensor is compared"
_NO_ENGINE = "by edgeskin's executor, from the saved bytes"


def _some(cases: Golden, count: int) -> Golden:
    """So many cases, spread over all of them."""
    total = len(cases.cases)
    chosen = [place * total // min(count, total) for place in range(min(count, total))]
    of_float, of_int8 = (
        {name: values[chosen] for name, values in side.items()} for side in (cases.float_outputs, cases.int8_outputs)
    )
    return Golden(cases.card, tuple(cases.cases[place] for place in chosen), of_float, of_int8)


def _is_half(target: Target, artifact: Artifact, written: Report) -> bool:
    """Whether the artifact computes in float16 between its operators."""
    if artifact.precision == "int8":
        return written.form == "int8-float16"
    return target.computes(artifact.precision) == "float16"


def _rounding(name: str, network: Network, precision: Precision, cases: Golden) -> Iterator[Step]:
    """What rounding the activations of an int8 network costs, each node alone and all together."""
    if precision == "int8":
        note = ("the same weights: what rounding the activations alone costs",)
        yield compare.networks(
            f"{name} without activations rounded → {name}",
            weights_only(network),
            network,
            cases,
            judged=False,
            notes=note,
        )


def _whole(held: Reference, artifact: Runnable, cases: Golden, label: str, *notes: str) -> Step:
    """The whole chain by its ends, as the gate judges it."""
    hops = held.compare(artifact.run, cases, label=label)
    return Step(name=hops[0].name, judged=True, outputs=hops, notes=notes)


def _from_graph(graph: Graph, run: Path | None, precision: Precision, cases: Golden) -> Iterator[Step]:
    """The chain up to int8.onnx; a float artifact comes from fp32.onnx alone."""
    if precision != "int8":
        return
    fp32, int8 = read(graph.fp32), read(graph.int8)
    yield from _traced(graph, run, int8, cases)
    note = ("shown, not judged: int8.onnx was trained further, so its weights are others too",)
    yield compare.networks(f"{graph.fp32.name} → {graph.int8.name}", fp32, int8, cases, judged=False, notes=note)
    yield from _rounding(graph.int8.name, int8, precision, cases)


def _traced(graph: Graph, run: Path | None, int8: Network, cases: Golden) -> Iterator[Step]:
    """The steps that need torch: their outputs as they were measured when the run was traced, their tensors now.

    Raises: GraphError, RunError.
    """
    path = graph.folder / "chain.json"
    if not path.exists():
        return
    try:
        hops = [NumericsHop.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise GraphError(f"{path}: cannot be read: {error}. Export the run again") from error
    notes = ["outputs as they were measured when the run was traced"]
    tensors: Mapping[str, tuple[TensorError, ...]] = {}
    absent = optional.missing("torch", "torchao", "safetensors", "onnxscript")
    if run is None:
        notes.append("its tensors are compared from the run itself: --from RUN")
    elif absent is not None:
        notes.append(f"its tensors are compared in torch: {absent}")
    else:
        from edgeskin.export.debug import in_torch

        tensors = in_torch.tensors_of(in_torch.forms_of(run), int8, cases)
    for name, group in groupby(hops, key=lambda hop: hop.name):
        outputs, rows = tuple(group), tensors.get(name, ())
        judged = any(hop.equivalent is not None for hop in outputs)
        hidden = sum(row.carried is None for row in rows)
        unseen = [f"{hidden} of {len(rows)} tensors are not quantized apart in torch"] if hidden else []
        yield Step(name=name, judged=judged, tensors=rows, outputs=outputs, notes=(*notes, *unseen))
