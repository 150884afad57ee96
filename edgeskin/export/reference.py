"""What an artifact must answer on the golden cases, and the unit in which it may differ.

The golden cases hold the answers of float and int8, which is what fp32, fp16 and int8 are compared with. Of the other
forms they hold none, so such a bundle carries them beside its golden cases, as `reference.npz`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeskin.benchmarks import numerics
from edgeskin.benchmarks.measurements import TO_ARTIFACT, EngineGap, Form, Measurements, NumericsHop
from edgeskin.benchmarks.numerics import Outputs
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.second_pass import Run
from edgeskin.errors import BundleError, GraphError
from edgeskin.export import golden
from edgeskin.export.form import network_of, session_of
from edgeskin.export.golden import Golden
from edgeskin.graph.folder import Graph
from edgeskin.graph.rewrite import halve_weights
from edgeskin.targets.base import Runnable
from edgeskin.targets.onnx import optimised_session, reference_session

FILE = "reference.npz"
"""In a bundle whose form the golden cases know nothing of."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The answers that an artifact is held against.

    name: the network that gave them. outputs: by head, over all cases. gaps: by head, how far onnxruntime is from
    itself where it computes that network with the roundings that any engine may make in this form. shown: how far these
    answers are from those of int8.onnx, where the form rounds what int8.onnx does not.
    """

    name: str
    outputs: Outputs
    gaps: Mapping[str, EngineGap]
    shown: tuple[NumericsHop, ...] = ()

    def compare(self, run: Run, cases: Golden, *, label: str = "") -> tuple[NumericsHop, ...]:
        """The last hop of the chain. label: what is said of the one that runs, such as `, gpu`."""
        step = f"{self.name}{label} {TO_ARTIFACT}"
        return numerics.compare(step, self.outputs, cases.run(run), cases.card, engine_gap=self.gaps)


def of_graph(graph: Graph, cases: Golden, form: Form) -> Reference:
    """What an artifact of that form must answer, by the Graph it was built from.

    Raises: GraphError where the Graph's own file, run by the reference engine, does not answer as its golden cases say.
    """
    match form:
        case "int8":
            return _as_stored(graph, cases, graph.int8, cases.int8_outputs, optimised_session(graph.int8))
        case "fp32":
            return _as_stored(graph, cases, graph.fp32, cases.float_outputs, optimised_session(graph.fp32))
        case "fp16":
            # float16 weights are a rounding too, and what onnxruntime makes of them is the unit.
            return _as_stored(
                graph, cases, graph.fp32, cases.float_outputs, session_of(halve_weights(network_of(graph, form)))
            )
        case "w8a16":
            network = network_of(graph, form)
            answers = cases.run(session_of(network).run)
            rounded = cases.run(session_of(network, half=True).run)
            name = f"{graph.int8.name}, weights alone"
            return Reference(name, answers, numerics.engine_gaps(rounded, answers, graph.card))
        case "int8-float16":
            answers, exact = cases.run(session_of(network_of(graph, form), half=True).run), cases.int8_outputs
            gaps = numerics.engine_gaps(answers, exact, graph.card)
            name = f"{graph.int8.name} in float16"
            step = f"{graph.int8.name} → {name}"
            shown = numerics.compare(step, exact, answers, graph.card, engine_gap=gaps)
            unjudged = tuple(hop.model_copy(update={"equivalent": None, "engine_gap": None}) for hop in shown)
            return Reference(name, answers, gaps, unjudged)


def _as_stored(graph: Graph, cases: Golden, path: Path, stored: Outputs, other: Runnable) -> Reference:
    """The answers of the golden cases, which the file itself must give. other: what its unit is measured with."""
    answers = cases.run(reference_session(path).run)
    gaps = numerics.engine_gaps(cases.run(other.run), answers, graph.card)
    own = numerics.compare(path.name, stored, answers, graph.card, engine_gap=gaps)
    strange = [hop.tensor for hop in own if not hop.equivalent]
    if strange:
        raise GraphError(
            f"{graph.golden}: {path.name} answers otherwise than these golden cases say, in {', '.join(strange)}. "
            "One of them was changed: take a fresh copy of the Graph folder, or export its run again"
        )
    return Reference(path.name, stored, gaps)


def of_bundle(bundle: Bundle, measured: Measurements, cases: Golden) -> Reference:
    """What its artifact was held against when the bundle was made. measured: what its report holds.

    Raises: BundleError where it was compared with nothing; GraphError where `reference.npz` is damaged.
    """
    hops = measured.artifact_hops
    gaps = {hop.tensor: hop.engine_gap for hop in hops if hop.engine_gap is not None}
    if {head.name for head in bundle.card.heads} != set(gaps):
        raise BundleError(f"{bundle.folder}: its report compares the artifact with nothing. Export the bundle again")
    own = bundle.folder / FILE
    stored = (
        golden.read_outputs(own, bundle.card, len(cases.cases))
        if own.exists()
        else _stored(cases, bundle.manifest.precision)
    )
    return Reference(hops[0].name.removesuffix(f" {TO_ARTIFACT}"), stored, gaps)


def write(folder: Path, reference: Reference, cases: Golden, form: Form) -> None:
    """Put the answers into a bundle, where its golden cases do not hold them."""
    if form not in _STORED:
        golden.write_outputs(folder / FILE, reference.outputs, cases.card)


_STORED: tuple[Form, ...] = ("int8", "fp32", "fp16")
"""The forms whose answers golden cases hold."""


def _stored(cases: Golden, form: Form) -> Outputs:
    return cases.int8_outputs if form == "int8" else cases.float_outputs
