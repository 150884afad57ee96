"""An ONNX file in float16, as `write` makes it of a float network, read back.

`read` knows float32 alone, so that no float16 passes for it: here a file is first held to be float16 throughout, and
then its numbers, which float32 holds all, are read as float32.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgeskin.errors import GraphError
from edgeskin.graph import read as reader
from edgeskin.graph.ir import Network
from edgeskin.graph.load import load
from edgeskin.optional import require

if TYPE_CHECKING:
    import onnx


def read(path: Path) -> Network:
    """The network of a file in float16: equal to `rewrite.halve` of the one it was written of.

    Raises: GraphError that names the file, and what in it is float32 or cannot be read.
    """
    try:
        return reader.read(widened(load(path)))
    except GraphError as error:
        told = str(error)
        raise GraphError(told if told.startswith(str(path)) else f"{path}: {told}") from error


def widened(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The same numbers in float32. Raises: GraphError that names a constant which is float32 already."""
    library = require("onnx")
    types, numpy_helper = library.TensorProto, require("onnx.numpy_helper")
    wide: onnx.ModelProto = library.ModelProto()
    wide.CopyFrom(model)
    factors = {name for node in wide.graph.node if node.op_type == "Resize" for name in node.input[2:3]}
    for stored in wide.graph.initializer:
        if stored.data_type == types.FLOAT and stored.name not in factors:
            raise GraphError(f"{stored.name}: is float32 in a file that should be float16 throughout; export it again")
        if stored.data_type == types.FLOAT16:
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored).astype("float32"), stored.name))
    for node in wide.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == types.FLOAT16:
            node.attribute[0].i = types.FLOAT
    del wide.graph.value_info[:]
    return wide
