"""TensorRT on this machine: one thin adapter for each way to talk to it, behind one interface.

bindings: the Python modules `tensorrt` (10, 11) and `tensorrt_rtx`, by what each has. trtexec: NVIDIA's program, for
boards whose bindings fit no Python of ours. cuda: memory, streams, graphs and events of the GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeskin.contract.model import ModelCard
from edgeskin.targets.base import Effort as Effort
from edgeskin.targets.base import Float32, Precision, UInt8
from edgeskin.targets.base import Times as Times
from edgeskin.targets.tensorrt.generations import Generation, Version


@dataclass(frozen=True)
class Gpu:
    """The GPU that an engine is for, as far as the machine tells.

    capability: compute capability, as (8, 7). driver: of NVIDIA, or the L4T release of a Jetson. memory_mib: in all.
    """

    name: str
    capability: tuple[int, int] | None
    driver: str | None
    memory_mib: float | None


@dataclass(frozen=True)
class Built:
    """An engine file, and the file in which TensorRT says what is in it (JSON of its layers)."""

    engine: Path
    layers: Path


class Loaded(Protocol):
    """An engine, ready to run. device_mib: the GPU memory it takes, None where nobody tells."""

    @property
    def device_mib(self) -> float | None: ...  # noqa: D102

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it; N of any size.

        Raises: TargetError for an input of another shape or type, for memory that was not there.
        """
        ...

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        """Run one batch again and again, timed by the GPU's own clock. Raises: TargetError as `run`."""
        ...


class Runtime(Protocol):
    """One way to talk to the TensorRT of this machine.

    name: in words, `TensorRT 10.3.0`, `trtexec of TensorRT 8.5.2`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> Version: ...  # noqa: D102
    @property
    def generation(self) -> Generation: ...  # noqa: D102
    @property
    def gpu(self) -> Gpu: ...  # noqa: D102

    def build(
        self,
        onnx: Path,
        card: ModelCard,
        precision: Precision,
        folder: Path,
        *,
        largest_batch: int = 8,
        timing_cache: Path | None = None,
    ) -> Built:
        """Build an engine into an existing folder, wholly or not at all.

        onnx: the file for this generation. Raises: TargetError where it cannot, with TensorRT's own words.
        """
        ...

    def load(self, engine: Path, card: ModelCard) -> Loaded:
        """Load an engine of this very machine. Raises: TargetError for one that is damaged or not for it."""
        ...
