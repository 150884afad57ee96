"""A target that builds as onnx does and runs where a test says: nowhere, or on processors that may answer wrongly."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from edgeskin import targets
from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import weights_only
from edgeskin.graph.write import write_onnx
from edgeskin.targets import base
from edgeskin.targets.executed import ExecutedSession
from edgeskin.targets.onnx import FILE, OnnxSession, OnnxTarget

RULES = """equivalent = true
size_mib_max = 16
peak_memory_mib_max = 4096
latency_p90_ms_max = 1000
integer_convolutions_min = 0.9
"""
PROFILE = """name = "elsewhere"
description = "What another machine runs."
target = "elsewhere"
gate = "{gate}"
may_be_pending = ["numerics", "latency", "memory", "placement"]
accept_inherited = true
"""


@dataclass
class Machine:
    """What the fake target finds: processors, those that answer wrongly, whether each is a stand-in or tells where it
    ran."""

    processors: tuple[str, ...] = ()
    wrong: frozenset[str] = field(default_factory=frozenset)
    simulated: bool = False
    tells_integers: bool = True


machine = Machine()
"""The one that the test is on; `at` replaces it."""


def at(patch: pytest.MonkeyPatch, *processors: str, wrong: tuple[str, ...] = (), **more: bool) -> None:
    """Be on another machine from here on, one that knows the fake target."""
    patch.setitem(targets.TARGETS, "elsewhere", f"{__name__}:ElsewhereTarget")
    patch.setitem(globals(), "machine", Machine(processors, frozenset(wrong), **more))


def profile(folder: Path, rules: str = RULES) -> Path:
    """A profile for the fake target, with its gate beside it."""
    (folder / "elsewhere_gate.toml").write_text(rules)
    path = folder / "elsewhere.toml"
    path.write_text(PROFILE.format(gate=folder / "elsewhere_gate.toml"))
    return path


class ElsewhereSession:
    """onnxruntime, its answers moved by a tenth where the processor is a wrong one."""

    def __init__(self, session: OnnxSession, processor: str) -> None:
        self._session = session
        self.path = session.path
        self._off = np.float32(0.1 if processor in machine.wrong else 0)
        self.simulated = machine.simulated

    @property
    def metadata_width(self) -> int | None:
        return self._session.metadata_width

    def run(self, image: base.UInt8, metadata: base.Float32 | None = None) -> Mapping[str, base.Float32]:
        answers = self._session.run(image, metadata)
        return {name: np.clip(values + self._off, 0, 1) for name, values in answers.items()}

    def placement(self) -> base.Placement:
        placement = self._session.placement()
        return placement if machine.tells_integers else replace(placement, integer_convolutions=None)


class ElsewhereTarget:
    """The files are those of onnx; w8a16 besides."""

    name = "elsewhere"
    runs_on = "an elsewhere"
    reader: base.Reader = "graph"
    one_at_a_time = False
    own_threads: str | None = None
    beside_others = False
    precisions: frozenset[base.Precision] = frozenset({"int8", "w8a16", "fp32"})

    def computes(self, precision: base.Precision) -> base.Compute:
        return "float32"

    def missing(self) -> str | None:
        return None

    def refused(self) -> None:
        return None

    def here(self) -> None:
        return None

    def build(self, graph: Graph, precision: base.Precision, folder: Path) -> base.Artifact:
        if precision != "w8a16":
            OnnxTarget().build(graph, precision, folder)
        else:
            write_onnx(self.holds(graph, precision), folder / FILE)
        return base.Artifact(folder / FILE, self.name, precision, graph.sha256)

    def holds(self, graph: Graph, precision: base.Precision) -> Network:
        if precision == "w8a16":
            return weights_only(read(graph.int8))
        return OnnxTarget().holds(graph, precision)

    def processors(self) -> tuple[str, ...]:
        return machine.processors

    def open(self, artifact: base.Artifact, *, threads: int = 1, processor: str | None = None) -> ElsewhereSession:
        if not machine.processors:
            raise TargetError(f"{artifact.path}: only an elsewhere runs it")
        return ElsewhereSession(OnnxSession(artifact.path, threads=threads), processor or machine.processors[0])

    def execute(self, artifact: base.Artifact) -> ExecutedSession:
        return OnnxTarget().execute(artifact)

    def read(self, artifact: base.Artifact) -> Network:
        return read(artifact.path)
