"""Every operator through a saved package: it reads back as it was, and torch computes of it what the executor computes.

Judges: torch, by MIL's documentation of each operator (mil_in_torch), on the package alone; onnxruntime and the
executor on the network. Each node is judged on onnxruntime's integers, so that no rounding before it hides it.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import operator_suite
import pytest
from coreml_packages import unswept, written
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from operator_suite import Drawn, Values, computed, demand_same, small_graphs

from edgeskin.errors import TargetError
from edgeskin.graph import execute
from edgeskin.graph.ir import Network, Node, Sigmoid
from edgeskin.graph.rewrite import halve, weights_only
from edgeskin.targets.coreml.lift import lift
from edgeskin.targets.coreml.lower import lower
from edgeskin.targets.coreml.parse import parse

pytest.importorskip("coremltools")
pytest.importorskip("torch")
from mil_in_torch import Package


@pytest.fixture(scope="module", autouse=True)
def _unswept() -> Iterator[None]:
    with unswept():
        yield


def demand_a_faithful_package(drawn: Drawn) -> None:
    network = drawn.network
    with tempfile.TemporaryDirectory() as folder:
        path, note = written(network, Path(folder))
        assert lift(parse(path), note) == network
        found = [Package(path).run({"image": picture[None]}) for picture in drawn.feeds["image"]]
    identifiers = {note.tensor(name): name for name in found[0]}
    values = dict(drawn.feeds)
    for node in network.nodes:
        # On torch's own values: where they differ from the executor's at all, it is in one node, by a tie.
        result = np.concatenate([each[identifiers[node.output]] for each in found])
        demand_same(network, node, values, execute.apply(network, node, values), result)
        values[node.output] = result


@pytest.mark.parametrize("quantized", [True, False], ids=["int8", "float"])
@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone(kind: str, quantized: bool) -> None:
    @settings(max_examples=12, deadline=None)
    @given(operator_suite.alone(kind, quantized=quantized))
    def judge(drawn: Drawn) -> None:
        demand_a_faithful_package(drawn)

    judge()


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_small_graph(data: st.DataObject) -> None:
    demand_a_faithful_package(data.draw(small_graphs(quantized=data.draw(st.booleans()))))


HALF = 2.0**-10
"""Two roundings to float16, as a share of the largest number that an operator reads or writes."""


def demand_near_in_half(network: Network, node: Node, values: Values, found: npt.NDArray[np.generic]) -> None:
    """That what torch made of a node lies between what the executor stores of a little less and of a little more.

    A hard sigmoid has its slope in float16, and a hard swish rounds twice where the executor rounds once.
    """
    result = network.result(node)
    bare = replace(network, tensors={**network.tensors, result.name: replace(result, quantization=None)})
    exact = execute.apply(bare, node, values, half=True).astype(np.float64)
    read = [
        tensor.real() if tensor.is_constant else execute.real(tensor, values[tensor.name])
        for tensor in network.operands(node)
        if tensor.name not in network.inputs  # a picture's pixels are no float16
    ]
    reach = HALF * max(float(np.abs(each).max()) for each in (exact, *read))
    least, most = (execute.stored(result, exact + way * reach) for way in (-1, 1))
    assert found.dtype == least.dtype
    assert ((least <= found) & (found <= most)).all(), node


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_small_graph_in_float16(data: st.DataObject) -> None:
    """Read back it has its floats rounded; torch is within two roundings of the executor in each node."""
    drawn = data.draw(small_graphs(quantized=data.draw(st.booleans())))
    network = halve(drawn.network)
    with tempfile.TemporaryDirectory() as folder:
        path, note = written(drawn.network, Path(folder), "float16")
        assert lift(parse(path), note) == network
        found = [Package(path).run({"image": picture[None]}) for picture in drawn.feeds["image"]]
    identifiers = {note.tensor(name): name for name in found[0]}
    values = dict(drawn.feeds)
    for node in network.nodes:
        result = np.concatenate([each[identifiers[node.output]] for each in found])
        demand_near_in_half(network, node, values, result)
        values[node.output] = result


@settings(max_examples=8, deadline=None)
@given(operator_suite.alone("conv", quantized=True))
def test_weights_alone_stay_integers(drawn: Drawn) -> None:
    *nodes, end = drawn.network.nodes
    network = weights_only(replace(drawn.network, nodes=(*nodes, replace(end, operator=Sigmoid()))))
    with tempfile.TemporaryDirectory() as folder:
        path, note = written(network, Path(folder))
        assert lift(parse(path), note) == network
        assert set(parse(path).integers) == {
            name for name, tensor in network.tensors.items() if tensor.quantization is not None
        }
        found = [Package(path).run({"image": picture[None]})["out"] for picture in drawn.feeds["image"]]
    np.testing.assert_allclose(
        np.concatenate(found), execute.outputs(network, drawn.feeds)["out"], atol=2e-5, rtol=1e-5
    )


def test_a_scale_that_is_off_by_a_thousandth_would_be_seen() -> None:
    """The comparison is no formality."""

    @settings(max_examples=5, deadline=None, database=None, phases=[Phase.generate])
    @given(operator_suite.alone("conv", quantized=True))
    def judge(drawn: Drawn) -> None:
        network = drawn.network
        result = network.result(network.nodes[1])
        assert result.quantization is not None
        scale = result.quantization.scale * np.float32(1.001)
        wrong = replace(result, quantization=replace(result.quantization, scale=scale))
        other = replace(network, tensors={**network.tensors, result.name: wrong})
        with tempfile.TemporaryDirectory() as folder:
            path, _ = written(other, Path(folder))
            found = Package(path).run({"image": drawn.feeds["image"][:1]})
        feeds = {"image": drawn.feeds["image"][:1]}
        values = computed(network, feeds)
        demand_same(network, network.nodes[1], values, found[result.name], values[result.name])

    with pytest.raises(AssertionError):
        judge()


def test_a_scale_that_float16_would_lose_is_refused() -> None:
    @settings(max_examples=1, deadline=None, database=None, phases=[Phase.generate])
    @given(operator_suite.alone("conv", quantized=True))
    def judge(drawn: Drawn) -> None:
        network = drawn.network
        weight = network.operands(network.nodes[1])[1]
        assert weight.quantization is not None
        tiny = replace(weight.quantization, scale=weight.quantization.scale * np.float32(1e-7))
        lost = replace(network, tensors={**network.tensors, weight.name: replace(weight, quantization=tiny)})
        lower(lost)
        with pytest.raises(TargetError, match=f"{weight.name}: has a scale of .*, below float16"):
            lower(lost, half=True)

    judge()
