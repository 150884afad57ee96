import numpy as np
import pytest

from edgeskin.benchmarks import size
from edgeskin.graph.ir import Linear, Network, Node, Quantization, Tensor


def network(*, quantized: bool) -> Network:
    known = Quantization(np.float32(1 / 64)) if quantized else None
    weight = Tensor("w", (4, 1024), known, np.zeros((4, 1024), np.int8 if quantized else np.float32))
    bias = Tensor("b", (4,), None, np.zeros(4, np.float32))
    computed = [Tensor(name, ("N", 1024)) for name in ("x", "y", "z")]
    nodes = (Node("first", Linear(), ("x", "w", "b"), "y"), Node("again", Linear(), ("y", "w"), "z"))
    return Network(("x",), ("z",), nodes, {tensor.name: tensor for tensor in (weight, bias, *computed)})


@pytest.mark.parametrize(
    ("precision", "bytes_stored"),
    [("int8", 4096 + 4 * 4), ("w8a16", 4096 + 4 * 2), ("fp16", 4100 * 2), ("fp32", 4100 * 4)],
)
def test_a_layer_takes_what_its_numbers_take_in_that_precision(precision, bytes_stored):
    (layer,) = size.by_layer(network(quantized=precision in {"int8", "w8a16"}), precision)
    assert (layer.name, layer.kind, layer.parameters) == ("first", "Linear", 4100)
    assert layer.size_kib * 1024 == bytes_stored


def test_what_two_layers_share_counts_once():
    assert [layer.name for layer in size.by_layer(network(quantized=True), "int8")] == ["first"]
