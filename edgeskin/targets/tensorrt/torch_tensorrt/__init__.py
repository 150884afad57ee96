"""TensorRT for those who serve from torch: the network as a program of torch, compiled by torch_tensorrt.

network: ours → a module of torch. program, reading: `model.pt2`, and back. compiling: through torch_tensorrt. session:
run it, on a GPU. The artifact is the program before it is compiled: it is for every GPU and read back on any machine.
What torch_tensorrt makes of it is for one GPU and one version of TensorRT, and is made when the artifact is opened.

Nothing of this has run on a GPU so far. What torch_tensorrt 2.13.0 makes of a program was seen with TensorRT-RTX 1.7.1
in TensorRT's place. Of the released network, in every precision: one TensorRT network and nothing left in torch, in
int8 with every scale and all weights as INT8, and TensorRT-RTX built an engine of it. Of the operators of the tests,
int8 and float: each was taken, and read back layer by layer it computed the same, but for padding, slices and resizing,
whose layers compute sizes that nothing here reads back.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeskin import optional
from edgeskin.errors import TargetError
from edgeskin.graph import conformity
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.rewrite import halve
from edgeskin.targets.base import Artifact, Compute, Precision, Reader, demand_precision, demand_processor, facts
from edgeskin.targets.executed import ExecutedSession

if TYPE_CHECKING:
    from torch import nn

    from edgeskin.targets.tensorrt.torch_tensorrt.session import TorchSession

FILE = "model.pt2"
MODULE = "torch_tensorrt"
GPU = "cuda"
"""As torch calls it."""


@dataclass(frozen=True)
class TorchTensorrtTarget:
    """Builds `model.pt2` wherever torch is, and runs it through torch_tensorrt on an NVIDIA GPU."""

    name: str = "torch-tensorrt"
    precisions: frozenset[Precision] = frozenset({"int8", "fp16", "fp32"})
    runs_on: str = "a machine with an NVIDIA GPU and torch-tensorrt"
    reader: Reader = "graph"
    one_at_a_time: bool = False
    own_threads: str | None = "a GPU"
    beside_others: bool = False

    def missing(self) -> str | None:
        """One sentence why it cannot build here, or None. A GPU is not needed."""
        return optional.missing("onnx", "torch")

    def refused(self) -> None:
        """Nothing is passed over."""

    def here(self) -> str | None:
        """Whether the network is compiled and measured here, or what is missing for that."""
        lacking = why_not()
        if lacking is None:
            return f"torch-tensorrt and {_gpu_name()}: the network is compiled, run and measured here"
        return f"the program is written and read back; what a device alone can tell stays open ({lacking})"

    def computes(self, precision: Precision) -> Compute:
        """float16 at fp16, otherwise float32: what is not integers stays float32 beside int8."""
        return "float16" if precision == "fp16" else "float32"

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Write `model.pt2` into `folder`.

        Raises: TargetError for another precision, or a node that has no form in torch; ContractError where the graph
        breaks the QAT contract; MissingDependencyError.
        """
        optional.demand("torch")
        from edgeskin.targets.tensorrt.torch_tensorrt import program

        network = self.holds(graph, precision)
        artifact = Artifact(folder / FILE, self.name, precision, graph.sha256)
        program.write(artifact.path, network, artifact, facts(graph, precision))
        return artifact

    def holds(self, graph: Graph, precision: Precision) -> Network:
        """The network of that precision, held against the contract; in fp16 its floats are rounded so.

        Raises: TargetError, ContractError as `build`.
        """
        demand_precision(self, precision)
        if precision == "int8":
            return conformity.integer_network(graph)
        network = conformity.float_network(graph)
        return halve(network) if precision == "fp16" else network

    def processors(self) -> tuple[str, ...]:
        """The GPU, where torch_tensorrt can use one."""
        return () if why_not() else ("gpu",)

    def open(self, artifact: Artifact, *, threads: int = 1, processor: str | None = None) -> "TorchSession":  # noqa: ARG002
        """Compile the program for this GPU, and run it there.

        Raises: TargetError where there is none, or it cannot be compiled; GraphError as `read`.
        """
        demand_processor(self, processor)
        lacking = why_not()
        if lacking is not None:
            raise TargetError(f"{artifact.path}: nothing here runs it: {lacking}")
        from edgeskin.targets.tensorrt.torch_tensorrt import compiling, program
        from edgeskin.targets.tensorrt.torch_tensorrt.session import TorchSession

        found, network = program.read(artifact)
        module = compiling.compiled(found, network, GPU)
        provider = f"torch_tensorrt {optional.require(MODULE).__version__} on {_gpu_name()}"
        return TorchSession(artifact.path, module, network, provider, GPU, largest_batch=compiling.LARGEST_BATCH)

    def execute(self, artifact: Artifact) -> ExecutedSession:
        """What the saved program computes, in the executor."""
        return ExecutedSession(artifact.path, self.read(artifact), half=self.computes(artifact.precision) == "float16")

    def read(self, artifact: Artifact) -> Network:
        """The network in the saved program.

        Raises: GraphError for one that is damaged, not ours, or another's; MissingDependencyError.
        """
        optional.demand("torch")
        from edgeskin.targets.tensorrt.torch_tensorrt import program

        return program.read(artifact)[1]


def why_not() -> str | None:
    """One sentence why torch_tensorrt runs nothing here, or None. Imports torch only where that is installed."""
    return optional.missing(MODULE) or _no_gpu()


def _no_gpu() -> str | None:
    torch = optional.require("torch")
    if torch.cuda.is_available():
        return None
    return (
        f"torch {torch.__version__} finds no NVIDIA GPU. Run it on a machine with one, or look at what nvidia-smi says"
    )


def _gpu_name() -> str:
    return str(optional.require("torch").cuda.get_device_name())


def compiled(artifact: Artifact) -> "nn.Module":
    """An artifact as a module to serve: image uint8 [N, 3, S, S], N up to 8, and metadata float32 [N, M] where the
    network takes it, on the GPU -> a tuple of probabilities there, in the order of the model card's heads.

    Raises: TargetError, GraphError as `TorchTensorrtTarget.open`.
    """
    return TorchTensorrtTarget().open(artifact).module


def in_torch(graph: Graph, precision: Precision, device: str) -> "TorchSession":
    """A float network as torch alone runs it, for the time that it takes.

    precision: fp32 or fp16. device: as torch calls it. Raises: TargetError where torch has no such device,
    MissingDependencyError.
    """
    torch = optional.require("torch")
    lacking = _no_gpu() if device == GPU else None
    if lacking is not None:
        raise TargetError(lacking)
    from edgeskin.targets.tensorrt.torch_tensorrt.network import NetworkModule
    from edgeskin.targets.tensorrt.torch_tensorrt.session import TorchSession

    target = TorchTensorrtTarget()
    network = target.holds(graph, precision)
    module = NetworkModule(network, half=target.computes(precision) == "float16").eval().to(device)
    return TorchSession(graph.fp32, module, network, f"torch {torch.__version__}", device)
