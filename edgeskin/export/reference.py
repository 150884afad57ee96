"""What an artifact must answer on the golden cases, and the unit in which it may differ.

The golden cases hold the answers of float and int8, which is what fp32, fp16 and int8 are compared with. Of w8a16 they
hold none, so its bundle carries them beside its golden cases, as `reference.npz`.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeskin.benchmarks import numerics
from edgeskin.benchmarks.measurements import TO_ARTIFACT, EngineGap, Measurements, NumericsHop
from edgeskin.benchmarks.numerics import Outputs
from edgeskin.contract.bundle import Bundle, Precision
from edgeskin.contract.second_pass import Run
from edgeskin.errors import BundleError, GraphError
from edgeskin.export import golden
from edgeskin.export.golden import Golden
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve, weights_only
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Runnable
from edgeskin.targets.onnx import halved_session, optimised_session, reference_session

FILE = "reference.npz"
"""In a bundle whose precision the golden cases know nothing of."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The answers that an artifact is held against.

    name: the network that gave them. outputs: by head, over all cases. gaps: by head, how far onnxruntime is from
    itself where it computes that network with the roundings that any engine may make at this precision.
    """

    name: str
    outputs: Outputs
    gaps: Mapping[str, EngineGap]

    def compare(self, run: Run, cases: Golden, *, label: str = "") -> tuple[NumericsHop, ...]:
        """The last hop of the chain. label: what is said of the one that runs, such as `, gpu`."""
        step = f"{self.name}{label} {TO_ARTIFACT}"
        return numerics.compare(step, self.outputs, cases.run(run), cases.card, engine_gap=self.gaps)


def of_graph(graph: Graph, cases: Golden, precision: Precision) -> Reference:
    """What an artifact of that precision must answer, by the Graph it was built from.

    Raises: GraphError where the Graph's own file, run by the reference engine, does not answer as its golden cases say.
    """
    name, plain, rounded = _engines(graph, precision)
    answers = cases.run(plain.run)
    gaps = numerics.engine_gaps(cases.run(rounded.run), answers, graph.card)
    stored = _stored(cases, precision)
    if stored is None:
        return Reference(name, answers, gaps)
    own = numerics.compare(name, stored, answers, graph.card, engine_gap=gaps)
    strange = [hop.tensor for hop in own if not hop.equivalent]
    if strange:
        raise GraphError(
            f"{graph.golden}: {name} answers otherwise than these golden cases say, in {', '.join(strange)}. "
            "One of them was changed: take a fresh copy of the Graph folder, or export its run again"
        )
    return Reference(name, stored, gaps)


def of_bundle(bundle: Bundle, measured: Measurements, cases: Golden) -> Reference:
    """What its artifact was held against when the bundle was made. measured: what its report holds.

    Raises: BundleError where it was compared with nothing; GraphError where `reference.npz` is damaged.
    """
    hops = measured.artifact_hops
    gaps = {hop.tensor: hop.engine_gap for hop in hops if hop.engine_gap is not None}
    if {head.name for head in bundle.card.heads} != set(gaps):
        raise BundleError(f"{bundle.folder}: its report compares the artifact with nothing. Export the bundle again")
    stored = _stored(cases, bundle.manifest.precision)
    if stored is None:
        stored = golden.read_outputs(bundle.folder / FILE, bundle.card, len(cases.cases))
    return Reference(hops[0].name.removesuffix(f" {TO_ARTIFACT}"), stored, gaps)


def write(folder: Path, reference: Reference, cases: Golden, precision: Precision) -> None:
    """Put the answers into a bundle, where its golden cases do not hold them."""
    if _stored(cases, precision) is None:
        golden.write_outputs(folder / FILE, reference.outputs, cases.card)


def _engines(graph: Graph, precision: Precision) -> tuple[str, Runnable, Runnable]:
    """What an artifact is compared with: its name, the reference engine, and the same with the roundings of any engine.

    Beside int8 and fp32 that is onnxruntime optimised. fp16 and w8a16 round to float16 besides, whoever computes.
    """
    match precision:
        case "int8":
            return graph.int8.name, reference_session(graph.int8), optimised_session(graph.int8)
        case "fp32":
            return graph.fp32.name, reference_session(graph.fp32), optimised_session(graph.fp32)
        case "fp16":
            return graph.fp32.name, reference_session(graph.fp32), halved_session(graph.fp32)
        case "w8a16":
            network = weights_only(read(graph.int8))
            return f"{graph.int8.name}, weights alone", _session_of(network), _session_of(halve(network))


def _session_of(network: Network) -> Runnable:
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
        path = Path(folder) / "network.onnx"
        write_onnx(network, path)
        return reference_session(path)


def _stored(cases: Golden, precision: Precision) -> Outputs | None:
    """The answers that golden cases hold for a precision."""
    if precision == "w8a16":
        return None
    return cases.int8_outputs if precision == "int8" else cases.float_outputs
