"""An artifact run by our own executor, from its saved bytes: what it computes, where no engine can run it."""

from collections.abc import Mapping
from pathlib import Path

from edgeskin.graph.execute import Executor
from edgeskin.graph.ir import Network
from edgeskin.targets.base import IMAGE, METADATA, Float32, Inputs, UInt8, one_by_one


class ExecutedSession:
    """A network that was read back from an artifact, run in NumPy, picture by picture.

    path: of the artifact, for messages. half: what is float in it is float16 between operators.
    """

    def __init__(self, path: Path, network: Network, *, half: bool = False) -> None:
        self._executor = Executor(network, half=half)
        sizes = [tuple(int(size) for size in network.tensors[name].shape[1:]) for name in network.inputs]
        self._inputs = Inputs(str(path), sizes[0], sizes[1][0] if len(sizes) > 1 else None)
        self._shapes = {name: tuple(int(n) for n in network.tensors[name].shape[1:]) for name in network.outputs}

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`; None where the network takes the image alone."""
        return self._inputs.metadata_width

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        Raises: TargetError as `Session` says.
        """
        self._inputs.demand(image, metadata)
        return one_by_one(self._one, self._shapes, image, metadata)

    def _one(self, image: UInt8, metadata: Float32 | None) -> Mapping[str, Float32]:
        given: dict[str, UInt8 | Float32] = {IMAGE: image}
        if metadata is not None:
            given[METADATA] = metadata
        return self._executor.outputs(given)
