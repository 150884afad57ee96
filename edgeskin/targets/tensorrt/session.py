"""A network in TensorRT, on the GPU of this machine."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeskin.contract.model import ModelCard
from edgeskin.graph.ir import Network
from edgeskin.targets.base import IMAGE, Effort, Float32, Inputs, Placement, Times, UInt8
from edgeskin.targets.tensorrt import placement
from edgeskin.targets.tensorrt.runtime import Built, Runtime
from edgeskin.targets.tensorrt.runtime.inputs import input_shapes


class TensorrtSession:
    """An engine that was built for this very machine.

    network: gives the one that it was built from. It is asked for placement alone, so that what reads it takes no
    memory of a process that only runs the engine.

    Raises: TargetError where TensorRT refuses the engine.
    """

    def __init__(self, runtime: Runtime, built: Built, card: ModelCard, network: Callable[[], Network]) -> None:
        self.path: Path = built.engine
        self._layers = built.layers
        self._network = network
        self._where = f"{runtime.name}, {runtime.gpu.name}"
        self._width = None if card.metadata is None else card.metadata.width
        self._inputs = Inputs(str(built.engine), input_shapes(card)[IMAGE], self._width)
        self._loaded = runtime.load(built.engine, card)

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`; None where the network takes the image alone."""
        return self._width

    @property
    def device_mib(self) -> float | None:
        """The GPU memory that the engine takes, None where nobody tells."""
        return self._loaded.device_mib

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        Raises: TargetError as `Session` says, and for GPU memory that is not there.
        """
        self._inputs.demand(image, metadata)
        return self._loaded.run(image, metadata)

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        """Run one batch again and again, timed by TensorRT. Raises: TargetError as `run`."""
        self._inputs.demand(image, metadata)
        return self._loaded.times(image, metadata, effort)

    def placement(self) -> Placement:
        """Read from what TensorRT wrote of the engine's layers when it built it."""
        return placement.of(self._layers, self._network(), self._where)
