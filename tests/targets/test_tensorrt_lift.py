"""What is not ours in a definition of TensorRT is an error with the layer's name; needs no TensorRT.

The layers are written by hand, as tensorrt-rtx 1.7.1 sets them.
"""

from dataclasses import replace

import numpy as np
import pytest

from edgeskin.errors import GraphError
from edgeskin.graph import execute
from edgeskin.graph.ir import Network, Resize, Slice
from edgeskin.targets.tensorrt.layers import Layer, Layers, Setting, Value
from edgeskin.targets.tensorrt.lift import lift
from edgeskin.targets.tensorrt.names import Names

SHAPE = (-1, 3, 4, 4)
NOTHING = Names({}, {})


def constant(name: str, data: object, kind: str = "FLOAT") -> Layer:
    numbers = np.asarray(data, {"FLOAT": np.float32, "INT8": np.int8, "INT64": np.int64}[kind])
    settings: dict[str, Setting] = {"weights": numbers.reshape(-1), "shape": numbers.shape}
    return Layer("CONSTANT", name, None, (), Value(name, kind, numbers.shape), settings)


def layer(
    kind: str,
    *inputs: str | None,
    shape: tuple[int, ...] = SHAPE,
    out: str = "out",
    makes: str = "FLOAT",
    **settings: Setting,
) -> Layer:
    return Layer(kind, f"the {kind.lower()}", out, inputs, Value(out, makes, shape), settings)


DOOR = (
    layer("CAST", "image", out="cast", to_type="FLOAT"),
    constant("middle", [[[[128]]]]),
    layer("ELEMENTWISE", "cast", "middle", out="shifted", op="SUB"),
    constant("step", [[[[1 / 128]]]]),
    layer("ELEMENTWISE", "shifted", "step", out="x", op="PROD"),
)
SIGMOID = layer("ACTIVATION", "x", type="SIGMOID", alpha=0.0, beta=0.0)


def lifted(*layers: Layer, kind: str = "UINT8", door: tuple[Layer, ...] = DOOR) -> Network:
    """A network that the door and these layers make."""
    return lift(Layers((Value("image", kind, SHAPE),), ("out",), (*door, *layers)), NOTHING)


def test_a_layer_is_read_by_what_it_is_set_to() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4)
    found = execute.outputs(lifted(SIGMOID), {"image": image})["out"]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(image.astype(np.float64) - 128) / 128)), rtol=1e-6)


def test_floats_that_are_bytes_enter_without_a_cast() -> None:
    (_, middle, shift, *rest) = DOOR
    door = (middle, replace(shift, inputs=("image", "middle")), *rest)
    assert lifted(SIGMOID, kind="FLOAT", door=door) == lifted(SIGMOID)


def test_float16_is_cast_where_it_enters_and_where_it_leaves() -> None:
    cast, middle, shift, *rest = DOOR
    halves = replace(
        middle,
        output=replace(middle.output, kind="HALF"),
        settings={"weights": np.float16([128]), "shape": (1, 1, 1, 1)},
    )
    door = (replace(cast, settings={"to_type": "HALF"}), halves, shift, *rest)
    narrow = replace(SIGMOID, output=Value("narrow", "HALF", SHAPE))
    assert lifted(narrow, layer("CAST", "narrow", to_type="FLOAT"), door=door) == lifted(SIGMOID)


def test_layers_may_stand_in_any_order() -> None:
    assert lifted(door=(SIGMOID, *reversed(DOOR))) == lifted(SIGMOID)


def test_a_size_that_layers_compute_is_followed() -> None:
    """Half of the height from the second row on: start (0, 0, 1, 0), size the shape less (0, 0, 2, 0)."""
    cut = lifted(
        layer("SHAPE", "x", out="shape", makes="INT64", shape=(4,)),
        constant("less", [0, 0, 2, 0], "INT64"),
        layer("ELEMENTWISE", "shape", "less", out="size", makes="INT64", shape=(4,), op="SUB"),
        constant("start", [0, 0, 1, 0], "INT64"),
        layer(
            "SLICE", "x", "start", "size", shape=(-1, 3, 2, 4), mode="STRICT_BOUNDS", stride=(1, 1, 1, 1), axes=None,
            start=None,
        ),
    )  # fmt: skip
    (_, node) = cut.nodes
    assert node.operator == Slice(2, 1, 3)


