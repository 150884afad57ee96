"""What every target offers: build an artifact, open it here, and read its saved bytes back."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgeskin.contract import bundle
from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network

Precision: TypeAlias = bundle.Precision
Compute: TypeAlias = Literal["float16", "float32"]
"""The float in which what is not integers is computed."""
Reader: TypeAlias = Literal["graph", "parser"]
"""Who parses an artifact's bytes back: edgeskin alone, or the parser of the engine that is to run it."""
CPU = "cpu"
"""The processor that every machine has."""
IMAGE, METADATA = "image", "metadata"
"""The inputs by name, as the QAT contract has them."""
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
class PlacedLayer:
    """One layer of an engine that was compiled from a network.

    type: the engine's own word. precision: the widest of what it computes with, None where that is not told. nodes: of
    the network, that it is made of.
    """

    name: str
    type: str
    precision: str | None
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """Where the operators of an opened artifact really run.

    convolutions: how many there are; integer_convolutions: how many run as integer kernels, None where the engine does
    not tell.
    float_operators: names of those left in float although the network quantizes them, None likewise.
    provider: the engine's own name for where it runs.
    partitions: in how many parts a delegate took the network over, None where the engine has no delegates.
    undelegated: the operators it did not take; why_undelegated: in words, None where nobody knows.
    layers: those of a compiled engine, in its order; empty where the engine keeps the network's own operators.
    """

    provider: str
    convolutions: int
    integer_convolutions: int | None
    float_operators: tuple[str, ...] | None
    partitions: int | None = None
    undelegated: tuple[str, ...] = ()
    why_undelegated: str | None = None
    layers: tuple[PlacedLayer, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """What an artifact takes, for a session to demand before its engine sees it.

    path: of the artifact, for messages. image: its shape [3, S, S]. metadata_width: M of the input `metadata`, None
    where the network takes the image alone.
    """

    path: str
    image: tuple[int, ...]
    metadata_width: int | None

    def demand(self, image: UInt8, metadata: Float32 | None) -> None:
        """Raises: TargetError for an input of another shape or type, for metadata that is missing or not taken."""
        self._demand(IMAGE, image, "uint8", self.image)
        width = self.metadata_width
        if metadata is None:
            if width is not None:
                raise TargetError(
                    f"{self.path}: takes {METADATA} as float32 [N, {width}] beside {IMAGE}, and none was given. "
                    "Where nothing is known, give what the model card's metadata encodes as unknown"
                )
            return
        if width is None:
            raise TargetError(f"{self.path}: takes {IMAGE} alone, and {METADATA} was given. Run it without")
        self._demand(METADATA, metadata, "float32", (width,))
        if len(metadata) != len(image):
            raise TargetError(f"{self.path}: {len(image)} rows of {IMAGE}, but {len(metadata)} of {METADATA}")

    def _demand(self, name: str, given: UInt8 | Float32, kind: str, shape: tuple[int, ...]) -> None:
        if given.dtype != kind or given.ndim != len(shape) + 1 or given.shape[1:] != shape:
            raise TargetError(
                f"{self.path}: takes {name} as {kind} [N, {', '.join(map(str, shape))}], "
                f"not {given.dtype} {list(given.shape)}"
            )


def one_by_one(
    run: Callable[[UInt8, Float32 | None], Mapping[str, Float32]],
    shapes: Mapping[str, tuple[int, ...]],
    image: UInt8,
    metadata: Float32 | None,
) -> dict[str, Float32]:
    """What an artifact that takes one picture at a time answers for several, or for none.

    run: for one row of each. shapes: of the outputs, without the batch.
    """
    rows = [
        run(image[row : row + 1], None if metadata is None else metadata[row : row + 1]) for row in range(len(image))
    ]
    return {
        name: np.concatenate([np.zeros((0, *shape), np.float32), *(row[name] for row in rows)])
        for name, shape in shapes.items()
    }


class Runnable(Protocol):
    """What answers for a network: an engine, or the executor."""

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


class Session(Runnable, Protocol):
    """An artifact in an engine of this machine."""

    @property
    def path(self) -> Path:
        """What the engine loaded: the artifact, or what was made of it for this machine alone."""
        ...

    def placement(self) -> Placement:
        """Read from the engine, not assumed."""
        ...


@dataclass(frozen=True)
class Effort:
    """How long to run: at least so many milliseconds to warm up, then at least so many seconds and queries."""

    warm_up_ms: int
    duration_s: int
    iterations: int


@dataclass(frozen=True)
class Times:
    """What each query took behind the warm-up, in milliseconds, in order.

    compute_ms: on the accelerator alone. latency_ms: with the copies to it and back.
    """

    compute_ms: tuple[float, ...]
    latency_ms: tuple[float, ...]


@runtime_checkable
class Accelerated(Protocol):
    """A session whose engine runs beside the CPU: it has a clock and a memory of its own.

    device_mib: the memory of the accelerator that the engine takes, None where nobody tells.
    """

    @property
    def device_mib(self) -> float | None: ...  # noqa: D102

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        """Run one batch again and again, timed by the engine itself. Raises: TargetError as `run`."""
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

    @property
    def runs_on(self) -> str:
        """A machine that runs its artifacts, in words: what to look for where nothing here does."""
        ...

    @property
    def reader(self) -> Reader:
        """Who parses the saved bytes back here."""
        ...

    @property
    def one_at_a_time(self) -> bool:
        """Whether an artifact takes one picture (the QAT contract, architecture.md)."""
        ...

    @property
    def own_threads(self) -> str | None:
        """What chooses its threads by itself, in words: there is one number of them to time. None where it is told."""
        ...

    @property
    def beside_others(self) -> bool:
        """Whether the times of other engines on the same processor stand beside its own."""
        ...

    def missing(self) -> str | None:
        """One sentence why it cannot build here, or None."""
        ...

    def refused(self) -> str | None:
        """What is on this machine and cannot run its artifacts, and why; None where nothing is passed over."""
        ...

    def here(self) -> str | None:
        """What can be shown of an artifact on a machine like this one, in a sentence, and what would show more; None
        where all that build can show the same.
        """
        ...

    def computes(self, precision: Precision) -> Compute:
        """The float between the operators of an artifact of that precision."""
        ...

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        """Build the artifact into an existing folder. Equal inputs give equal bytes."""
        ...

    def holds(self, graph: Graph, precision: Precision) -> Network:
        """The network that an artifact of that precision holds, and must read back as.

        Raises: ContractError where the graph breaks the QAT contract.
        """
        ...

    def processors(self) -> tuple[str, ...]:
        """What runs an artifact on this machine, the one an app gets by default first; empty where nothing does."""
        ...

    def open(self, artifact: Artifact, *, threads: int = 1, processor: str | None = None) -> Session:
        """Make the artifact runnable here. processor: one of `processors`, the first where it is not said.

        Raises: TargetError where nothing here runs it.
        """
        ...

    def execute(self, artifact: Artifact) -> Runnable:
        """What the artifact's saved bytes, parsed back, compute in the executor: slow, on any machine, and no engine's
        word.

        Raises: GraphError as `read`.
        """
        ...

    def read(self, artifact: Artifact) -> Network:
        """Parse the saved bytes back into the representation that the other targets share."""
        ...


def facts(graph: Graph, precision: Precision) -> dict[str, str]:
    """What a format's own metadata says of an artifact: which graph it holds and how, and the whole model card."""
    return {
        "edgeskin.graph_sha256": graph.sha256,
        "edgeskin.model": json.dumps(graph.card.model_dump(mode="json"), sort_keys=True, ensure_ascii=False),
        "edgeskin.precision": precision,
    }


def elsewhere(target: Target, command: str, folder: Path | None = None) -> str:
    """That nothing here runs a target's artifacts, and where `edgeskin COMMAND BUNDLE` tells more."""
    place = "BUNDLE" if folder is None else shlex.quote(str(folder))
    refused = target.refused()
    passed_over = f" ({refused})" if refused else ""
    return f"nothing on this machine runs {target.name}{passed_over}. On {target.runs_on}: edgeskin {command} {place}"


def demand_precision(target: Target, precision: Precision) -> None:
    """Raises: TargetError that lists what the target builds, for another precision."""
    if precision not in target.precisions:
        known = ", ".join(sorted(target.precisions))
        raise TargetError(f"{target.name} cannot build {precision}; it builds {known}. Choose one with --precision")


def demand_processor(target: Target, processor: str | None) -> None:
    """Raises: TargetError that lists what runs the target's artifacts here, for another processor."""
    if processor is not None and processor not in target.processors():
        known = ", ".join(target.processors()) or "none"
        raise TargetError(f"{target.name} runs on no {processor} here. The processors for it: {known}")
