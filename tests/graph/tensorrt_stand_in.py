"""A TensorRT and its GPU that answer through onnxruntime, for tests of all that is around them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeskin.contract.model import ModelCard
from edgeskin.graph.ir import Conv, ConvTranspose, Linear, Network
from edgeskin.graph.read import read
from edgeskin.targets.base import Effort, Float32, Precision, Times, UInt8
from edgeskin.targets.onnx import is_integer
from edgeskin.targets.tensorrt.generations import Generation, Version, of
from edgeskin.targets.tensorrt.runtime import Built, Gpu, find

ORIN = Gpu("Orin", (8, 7), "36.4.3", 7620.0)
BYTES = {True: "Thirty-two wide channel vectorized row major Int8 format", False: "Row major linear FP32"}


def layers_of(network: Network, floating: frozenset[str] = frozenset()) -> str:
    """What TensorRT would write of an engine whose quantized layers compute in int8, but those named."""
    rows = []
    for node in network.nodes:
        format_ = BYTES[is_integer(network, node) and node.name not in floating]
        about = {"Location": "Device", "Dimensions": [1, 8, 8, 8], "Format/Datatype": format_}
        row: dict[str, object] = {
            "Name": node.name,
            "LayerType": "CaskConvolution" if isinstance(node.operator, Conv | ConvTranspose | Linear) else "PointWise",
            "Inputs": [{"Name": name, **about} for name in node.inputs if network.tensors[name].data is None],
            "Outputs": [{"Name": node.output, **about}],
        }
        if isinstance(node.operator, Conv | ConvTranspose | Linear):
            row["Weights"] = {"Type": "Int8" if format_ == BYTES[True] else "Float", "Count": 1}
        rows.append(row)
    return json.dumps({"Layers": rows, "Bindings": list(network.inputs)})


@dataclass
class StandIn:
    """A `Runtime`. floating: layers that it computes in float. off: what it adds to every answer. detailed: whether it
    says what its layers compute in. built: the files that it was given."""

    version: Version = (10, 3, 0)
    gpu: Gpu = ORIN
    floating: frozenset[str] = frozenset()
    off: float = 0.0
    detailed: bool = True
    built: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"TensorRT{'-RTX' if self.version[0] == 1 else ''} {'.'.join(map(str, self.version))}"

    @property
    def generation(self) -> Generation:
        return of(self.version)

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
        self.built.append(onnx.name)
        (folder / "engine.plan").write_bytes(onnx.read_bytes())
        (folder / "layers.json").write_text(self.describe(onnx, card))
        return Built(folder / "engine.plan", folder / "layers.json")

    def describe(self, engine: Path, card: ModelCard) -> str:
        written = layers_of(read(engine), self.floating)
        if self.detailed:
            return written
        return json.dumps({"Layers": [row["Name"] for row in json.loads(written)["Layers"]]})

    def load(self, engine: Path, card: ModelCard) -> "Loaded":
        return Loaded(onnxruntime.InferenceSession(str(engine), providers=["CPUExecutionProvider"]), self.off)


@dataclass
class Loaded:
    """An engine of it. Its clock says that the engine takes a millisecond, and the copies another."""

    session: onnxruntime.InferenceSession
    off: float
    device_mib: float | None = 12.5

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        kind = self.session.get_inputs()[0].type
        feeds = {"image": image if "uint8" in kind else image.astype(np.float32)}
        if metadata is not None:
            feeds["metadata"] = metadata
        answers = self.session.run(None, feeds)
        names = [output.name for output in self.session.get_outputs()]
        return {name: np.clip(values + np.float32(self.off), 0, 1) for name, values in zip(names, answers, strict=True)}

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        return Times((1.0,) * effort.iterations, (2.0,) * effort.iterations)


def on_a_board(monkeypatch: pytest.MonkeyPatch, cache: Path, stand_in: StandIn | None = None) -> StandIn:
    """Be on a machine with a GPU and TensorRT from here on, whose engines are kept in a folder of its own."""
    runtime = stand_in or StandIn()
    monkeypatch.setattr(find, "find", lambda prefer=None: runtime)
    monkeypatch.setenv("EDGESKIN_CACHE", str(cache))
    return runtime
