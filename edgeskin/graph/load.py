"""From an ONNX file to a checked model with static shapes; every way in which a file can be broken has its sentence."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgeskin.errors import GraphError
from edgeskin.graph.operators import SHAPE_INPUTS, TRANSLATIONS
from edgeskin.graph.site import refusal
from edgeskin.optional import require

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 13
"""Per-channel DequantizeLinear begins here."""

SUPPORTED = frozenset(TRANSLATIONS) | {"QuantizeLinear", "DequantizeLinear", "Constant"}


def load(path: Path) -> "onnx.ModelProto":
    """Parse an ONNX file, its external data included.

    Raises: GraphError for a file that is absent, empty, truncated or not ONNX.
    """
    library = require("onnx")
    message = require("google.protobuf.message")
    try:
        model = library.load_model_from_string(path.read_bytes())
        library.load_external_data_for_model(model, str(path.parent))
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file") from error
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (message.DecodeError, UnicodeDecodeError) as error:
        raise GraphError(f"{path}: not an ONNX file, or truncated; copy or export it again") from error
    except (library.checker.ValidationError, ValueError) as error:
        raise GraphError(f"{path}: its external data cannot be read; keep both files together: {error}") from error
    if not model.graph.node:
        raise GraphError(f"{path}: not an ONNX file, or empty; copy or export it again")
    return cast("onnx.ModelProto", model)


def prepare(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Inline local functions, check the graph, infer its shapes.

    Raises: GraphError that names the first node which cannot be read.
    """
    library = require("onnx")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise GraphError(f"opset {opset} is older than {OLDEST_OPSET}; export with opset 21")
    try:
        if model.functions:
            model = require("onnx.inliner").inline_local_functions(model)
        for node in needed_nodes(model.graph):
            if node.op_type not in SUPPORTED or node.domain not in ("", "ai.onnx"):
                raise refusal(node, f"unsupported operator; supported: {', '.join(sorted(SUPPORTED))}")
        library.checker.check_model(model)
        return cast("onnx.ModelProto", library.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))
    except (library.checker.ValidationError, library.shape_inference.InferenceError) as error:
        raise GraphError(f"not a valid ONNX graph: {str(error).strip()}") from error
    except UnicodeDecodeError as error:  # the checker quotes the damaged bytes of a name
        raise GraphError("not a valid ONNX graph: a name in it is no text; copy or export it again") from error


def needed_nodes(graph: "onnx.GraphProto") -> "tuple[onnx.NodeProto, ...]":
    """The nodes whose values reach an output as data, in the order of the file; those that compute shapes do not."""
    needed = {info.name for info in graph.output}
    found = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            found.append(node)
            shapes = SHAPE_INPUTS.get(node.op_type, ())
            needed.update(name for position, name in enumerate(node.input) if name and position not in shapes)
    return tuple(reversed(found))
