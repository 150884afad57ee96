"""onnxruntime on a CPU: the exact uint8 twin of int8.onnx, and the reference engine for everybody."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeskin import optional
from edgeskin.errors import TargetError
from edgeskin.graph import conformity
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network, Node
from edgeskin.graph.load import load
from edgeskin.graph.read import read
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import (
    CPU,
    IMAGE,
    METADATA,
    Artifact,
    Compute,
    Float32,
    Inputs,
    Placement,
    Precision,
    Reader,
    UInt8,
    demand_precision,
    demand_processor,
    facts,
)
from edgeskin.targets.executed import ExecutedSession

if TYPE_CHECKING:
    import onnx
    import onnxruntime

PROVIDER = "CPUExecutionProvider"
FILE = "model.onnx"
_QUANTIZES_FLOAT_WEIGHTS = "WeightBiasQuantization"
"""An optimiser of onnxruntime that turns float weights between quantized tensors into int8 of its own making: it would
undo every layer kept in float. Weights and biases that are to be integers are integers in our file."""


@dataclass(frozen=True)
class OnnxTarget:
    """Builds `model.onnx` and runs it in onnxruntime."""

    name: str = "onnx"
    precisions: frozenset[Precision] = frozenset({"int8", "fp32"})
    runs_on: str = "any machine with onnxruntime"
    reader: Reader = "graph"
    one_at_a_time: bool = False
    own_threads: str | None = None
    beside_others: bool = False

    def missing(self) -> str | None:
        """One sentence why it cannot build or run here, or None."""
        return optional.missing("onnx", "onnxruntime")

    def refused(self) -> None:
        """Nothing is passed over."""

    def here(self) -> None:
        """Every machine that builds shows the same."""

    def computes(self, precision: Precision) -> Compute:  # noqa: ARG002  (whatever the precision)
        """float32."""
        return "float32"

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Write `model.onnx` into `folder`: int8 as the uint8 twin, fp32 as it is, each with the model card inside.

        Raises: TargetError for another precision; ContractError where the graph breaks the QAT contract.
        """
        path = folder / FILE
        write_onnx(self.holds(graph, precision), path, activations="uint8", metadata=_metadata(graph, precision))
        return Artifact(path, self.name, precision, graph.sha256)

    def holds(self, graph: Graph, precision: Precision) -> Network:
        """The network of that precision, held against the contract. Raises: TargetError, ContractError as `build`."""
        demand_precision(self, precision)
        return conformity.integer_network(graph) if precision == "int8" else conformity.float_network(graph)

    def processors(self) -> tuple[str, ...]:
        """The CPU, wherever onnxruntime is."""
        return (CPU,) if self.missing() is None else ()

    def open(
        self, artifact: Artifact, *, threads: int = 1, processor: str | None = None, plain: bool = False
    ) -> "OnnxSession":
        """Load the artifact into onnxruntime; see `OnnxSession`."""
        demand_processor(self, processor)
        return OnnxSession(artifact.path, threads=threads, plain=plain)

    def execute(self, artifact: Artifact) -> ExecutedSession:
        """Run the network that the saved file holds in the executor."""
        return ExecutedSession(artifact.path, self.read(artifact))

    def read(self, artifact: Artifact) -> Network:
        """Parse the saved file back; the uint8 twin gives the network it was written from."""
        return read(artifact.path)


def _metadata(graph: Graph, precision: Precision) -> Mapping[str, str]:
    card = graph.card
    return facts(graph, precision) | {"edgeskin.intended_use": card.intended_use, "edgeskin.licence": card.licence}


def reference_session(path: Path, *, threads: int = 1) -> "OnnxSession":
    """Any ONNX file of ours in the reference engine: onnxruntime, every operator as written."""
    return OnnxSession(path, threads=threads, plain=True)


def optimised_session(path: Path, *, threads: int = 1) -> "OnnxSession":
    """Any ONNX file of ours as onnxruntime runs it at its fastest: through the uint8 twin, in integer kernels.

    What it answers beside the reference is onnxruntime's own gap: the measure of how far single roundings carry.
    """
    with tempfile.TemporaryDirectory() as folder:
        twin = Path(folder) / FILE
        write_onnx(read(path), twin, activations="uint8")
        return OnnxSession(twin, threads=threads)


