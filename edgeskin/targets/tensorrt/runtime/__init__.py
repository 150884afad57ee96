"""TensorRT on this machine: one thin adapter for each way to talk to it, behind one interface.

find: which this machine has. bindings: the Python modules `tensorrt` and `tensorrt_rtx`, by what each has; engine: one
of theirs, loaded; cuda: memory, streams, graphs and events of the GPU. trtexec: NVIDIA's program, for boards whose
bindings fit no Python of ours. machine: what tells without CUDA. inputs, reasons: what they share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeskin.contract.model import ModelCard
from edgeskin.errors import TargetError
from edgeskin.targets.base import Effort, Float32, Precision, Times, UInt8
from edgeskin.targets.tensorrt.generations import Generation, Version

ENGINE, LAYERS = "engine.plan", "layers.json"
"""What a build leaves, by name."""
LARGEST_BATCH = 8
"""The most pictures in one run where nobody says otherwise; trtexec cannot ask an engine and splits what is more."""

NAMELESS = "an NVIDIA GPU that does not say its name"


class AbsentError(TargetError):
    """A way to TensorRT that this machine does not have at all."""


@dataclass(frozen=True)
class Gpu:
    """The GPU that an engine is for, as far as the machine tells.

    name: `NAMELESS` where it is not told. capability: compute capability, as (8, 7). driver: of NVIDIA, or the L4T
    release of a Jetson. memory_mib: in all.
    """

    name: str
    capability: tuple[int, int] | None
    driver: str | None
    memory_mib: float | None

    @property
    def known(self) -> bool:
        """Whether an engine that was built for it can be told from one of another."""
        return self.name != NAMELESS


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

    name: in words, `TensorRT 10.16.1.11`, `trtexec of TensorRT 8.5.2`.
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
        largest_batch: int = LARGEST_BATCH,
        timing_cache: Path | None = None,
    ) -> Built:
        """Build an engine into an existing folder, wholly or not at all.

        onnx: the file for this generation. Raises: TargetError where it cannot, with TensorRT's own words.
        """
        ...

    def describe(self, engine: Path, card: ModelCard) -> str:
        """What TensorRT says is in an engine of this very machine at batch 1: JSON of its layers.

        Raises: TargetError as `load`.
        """
        ...

    def load(self, engine: Path, card: ModelCard) -> Loaded:
        """Load an engine of this very machine. Raises: TargetError for one that is damaged or not for it."""
        ...
