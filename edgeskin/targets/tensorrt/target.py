"""The target itself: what is built, what reads it back, what runs it here."""

import logging
from dataclasses import dataclass
from pathlib import Path

from edgeskin import optional
from edgeskin.errors import GraphError, TargetError
from edgeskin.graph import conformity, half
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve
from edgeskin.targets.base import Artifact, Compute, Precision, Reader, demand_precision, demand_processor
from edgeskin.targets.executed import ExecutedSession
from edgeskin.targets.tensorrt import ahead, cache, deploy, parser
from edgeskin.targets.tensorrt.runtime import find
from edgeskin.targets.tensorrt.session import TensorrtSession
from edgeskin.targets.tensorrt.settle import settle

FOLDER = "deploy"
"""The deploy folder, in the bundle."""
GPU = "gpu"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorrtTarget:
    """Builds a deploy folder, and runs its networks where there are an NVIDIA GPU and TensorRT.

    gpus: generations of desktop GPUs that an engine of TensorRT-RTX is built for besides, as `ahead.named` has them.
    """

    gpus: tuple[str, ...] = ()
    name: str = "tensorrt"
    precisions: frozenset[Precision] = frozenset({"int8", "fp16", "fp32"})
    runs_on: str = "a Jetson, or a machine with an NVIDIA GPU and TensorRT"
    one_at_a_time: bool = False
    own_threads: str | None = "a GPU"
    beside_others: bool = True

    @property
    def reader(self) -> Reader:
        """NVIDIA's parser, where it is installed."""
        return "graph" if parser.missing() else "parser"

    def missing(self) -> str | None:
        """One sentence why it cannot build here, or None. A GPU is not needed, an engine ahead of time needs RTX."""
        return optional.missing("onnx") or (parser.missing() if self.gpus else None)

    def refused(self) -> str | None:
        """The TensorRTs that are here and cannot be used. Raises: TargetError as `find.refused`."""
        return find.refused()

    def here(self) -> str:
        """Which of three kinds of machine this is, and what would make it the next better one; what is passed over.

        Raises: TargetError as `find.find`.
        """
        runtime, refused = find.find(), find.refused()
        if runtime is not None:
            because = f". It is used, because {refused}" if refused else ""
            return f"{runtime.name} and {runtime.gpu.name}: the engine is built, run and measured here{because}"
        return self._without_gpu() + (f". What is here cannot be used: {refused}" if refused else "")

    def _without_gpu(self) -> str:
        lacking = parser.missing()
        if lacking is None:
            return (
                "no GPU with TensorRT here: a deploy folder is made and NVIDIA's own parser reads it; what a device "
                "alone can tell stays open"
            )
        return (
            "neither a GPU with TensorRT nor NVIDIA's parser here: a deploy folder is made and held against the rules "
            f"that the parser is known to have. {lacking}, and it reads the files itself"
        )

    def computes(self, precision: Precision) -> Compute:
        """float16 at fp16, otherwise float32: what is not integers stays float32 beside int8."""
        return "float16" if precision == "fp16" else "float32"

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Make the deploy folder in `folder`; the artifact is the ONNX file of that precision in it.

        Raises: TargetError for another precision, or GPUs that no engine can be built for; ContractError where the
        graph breaks the QAT contract, or a rule of TensorRT's parser.
        """
        demand_precision(self, precision)
        made = deploy.write(graph, folder / FOLDER)
        path = made.folder / f"{precision}.onnx"
        if self.gpus:
            ahead.write(path, self.gpus)
        return Artifact(path, self.name, precision, graph.sha256)

    def holds(self, graph: Graph, precision: Precision) -> Network:
        """The network of that precision, held against the contract, in the form that a parser can give back.

        Raises: TargetError, ContractError as `build`.
        """
        demand_precision(self, precision)
        if precision == "int8":
            return settle(conformity.integer_network(graph))
        network = conformity.float_network(graph)
        return settle(halve(network) if precision == "fp16" else network)

    def processors(self) -> tuple[str, ...]:
        """The GPU, where TensorRT answers for one."""
        return () if find.find() is None else (GPU,)

    def open(self, artifact: Artifact, *, threads: int = 1, processor: str | None = None) -> TensorrtSession:  # noqa: ARG002
        """Run the network on the GPU, by an engine that was built for this very machine: found, or built now.

        Where an engine of TensorRT-RTX travels with it, that comes before the TensorRT that may be here too.

        Raises: TargetError where there is no GPU with TensorRT, or it cannot build; GraphError for a deploy folder that
        was changed.
        """
        demand_processor(self, processor)
        runtime = find.find("rtx" if ahead.read(artifact.path) is not None else None)
        if runtime is None:
            raise TargetError(f"{artifact.path}: nothing here runs it: {find.why_not()}")
        made = deploy.read(artifact.path.parent)
        built = cache.engine_for(runtime, made, artifact.precision, say=_LOG.warning)
        return TensorrtSession(runtime, built, made.graph.card, lambda: self.read(artifact))

    def execute(self, artifact: Artifact) -> ExecutedSession:
        """What the saved file holds, by NVIDIA's parser where it is installed, in the executor."""
        return ExecutedSession(artifact.path, self.read(artifact), half=self.computes(artifact.precision) == "float16")

    def read(self, artifact: Artifact) -> Network:
        """The network in every file of the artifact's precision, as NVIDIA's parser reads them; without it, that of the
        artifact alone, because our own reader knows no image of floats, which older versions get.

        Raises: GraphError for a file that is damaged or not ours, or where they hold different networks; TargetError
        where the parser refuses one.
        """
        if parser.missing():
            return settle((half.read if artifact.precision == "fp16" else read)(artifact.path))
        network = settle(parser.read(artifact.path))
        paths = deploy.files_of(artifact.path.parent, artifact.precision)
        others = [path.name for path in paths if path != artifact.path and settle(parser.read(path)) != network]
        if others:
            raise GraphError(
                f"{artifact.path.parent}: {', '.join(others)} holds another network than {artifact.path.name}. "
                "Take a fresh copy of the bundle, or export it again"
            )
        return network