def window(**changed: Setting) -> dict[str, Setting]:
    settings: dict[str, Setting] = {
        "type": "MAX",
        "window_size_nd": (2, 2),
        "stride_nd": (1, 1),
        "pre_padding": (0, 0),
        "post_padding": (1, 1),
        "padding_mode": "EXPLICIT_ROUND_DOWN",
        "average_count_excludes_padding": True,
    }
    return {**settings, **changed}


def resize(**changed: Setting) -> Layer:
    settings: dict[str, Setting] = {
        "resize_mode": "LINEAR",
        "coordinate_transformation": "HALF_PIXEL",
        "nearest_rounding": "HALF_DOWN",
        "selector_for_single_pixel": "FORMULA",
        "scales": (1.0, 1.0, 2.0, 2.0),
    }
    return layer("RESIZE", "x", shape=(-1, 3, 8, 8), **{**settings, **changed})


def cut(**changed: Setting) -> Layer:
    """Two of the four columns."""
    settings: dict[str, Setting] = {
        "mode": "STRICT_BOUNDS",
        "axes": (3,),
        "start": (1,),
        "shape": (2,),
        "stride": (1,),
    }
    return Layer("SLICE", "a cut", None, ("x",), Value("out", "FLOAT", (-1, 3, 4, 2)), {**settings, **changed})


def test_what_the_refusals_start_from_is_understood() -> None:
    assert lifted(resize()).nodes[1].operator == Resize((8, 8), "linear")
    assert lifted(layer("POOLING", "x", **window())).nodes[1].kind == "MaxPool"
    assert lifted(cut()).nodes[1].operator == Slice(3, 1, 3)