class OnnxSession:
    """An ONNX file in onnxruntime, on the CPU.

    threads: within an operator. plain: every operator as written (ORT_DISABLE_ALL), the reference engine; otherwise
    optimised, with integer kernels where the file is quantized.

    Raises: GraphError for a file that is not ONNX; TargetError where onnxruntime cannot run it on its CPU provider.
    """

    def __init__(self, path: Path, *, threads: int = 1, plain: bool = False) -> None:
        load(path)
        self.path = path
        self._threads = threads
        self._plain = plain
        self._session = self._start()
        inputs = {given.name: given for given in self._session.get_inputs()}
        image, metadata = inputs.pop(IMAGE, None), inputs.pop(METADATA, None)
        width = None if metadata is None else metadata.shape[-1]
        if image is None or inputs or not isinstance(width, int | None):
            found = ", ".join(f"{given.name} {given.shape}" for given in self._session.get_inputs())
            raise TargetError(
                f"{path}: its inputs are {found}; a network takes {IMAGE} [N, 3, S, S], and perhaps {METADATA} [N, M]"
            )
        self._inputs = Inputs(str(path), tuple(image.shape[1:]), width)
        self._outputs = tuple(output.name for output in self._session.get_outputs())

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`, read from the file; None where the network takes the image alone."""
        return self._inputs.metadata_width

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        Raises: TargetError for an input of another shape or type, for metadata that is missing or not taken.
        """
        self._inputs.demand(image, metadata)
        feeds: dict[str, UInt8 | Float32] = {IMAGE: image}
        if metadata is not None:
            feeds[METADATA] = metadata
        return dict(zip(self._outputs, self._session.run(None, feeds), strict=True))

    def placement(self) -> Placement:
        """Read from the graph that onnxruntime really runs, which it saves after optimising."""
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "optimised.onnx"
            session = self._start(saved)
            optimised = load(saved)
        convolutions = [node.op_type for node in optimised.graph.node if "Conv" in node.op_type]
        return Placement(
            provider=session.get_providers()[0],
            convolutions=len(convolutions),
            integer_convolutions=sum(kind.startswith("QLinear") or "Integer" in kind for kind in convolutions),
            float_operators=tuple(dict.fromkeys(_left_in_float(read(self.path), optimised))),
        )

    def _start(self, save_optimised: Path | None = None) -> "onnxruntime.InferenceSession":
        runtime = optional.require("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.x64quantprecision", "0" if sums_bytes_exactly(cpu_flags()) else "1")
        if self._plain:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if save_optimised is not None:
            options.optimized_model_filepath = str(save_optimised)
        errors = runtime.capi.onnxruntime_pybind11_state
        try:
            session = runtime.InferenceSession(
                str(self.path), options, providers=[PROVIDER], disabled_optimizers=[_QUANTIZES_FLOAT_WEIGHTS]
            )
        except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as error:
            raise TargetError(f"{self.path}: onnxruntime {runtime.__version__} cannot run it: {error}") from error
        if session.get_providers()[0] != PROVIDER:
            raise TargetError(f"{self.path}: onnxruntime runs it on {session.get_providers()[0]}, not on {PROVIDER}")
        return session


# --- where operators run ---

_MOVES = {"Gather", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast"}
_TO_INTEGERS = {"QuantizeLinear", "Shape"}


def _left_in_float(network: Network, optimised: "onnx.ModelProto") -> Iterator[str]:
    """Names of the nodes that `network` quantizes and the optimised graph computes in float32.

    onnxruntime keeps our node names, with endings of its own; a float operator that is nobody's keeps its own name.
    """
    quantized = {node.name: is_integer(network, node) for node in network.nodes}
    if not any(quantized.values()):
        return
    for node in _float_nodes(optimised):
        owners = [name for name in quantized if node.name == name or node.name.startswith(f"{name}_")]
        owner = max(owners, key=len, default=None)
        if owner is None or quantized[owner]:
            yield owner or node.name or node.op_type


def is_integer(network: Network, node: Node) -> bool:
    """Whether a network quantizes a node: all that it reads and writes, biases aside."""
    tensors = (*network.operands(node), network.result(node))
    return all(tensor.quantization is not None for tensor in tensors if tensor.data is None or tensor.data.ndim > 1)


def _float_nodes(model: "onnx.ModelProto") -> "Iterator[onnx.NodeProto]":
    """The nodes that compute on float32: Q and DQ change the type, any other operator keeps that of its first input."""
    floating = {info.name for info in model.graph.input if info.type.tensor_type.elem_type == 1}
    for node in model.graph.node:
        reads_float = bool(node.input) and node.input[0] in floating
        if node.op_type == "DequantizeLinear" or (reads_float and node.op_type not in _TO_INTEGERS):
            floating.update(node.output)
        if reads_float and node.op_type not in _MOVES | _TO_INTEGERS:
            yield node


# --- what the CPU can do ---


@cache
def cpu_flags() -> frozenset[str]:
    """The feature flags that Linux reports for the CPU; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.partition(":")[2].split())


def sums_bytes_exactly(flags: frozenset[str]) -> bool:
    """Whether the CPU adds products of uint8 and int8 without saturating in between (VNNI).

    Where it does not, or nobody knows, onnxruntime must be told to widen its sums (`session.x64quantprecision`). Where
    it does, that setting changes no bit and cost 6.2 ms instead of 2.5 ms on MobileNetV2 at 192² (onnxruntime 1.31,
    AVX512-VNNI), so it stays off.
    """
    return not flags.isdisjoint({"avx512_vnni", "avx_vnni"})
