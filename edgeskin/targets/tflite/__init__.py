"""TensorFlow Lite for Android: the scales that training learned are the scales in the file; nothing is calibrated.

program: the file as data. lower, fold: network → program. serialize, metadata, note: program → bytes. parse, lift: both
ways back. session: run it. inspect: show anybody's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from edgeskin import __version__, files, optional
from edgeskin.errors import GraphError
from edgeskin.graph import conformity
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.rewrite import halve_weights
from edgeskin.targets.base import CPU, Artifact, Compute, Precision, Reader, demand_precision, demand_processor
from edgeskin.targets.executed import ExecutedSession
from edgeskin.targets.tflite import metadata, note, session
from edgeskin.targets.tflite.fold import fold
from edgeskin.targets.tflite.lift import lift
from edgeskin.targets.tflite.lower import logits_of, lower
from edgeskin.targets.tflite.parse import parse
from edgeskin.targets.tflite.serialize import serialize
from edgeskin.targets.tflite.session import TfliteSession

FILE = "model.tflite"


@dataclass(frozen=True)
class TfliteTarget:
    """Builds `model.tflite` and runs it in LiteRT or tflite-runtime.

    raw_outputs: an int8 file ends at its heads' logits, as int8, for an app to compute the rest.
    """

    name: str = "tflite"
    raw_outputs: bool = False
    runs_on: str = "any machine with LiteRT"
    reader: Reader = "graph"
    one_at_a_time: bool = True
    own_threads: str | None = None
    beside_others: bool = False

    @property
    def precisions(self) -> frozenset[Precision]:
        """What it builds; only integers have raw outputs."""
        return frozenset({"int8"}) if self.raw_outputs else frozenset({"int8", "fp16", "fp32"})

    def missing(self) -> str | None:
        """One sentence why it cannot build or run here, or None."""
        return optional.missing("onnx", "tflite", "flatbuffers") or session.missing()

    def refused(self) -> None:
        """Nothing is passed over."""

    def here(self) -> None:
        """Every machine that builds shows the same."""

    def computes(self, precision: Precision) -> Compute:  # noqa: ARG002  (whatever the precision)
        """float32: of fp16 weights alone are float16."""
        return "float32"

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Write `model.tflite` into `folder`.

        Raises: TargetError for another precision, for what the format cannot hold; ContractError where the graph breaks
        the QAT contract.
        """
        network = self.holds(graph, precision)
        program = fold(lower(network, half=precision == "fp16", raw_outputs=self.raw_outputs))
        tails = tuple(logits_of(network)) if self.raw_outputs else ()
        about = metadata.describe(graph.card, program)
        written = note.Note(graph.sha256, precision, note.owners(program.operations), tails)
        notes = {note.ENTRY: written.write(), metadata.ENTRY: about.flatbuffer()}
        raw = serialize(replace(program, notes=notes), f"edgeskin {__version__}")
        path = folder / FILE
        files.write_bytes(path, about.behind(raw))
        return Artifact(path, self.name, precision, graph.sha256)

    def holds(self, graph: Graph, precision: Precision) -> Network:
        """The network of that precision, held against the contract. Raises: TargetError, ContractError as `build`."""
        demand_precision(self, precision)
        if precision == "int8":
            return conformity.integer_network(graph)
        network = conformity.float_network(graph)
        return halve_weights(network) if precision == "fp16" else network

    def processors(self) -> tuple[str, ...]:
        """The CPU, wherever an interpreter is."""
        return (CPU,) if session.missing() is None else ()

    def open(
        self, artifact: Artifact, *, threads: int = 1, processor: str | None = None, plain: bool = False
    ) -> TfliteSession:
        """Load the artifact into an interpreter; see `TfliteSession`."""
        demand_processor(self, processor)
        return TfliteSession(artifact.path, threads=threads, plain=plain)

    def execute(self, artifact: Artifact) -> ExecutedSession:
        """Run the network that the saved file holds in the executor."""
        return ExecutedSession(artifact.path, self.read(artifact))

    def read(self, artifact: Artifact) -> Network:
        """Parse the saved file back into the network it computes.

        Raises: GraphError for a file that is damaged or not ours.
        """
        program = parse(artifact.path)
        written = note.of(program, artifact.path)
        try:
            return lift(program, written)
        except GraphError as error:
            raise GraphError(f"{artifact.path}: {error}") from error
