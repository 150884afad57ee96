"""Every tensor that an engine of this machine computes on an artifact: each made an output of the file it runs.

An operator that an engine joins with its neighbours stays joined where only what the joined one writes is asked for:
onnxruntime and XNNPACK then run the kernels that they run without being watched. Whether watching changes an answer is
asked for all the same.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeskin import files, optional
from edgeskin.contract.second_pass import Float32, UInt8
from edgeskin.graph.ir import Array, Network, Tensor
from edgeskin.graph.load import load
from edgeskin.targets.base import IMAGE, METADATA, Artifact, Session, Target
from edgeskin.targets.onnx import OnnxSession
from edgeskin.targets.tflite import session
from edgeskin.targets.tflite.parse import parse
from edgeskin.targets.tflite.program import Program
from edgeskin.targets.tflite.serialize import serialize
from edgeskin.targets.tflite.session import TfliteSession


class Engine(Protocol):
    """An engine whose tensors can be seen."""

    @property
    def name(self) -> str:
        """What runs, in words."""
        ...

    @property
    def unwatched(self) -> Session:
        """The artifact as it runs where nobody looks."""
        ...

    def run(self, image: UInt8, metadata: Float32 | None) -> Mapping[str, Array]:
        """By name, every tensor that it keeps, as the network stores it: int8 or float32, channels first.

        Shapes: image uint8 [1, 3, S, S], metadata float32 [1, M].
        """
        ...


def engines_of(target: Target, artifact: Artifact, network: Network) -> tuple[Engine, ...]:
    """What runs the artifact here and shows its tensors. network: what the artifact holds."""
    if not target.processors():
        return ()
    if target.name == "onnx":
        return tuple(OnnxEngine.open(artifact.path, network, plain=plain) for plain in (True, False))
    if target.name == "tflite":
        return (TfliteEngine.open(artifact.path, network),)
    return ()


@dataclass(frozen=True, eq=False)
class OnnxEngine:
    """onnxruntime on an ONNX file of ours. places: the value of the file that holds each tensor."""

    name: str
    network: Network
    places: Mapping[str, str]
    watched: OnnxSession
    unwatched: OnnxSession

    @staticmethod
    def open(path: Path, network: Network, *, plain: bool) -> "OnnxEngine":
        """plain: every operator as written, else optimised."""
        library, model = optional.require("onnx"), load(path)
        made = {name for node in model.graph.node for name in node.output}
        known = {output.name for output in model.graph.output}
        places = {}
        for node in network.nodes:
            place = next((each for each in (f"{node.output}_quantized", node.output) if each in made), None)
            if place is None:
                continue
            places[node.output] = place
            if place not in known:
                known.add(place)
                model.graph.output.append(library.ValueInfoProto(name=place))
        with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
            file = Path(folder) / path.name
            files.write_bytes(file, model.SerializeToString())
            watched = OnnxSession(file, plain=plain)
        name = "onnxruntime, every operator as written" if plain else "onnxruntime, optimised"
        return OnnxEngine(name, network, places, watched, OnnxSession(path, plain=plain))

    def run(self, image: UInt8, metadata: Float32 | None) -> Mapping[str, Array]:
        """As `Engine` says."""
        found = self.watched.run(image, metadata)
        return {name: _held(self.network.tensors[name], found[place]) for name, place in self.places.items()}


@dataclass(frozen=True, eq=False)
class TfliteEngine:
    """LiteRT, with XNNPACK where it has that, on a `.tflite` file of ours. places: the index of each tensor."""

    network: Network
    program: Program = field(repr=False)
    places: Mapping[str, int]
    interpreter: Any
    unwatched: TfliteSession
    name: str = "LiteRT"

    @staticmethod
    def open(path: Path, network: Network) -> "TfliteEngine":
        """Write the file once more, every tensor of the network among its outputs."""
        program = parse(path)
        named = {value.name: place for place, value in enumerate(program.tensors)}
        places = {node.output: named[node.output] for node in network.nodes if node.output in named}
        places |= {name: place for name, place in program.outputs.items() if program.tensors[place].scale is None}
        inside = dict.fromkeys(place for place in places.values() if place not in program.outputs.values())
        outputs = {**program.outputs, **{f"watched_{place}": place for place in inside}}
        content = serialize(replace(program, outputs=outputs, notes={}), "watched")
        with tempfile.TemporaryDirectory(prefix="edgeskin-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / path.name
            files.write_bytes(file, content)
            interpreter = session.start(file, 1, False)
        return TfliteEngine(network, replace(program, tensors=()), places, interpreter, TfliteSession(path))

    def run(self, image: UInt8, metadata: Float32 | None) -> Mapping[str, Array]:
        """As `Engine` says."""
        self.interpreter.set_tensor(self.program.inputs[IMAGE], np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
        if metadata is not None:
            self.interpreter.set_tensor(self.program.inputs[METADATA], metadata)
        self.interpreter.invoke()
        found = {name: self.interpreter.get_tensor(place) for name, place in self.places.items()}
        return {
            name: _held(self.network.tensors[name], value.transpose(0, 3, 1, 2) if value.ndim == 4 else value)
            for name, value in found.items()
        }


def _held(tensor: Tensor, value: Array) -> Array:
    """A value as the network stores it; an engine may have it as uint8 at zero point 128, or as the float behind."""
    if tensor.quantization is None:
        return value.astype(np.float32)
    if value.dtype == np.uint8:
        return np.asarray(value ^ np.uint8(128)).view(np.int8)
    if value.dtype == np.int8:
        return np.asarray(value)
    return np.rint(value.astype(np.float64) / tensor.quantization.scale).astype(np.int8)
