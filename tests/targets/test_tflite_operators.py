"""Every operator in LiteRT alone, on onnxruntime's own integers; onnxruntime and the executor are the judges.

Three statements, each stronger than a share of equal values: no result is more than one step off; with XNNPACK, which
every Android build has, one is off only where the exact result lies halfway between two integers, which onnxruntime
rounds to even; and what is lowered reads back as the network it came from. Without XNNPACK the interpreter's own
kernels round twice, half away from zero, so a result may be off up to a quarter of a step from halfway.
"""

from dataclasses import replace

import numpy as np
import operator_suite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_suite import HALFWAY, Drawn, Values, computed, demand_same, small_graphs

from edgeskin.errors import TargetError
from edgeskin.graph import execute
from edgeskin.graph.ir import AveragePool, Network, Node
from edgeskin.targets.tflite.lift import lift
from edgeskin.targets.tflite.lower import lower
from edgeskin.targets.tflite.note import Note, owners
from edgeskin.targets.tflite.program import Program

pytest.importorskip("ai_edge_litert")
from tflite_alone import run_alone

TWICE_ROUNDED = 0.2501


def demand_the_same_integers(network: Network, program: Program, node: Node, values: Values) -> None:
    ours = execute.apply(network, node, values)
    for plain in (False, True):
        found = run_alone(program, network, node, values, plain=plain)
        allowed = TWICE_ROUNDED if plain else HALFWAY
        for judge in (ours, values[node.output]):
            demand_same(network, node, values, found, judge, allowed)


def demand_a_faithful_program(drawn: Drawn) -> None:
    network = drawn.network
    try:
        program = lower(network)
    except TargetError as error:
        averages = [
            node for node in network.nodes if isinstance(node.operator, AveragePool) and any(node.operator.pads)
        ]
        assert averages, "only an average over the end of a map is refused"
        assert str(error).startswith(f"{averages[0].name} (AveragePool): pads"), error
        return
    assert lift(program, Note("", "int8", owners(program.operations))) == network
    values = computed(network, drawn.feeds)
    for node in network.nodes:
        demand_the_same_integers(network, program, node, values)


@pytest.mark.parametrize("quantized", [True, False], ids=["int8", "float"])
@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone(kind: str, quantized: bool) -> None:
    @settings(max_examples=25, deadline=None)
    @given(operator_suite.alone(kind, quantized=quantized))
    def judge(drawn: Drawn) -> None:
        demand_a_faithful_program(drawn)

    judge()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_small_graph(data: st.DataObject) -> None:
    demand_a_faithful_program(data.draw(small_graphs(quantized=data.draw(st.booleans()))))


def test_a_scale_that_is_off_by_a_thousandth_would_be_seen() -> None:
    """The comparison is no formality."""

    @settings(max_examples=5, deadline=None, database=None)
    @given(operator_suite.alone("conv", quantized=True))
    def judge(drawn: Drawn) -> None:
        network = drawn.network
        node = network.nodes[1]
        result = network.result(node)
        assert result.quantization is not None
        wrong = replace(
            result, quantization=replace(result.quantization, scale=result.quantization.scale * np.float32(1.001))
        )
        program = lower(replace(network, tensors={**network.tensors, result.name: wrong}))
        demand_the_same_integers(network, program, node, computed(network, drawn.feeds))

    with pytest.raises(AssertionError):
        judge()