REFUSED = {
    "resizes by LINEAR, ALIGN_CORNERS": resize(coordinate_transformation="ALIGN_CORNERS"),
    "resizes by NEAREST, ASYMMETRIC, CEIL": resize(
        resize_mode="NEAREST", coordinate_transformation="ASYMMETRIC", nearest_rounding="CEIL"
    ),
    "resizes by CUBIC": resize(resize_mode="CUBIC"),
    "has the factors": resize(scales=(1.0, 1.0, 2.0, 1.9)),
    "pads by EXPLICIT_ROUND_UP": layer("POOLING", "x", **window(padding_mode="EXPLICIT_ROUND_UP")),
    "counts in its average": layer("POOLING", "x", **window(type="AVERAGE", average_count_excludes_padding=False)),
    "pools by MAX_AVERAGE_BLEND": layer("POOLING", "x", **window(type="MAX_AVERAGE_BLEND")),
    "is LEAKY_RELU with 0.1": layer("ACTIVATION", "x", type="LEAKY_RELU", alpha=0.1, beta=0.0),
    "is CLIP with -1 and 1": layer("ACTIVATION", "x", type="CLIP", alpha=-1.0, beta=1.0),
    "has the slope 0.2": layer("ACTIVATION", "x", type="HARD_SIGMOID", alpha=0.2, beta=0.5),
    "computes MAX of two tensors": layer("ELEMENTWISE", "x", "x", op="MAX"),
    "reduces by SUM": layer("REDUCE", "x", op="SUM", axes=12, keep_dims=True, shape=(-1, 3, 1, 1)),
    "works along the batch": layer("SOFTMAX", "x", axes=1),
    "works along the axes": layer("SOFTMAX", "x", axes=6),
    "moves axes by": layer("SHUFFLE", "x", first_transpose=(0, 2, 1, 3), second_transpose=(0, 1, 2, 3)),
    "takes every": cut(stride=(2,)),
    "cuts the batch": cut(axes=(0,), start=(0,), shape=(1,)),
    "takes what lies outside by WRAP": cut(mode="WRAP"),
    "casts to HALF within the network": layer("CAST", "x", to_type="HALF"),
    "casts to INT32 within the network": layer("CAST", "x", to_type="INT32"),
    "is no product of rows": layer("MATRIX_MULTIPLY", "x", "x", op0="NONE", op1="NONE"),
    "more than the batch is unknown": replace(SIGMOID, output=Value("out", "FLOAT", (-1, 3, -1, 4))),
    "reads None": layer("QUANTIZE", None, to_type="INT8"),
    "quantizes to FP8": layer("QUANTIZE", "x", "step", "step", to_type="FP8", axis=1, block_shape=None, makes="FP8"),
    "handles shapes, and computes values here": layer("GATHER", "x", "x", axis=0),
    "is set to what the parser does not set it to": layer("SOFTMAX", "x", axes="CHANNELS"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_no_network_of_ours_computes_is_refused(reason: str) -> None:
    refused = replace(REFUSED[reason], name="the layer")
    with pytest.raises(GraphError, match=rf"^the layer \({refused.kind}\): .*{reason}"):
        lifted(refused)


def quantized(zero: float = 0.0, block: Setting = None, scales: object = 1 / 128, again: float = 1 / 128) -> Network:
    settings: dict[str, Setting] = {"axis": 1, "block_shape": block}
    return lifted(
        constant("zero", zero),
        constant("scale", scales),
        constant("again", again),
        layer("QUANTIZE", "x", "scale", "zero", out="integers", makes="INT8", to_type="INT8", **settings),
        layer("DEQUANTIZE", "integers", "again", "zero", out="back", to_type="FLOAT", **settings),
        layer("ACTIVATION", "back", type="SIGMOID", alpha=0.0, beta=0.0),
    )


def test_quantization_is_symmetric_of_one_scale_and_the_same_on_both_sides() -> None:
    (pixels, _) = quantized().nodes
    scale = quantized().result(pixels).quantization
    assert scale is not None
    assert float(scale.scale) == 1 / 128
    for changed, reason in (
        ({"zero": 1.0}, "zero point"),
        ({"block": (1, 16)}, "blocks"),
        ({"scales": [1.0, 2.0, 3.0]}, "3 scales along axis 1"),
        ({"again": 1 / 64}, "another scale"),
    ):
        with pytest.raises(GraphError, match=rf"QUANTIZE\): .*{reason}"):
            quantized(**changed)


def test_pixels_that_are_not_ours_are_refused() -> None:
    cast, _, shift, *rest = DOOR
    with pytest.raises(GraphError, match="pixels that are not yet"):
        lifted(SIGMOID, door=(cast, constant("middle", 127), shift, *rest))
    with pytest.raises(GraphError, match="changes pixels by DIV of 1 numbers"):
        lifted(SIGMOID, door=(cast, DOOR[1], replace(shift, settings={"op": "DIV"}), *rest))
    with pytest.raises(GraphError, match="image: enters as INT32"):
        lifted(SIGMOID, kind="INT32")


def test_a_shape_that_depends_on_the_batch_otherwise_than_by_being_it_is_refused() -> None:
    with pytest.raises(GraphError, match="is 10 or 14 for a batch of 5 or 7"):
        lifted(
            layer("SHAPE", "x", out="shape", makes="INT64", shape=(4,)),
            layer("ELEMENTWISE", "shape", "shape", out="size", makes="INT64", shape=(4,), op="SUM"),
            constant("start", [0, 0, 0, 0], "INT64"),
            replace(
                cut(), inputs=("x", "start", "size"), settings={**cut().settings, "axes": None, "stride": (1, 1, 1, 1)}
            ),
        )


def test_an_output_that_is_integers_is_refused() -> None:
    with pytest.raises(GraphError, match="out: is an output"):
        lifted(
            constant("zero", 0),
            layer("QUANTIZE", "x", "step", "zero", makes="INT8", to_type="INT8", axis=1, block_shape=None),
        )
