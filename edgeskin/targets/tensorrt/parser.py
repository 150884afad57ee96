"""NVIDIA's own parser: hands it an ONNX file and says what it makes of it, or why it refuses.

The network is strongly typed: what a tensor is stored as is what the file says, and nothing is calibrated. Every name
in the file is kept: a layer is called after its ONNX node and says so in its metadata, its output after the node's; a
node that becomes several layers numbers all but one. Weights of float convolutions are inside their layers, without a
name; `Names` has them from the file.

It is no lint (tensorrt-rtx 1.7.1). It refuses a zero point other than 0, a DequantizeLinear of uint8 or int32, a scale
that is not above 0, and float types that do not meet. It takes, and builds, scales along the wrong axis of a weight, a
scale for each channel of an activation, an infinite scale, and any opset number, 99 included; what it makes of those is
seen only by reading back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeskin import optional
from edgeskin.errors import TargetError
from edgeskin.graph.ir import Network
from edgeskin.graph.load import load
from edgeskin.targets.tensorrt.layers import walk
from edgeskin.targets.tensorrt.lift import lift
from edgeskin.targets.tensorrt.log import log, without_gpu
from edgeskin.targets.tensorrt.names import Names

if TYPE_CHECKING:
    import onnx

MODULE = "tensorrt_rtx"


def missing() -> str | None:
    """One sentence why nothing can be parsed here, or None."""
    return optional.missing("onnx", MODULE)


@dataclass(frozen=True)
class Definition:
    """A network definition, and all that must stay alive as long as it does. library: the module it is of."""

    library: Any
    builder: Any
    network: Any
    parser: Any
    names: Names


def define(path: Path) -> Definition:
    """Hand an ONNX file to the parser.

    Raises: TargetError that names each ONNX node which the parser refuses; GraphError for a file that is no ONNX;
    MissingDependencyError.
    """
    try:
        return define_model(load(path))
    except TargetError as error:
        raise TargetError(f"{path}: {error}") from error


def define_model(model: "onnx.ModelProto") -> Definition:
    """Hand an ONNX model in memory to the parser. Raises: TargetError, MissingDependencyError as `define`."""
    library = optional.require(MODULE)
    kept = log(library)
    mark = len(kept.errors)
    builder = library.Builder(kept.logger)
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, kept.logger)
    if not parser.parse(model.SerializeToString()):
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        told = "\n".join(
            f"  {each.node_name()} ({each.node_operator()}): {without_gpu(each.desc())}" for each in errors
        )
        raise TargetError(f"TensorRT's parser refuses it:\n{told or kept.since(mark)}")
    return Definition(library, builder, network, parser, Names.of(model))


def read(path: Path) -> Network:
    """The network that TensorRT holds after parsing an ONNX file.

    Raises: TargetError, MissingDependencyError as `define`; GraphError that names a layer which is not understood.
    """
    return lifted(define(path))


def lifted(definition: Definition) -> Network:
    """A definition as our network. Raises: GraphError that names a layer which is not understood."""
    return lift(walk(definition.network), definition.names)


def inputs(definition: Definition) -> Mapping[str, tuple[int, ...]]:
    """The shape of each input, −1 for the batch."""
    found = (definition.network.get_input(place) for place in range(definition.network.num_inputs))
    return {each.name: tuple(int(size) for size in each.shape) for each in found}
