"""Core ML for iOS: the scales that training learned are the scales in the package; nothing is calibrated.

lower: network → program of MIL. convert, describe, package, note: program → files. parse, lift: both ways back.
engine, session: run it, on macOS. inspect: show anybody's.
"""

from dataclasses import dataclass
from pathlib import Path

from edgeskin import optional
from edgeskin.errors import GraphError
from edgeskin.graph import conformity
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.rewrite import halve, weights_only
from edgeskin.targets.base import Artifact, Compute, Precision, Reader, demand_precision, demand_processor, facts
from edgeskin.targets.coreml import engine, note, package
from edgeskin.targets.coreml.convert import convert
from edgeskin.targets.coreml.describe import describe
from edgeskin.targets.coreml.lift import lift
from edgeskin.targets.coreml.lower import lower
from edgeskin.targets.coreml.note import Note
from edgeskin.targets.coreml.parse import parse
from edgeskin.targets.coreml.program import Program
from edgeskin.targets.coreml.session import CoremlSession
from edgeskin.targets.executed import ExecutedSession

FILE = "model.mlpackage"


@dataclass(frozen=True)
class CoremlTarget:
    """Builds `model.mlpackage` for iOS 17 and macOS 14, and runs it on macOS.

    compute: what an int8 program computes in between its integers: float16 for every processor of a phone, float32 for
    all but the neural engine, where the integers are those of the executor. None is float16. Other precisions have
    their own. Source: coremltools' guide, Typed Execution.
    """

    name: str = "coreml"
    compute: Compute | None = None
    runs_on: str = "a Mac"
    reader: Reader = "graph"
    one_at_a_time: bool = True
    own_threads: str | None = "Core ML"
    beside_others: bool = False

    @property
    def precisions(self) -> frozenset[Precision]:
        """What it builds; only with integers there is a choice of floats."""
        return frozenset({"int8"}) if self.compute is not None else frozenset({"int8", "w8a16", "fp16", "fp32"})

    def missing(self) -> str | None:
        """One sentence why it cannot build here, or None."""
        return optional.missing("onnx", "coremltools")

    def refused(self) -> None:
        """Nothing is passed over."""

    def here(self) -> None:
        """Every machine that builds shows the same."""

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Write `model.mlpackage` into `folder`.

        Raises: TargetError for another precision, for what the format cannot hold; ContractError where the graph breaks
        the QAT contract.
        """
        network = self._network(graph, precision)
        compute = self.computes(precision)
        lowered = lower(network, half=compute == "float16")
        written = Note(graph.sha256, precision, compute, lowered.nodes, lowered.tensors)
        specification, weights = convert(lowered.program, network)
        describe(specification, graph.card, {note.ENTRY: written.write(), **facts(graph, precision)})
        path = folder / FILE
        package.write(path, specification.SerializeToString(deterministic=True), weights)
        return Artifact(path, self.name, precision, graph.sha256)

    def holds(self, graph: Graph, precision: Precision) -> Network:
        """The network of that precision, held against the contract; in float16 its floats are rounded so.

        Raises: TargetError, ContractError as `build`.
        """
        network = self._network(graph, precision)
        return halve(network) if self.computes(precision) == "float16" else network

    def _network(self, graph: Graph, precision: Precision) -> Network:
        demand_precision(self, precision)
        if precision in ("int8", "w8a16"):
            network = conformity.integer_network(graph)
            return network if precision == "int8" else weights_only(network)
        return conformity.float_network(graph)

    def computes(self, precision: Precision) -> Compute:
        """float16 for every processor, float32 for all but the neural engine."""
        if precision == "int8":
            return self.compute or "float16"
        return "float32" if precision == "fp32" else "float16"

    def processors(self) -> tuple[str, ...]:
        """All that Core ML can use together, then each; nothing but Apple's systems runs it."""
        return engine.processors()

    def open(
        self,
        artifact: Artifact,
        *,
        threads: int = 1,  # noqa: ARG002  (Core ML chooses its own)
        processor: str | None = None,
    ) -> CoremlSession:
        """Load the artifact into Core ML; see `CoremlSession`."""
        demand_processor(self, processor)
        program, _ = _read(artifact)
        return CoremlSession(artifact.path, program, processor or engine.ALL)

    def execute(self, artifact: Artifact) -> ExecutedSession:
        """Run the network that the saved package holds in the executor, in the package's float."""
        program, written = _read(artifact)
        network = _lift(artifact.path, program, written)
        return ExecutedSession(artifact.path, network, half=written.compute == "float16")

    def read(self, artifact: Artifact) -> Network:
        """Parse the saved package back into the network it computes.

        Raises: GraphError for a package that is damaged or not ours.
        """
        return _lift(artifact.path, *_read(artifact))


def _read(artifact: Artifact) -> tuple[Program, Note]:
    """A package's program and note. Raises: GraphError where it is damaged, another's, or not that artifact."""
    program = parse(artifact.path)
    try:
        written = note.of(program)
    except GraphError as error:
        raise GraphError(f"{artifact.path}: {error}") from error
    if (written.precision, written.graph_sha256) != (artifact.precision, artifact.graph_sha256):
        raise GraphError(
            f"{artifact.path}: says that it is {written.precision} of the graph {written.graph_sha256[:12]}, not "
            f"{artifact.precision} of {artifact.graph_sha256[:12]}; take a fresh copy of the bundle, or export it again"
        )
    return program, written


def _lift(path: Path, program: Program, written: Note) -> Network:
    try:
        return lift(program, written)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
