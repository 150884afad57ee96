"""Folding changes no integer, and unfolding gives the program before it."""

from dataclasses import replace

import numpy as np
import pytest

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Add, Conv, Mean, Network, Node, Pixels, Quantization, Requantize, Tensor
from edgeskin.graph.rewrite import snap_biases
from edgeskin.targets.tflite.fold import fold, unfold
from edgeskin.targets.tflite.lift import lift
from edgeskin.targets.tflite.lower import lower
from edgeskin.targets.tflite.note import Note, owners

pytest.importorskip("ai_edge_litert")
from tflite_alone import interpret


def scale(value: float) -> Quantization:
    return Quantization(np.asarray(value, np.float32))


def narrow(outputs: int, height: int, width: int, *, bias: bool = True) -> Network:
    """The door, a 1×1 convolution with few outputs, their mean; the sum of both, as float32."""
    random = np.random.default_rng(outputs + 10)
    data = random.integers(-127, 128, (outputs, 3, 1, 1)).astype(np.int8)
    steps = random.uniform(0.004, 0.008, outputs).astype(np.float32)
    plain = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1)
    size = (height, width)
    tensors = [
        Tensor("image", ("N", 3, *size)),
        Tensor("pixels", ("N", 3, *size), scale(1 / 128)),
        Tensor("weight", data.shape, Quantization(steps, 0), data),
        Tensor("bias", (outputs,), None, random.normal(0, 0.3, outputs).astype(np.float32)),
        Tensor("x", ("N", outputs, *size), scale(0.0234375)),
        Tensor("mean", ("N", 1, *size), scale(0.0107421875)),
        Tensor("sum", ("N", outputs, *size), scale(0.03125)),
        Tensor("out", ("N", outputs, *size)),
    ]
    nodes = (
        Node("door", Pixels(), ("image",), "pixels"),
        Node("it", plain, ("pixels", "weight", "bias") if bias else ("pixels", "weight"), "x"),
        Node("mean", Mean((1,), True), ("x",), "mean"),
        Node("sum", Add(), ("x", "mean"), "sum"),
        Node("end", Requantize(), ("sum",), "out"),
    )
    used = {name for node in nodes for name in (*node.inputs, node.output)}
    known = {tensor.name: tensor for tensor in tensors if tensor.name in used}
    return snap_biases(Network(("image",), ("out",), nodes, known))


@pytest.mark.parametrize(
    ("outputs", "size", "together"),
    [
        (1, (32, 48), 8),
        (2, (33, 40), 4),
        (3, (40, 30), 2),
        (4, (64, 34), 2),
        (1, (40, 36), 4),
        (5, (32, 48), 1),  # 10 outputs would be more than a kernel's 8
        (1, (63, 33), 1),  # an odd width
        (1, (31, 32), 1),  # too small to be worth it
    ],
)
@pytest.mark.parametrize("plain", [False, True], ids=["XNNPACK", "own kernels"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_no_integer_changes(outputs: int, size: tuple[int, int], together: int, plain: bool, bias: bool) -> None:
    network = narrow(outputs, *size, bias=bias)
    program = lower(network)
    folded = fold(program)
    (convolution,) = [each for each in folded.operations if (each.kind, each.owner) == ("CONV_2D", "it")]
    assert folded.tensors[convolution.inputs[1]].shape == (together * outputs, 1, 1, together * 3)
    assert [each.kind for each in unfold(folded).operations] == [each.kind for each in program.operations]
    assert lift(folded, Note("", "int8", owners(folded.operations))) == network
    image = {"image": np.random.default_rng(1).integers(0, 256, (2, 3, *size), dtype=np.uint8)}
    before, after = (interpret(each, image, plain=plain)["out"] for each in (program, folded))
    assert len(np.unique(before)) > 20
    np.testing.assert_array_equal(after, before)


def test_what_is_not_the_same_for_every_pixel_is_refused() -> None:
    folded = fold(lower(narrow(1, 32, 48)))
    place = next(index for index, value in enumerate(folded.tensors) if value.name == "weight:folded_8")
    weight = folded.tensors[place]
    assert weight.data is not None
    for row, column in ((7, 0), (7, 21)):  # beside the diagonal, and in its last block
        data = weight.data.copy()
        data[row, 0, 0, column] += 1
        tensors = (*folded.tensors[:place], replace(weight, data=data), *folded.tensors[place + 1 :])
        with pytest.raises(GraphError, match="it: its folded weight is not the same convolution for each pixel"):
            unfold(replace(folded, tensors=tensors))
