"""What every target offers: build an artifact, open it here, and read its saved bytes back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network

Precision: TypeAlias = Literal["int8", "fp16", "fp32"]
UInt8: TypeAlias = npt.NDArray[np.uint8]
Float32: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Artifact:
    """A file built for one target at one precision.

    precision: the precision used, never the one asked for. graph_sha256: the Graph folder it was built from.
    """

    path: Path
    target: str
    precision: Precision
    graph_sha256: str


@dataclass(frozen=True)
class Placement:
    """Where the operators of an opened artifact really run.

    convolutions: how many there are; integer_convolutions: how many run as integer kernels.
    float_operators: names of those left in float although the network quantizes them.
    provider: the engine's own name for where it runs.
    """

    provider: str
    convolutions: int
    integer_convolutions: int
    float_operators: tuple[str, ...]


class Session(Protocol):
    """An artifact that can be run on this machine."""

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`, read from the artifact; None where the network takes the image alone."""
        ...

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        Raises: TargetError for an input of another shape or type, for metadata that is missing or not taken.
        """
        ...

    def placement(self) -> Placement:
        """Read from the engine, not assumed."""
        ...


class Target(Protocol):
    """One format that edgeskin exports to."""

    @property
    def name(self) -> str:
        """The word on the command line."""
        ...

    @property
    def precisions(self) -> frozenset[Precision]:
        """What it can build; another precision is refused, never replaced."""
        ...

    def missing(self) -> str | None:
        """One sentence why it cannot build here, or None."""
        ...

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Build the artifact into an existing folder. Equal inputs give equal bytes."""
        ...

    def open(self, artifact: Artifact, *, threads: int = 1) -> Session:
        """Make the artifact runnable here."""
        ...

    def read(self, artifact: Artifact) -> Network:
        """Parse the saved bytes back into the representation that the other targets share."""
        ...
