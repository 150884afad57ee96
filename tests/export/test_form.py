"""The forms of a network in onnxruntime, which judge artifacts that no engine here runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
from operator_suite import Drawn, small_graphs

from edgeskin.export.form import form_of, network_of, session_of
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve, weights_only


def test_onnxruntime_rounds_to_float16_where_the_executor_does() -> None:
    """Both round each operator once, and part only where a sum in float32 and one in float64 fall on two sides."""
    equal: list[np.ndarray] = []

    @settings(max_examples=40, deadline=None)
    @given(small_graphs(quantized=False))
    def judge(drawn: Drawn) -> None:
        ours = execute.outputs(halve(drawn.network), drawn.feeds, half=True)["out"]
        theirs = session_of(drawn.network, half=True).run(drawn.feeds["image"])["out"]
        exact = execute.outputs(drawn.network, drawn.feeds)["out"]
        unit = 2.0**-11  # half of float16's step below 1; each of up to five operators may add one
        assert np.abs(ours - theirs).max() <= 16 * unit * max(1.0, np.abs(exact).max())
        # Of a sigmoid's tail onnxruntime's approximation keeps less than float16's smallest step.
        equal.append((np.abs(ours - theirs) <= np.finfo(np.float16).smallest_subnormal).reshape(-1))

    judge()
    # Without rounding in one of them, next to nothing would be equal.
    assert np.concatenate(equal).mean() >= 0.99


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_what_float16_rounds_is_seen(data: st.DataObject) -> None:
    """The same comparison without float16 in either is exact to float32: the rounding above is really there."""
    drawn = data.draw(small_graphs(quantized=False))
    theirs = session_of(drawn.network).run(drawn.feeds["image"])["out"]
    np.testing.assert_allclose(execute.outputs(drawn.network, drawn.feeds)["out"], theirs, atol=2e-5, rtol=1e-5)
    halved = session_of(drawn.network, half=True).run(drawn.feeds["image"])["out"]
    assert (halved.astype(np.float16) == halved).all()


@pytest.mark.parametrize(
    ("precision", "compute", "form"),
    [
        ("int8", "float32", "int8"),
        ("int8", "float16", "int8-float16"),
        ("w8a16", "float16", "w8a16"),
        ("fp16", "float16", "fp16"),
        ("fp16", "float32", "fp16"),
        ("fp32", "float32", "fp32"),
    ],
)
def test_a_form_is_a_precision_and_only_int8_depends_on_its_float(precision, compute, form) -> None:
    assert form_of(precision, compute) == form


def test_each_form_is_a_network_of_the_graph(small_graph: Graph) -> None:
    assert network_of(small_graph, "int8") == network_of(small_graph, "int8-float16") == read(small_graph.int8)
    assert network_of(small_graph, "fp32") == network_of(small_graph, "fp16") == read(small_graph.fp32)
    assert network_of(small_graph, "w8a16") == weights_only(read(small_graph.int8))
