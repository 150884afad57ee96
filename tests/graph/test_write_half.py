"""The file in float16: what stands in it, that our reader and onnxruntime take it, and that nothing is lost unseen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import operator_suite
import pytest
from hypothesis import given, settings
from metadata_graphs import SIZE, SPEC, told_and_seen
from onnx import TensorProto, helper, numpy_helper
from operator_suite import Drawn, small_graphs
from raw_graphs import pixels, run

from edgeskin.errors import GraphError
from edgeskin.export import golden, reference
from edgeskin.graph import execute, half
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network, Resize
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve
from edgeskin.graph.write import OPSET, Opset, to_onnx, write_onnx
from edgeskin.shipped import default_release
from edgeskin.targets.onnx import OnnxSession

OPSETS: tuple[Opset, ...] = (21, 17)
CASES = 8


def reread(network: Network) -> Network:
    return read(half.widened(to_onnx(network, half=True)))


@pytest.mark.parametrize("opset", OPSETS)
def test_all_is_float16_but_what_enters_and_leaves(float_network: Network, opset: Opset) -> None:
    model = to_onnx(float_network, half=True, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    (image,) = model.graph.input
    assert image.type.tensor_type.elem_type == (TensorProto.UINT8 if opset == OPSET else TensorProto.FLOAT)
    assert [each.name for each in model.graph.output] == list(float_network.outputs)
    assert {each.type.tensor_type.elem_type for each in model.graph.output} == {TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    computed = {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}
    assert set(computed.values()) <= {TensorProto.FLOAT16, TensorProto.INT64}
    stored = {each.name: each.data_type for each in model.graph.initializer}
    factors = {f"{node.name}.scales" for node in float_network.nodes if isinstance(node.operator, Resize)}
    assert {name for name, kind in stored.items() if kind == TensorProto.FLOAT} == factors & stored.keys()


@pytest.mark.parametrize("kind", operator_suite.KINDS)
def test_an_operator_alone_reads_back_as_the_halved_network(kind: str) -> None:
    @settings(max_examples=15, deadline=None)
    @given(operator_suite.alone(kind, quantized=False))
    def judge(drawn: Drawn) -> None:
        assert reread(drawn.network) == halve(read(to_onnx(drawn.network)))

    judge()


@settings(max_examples=25, deadline=None)
@given(small_graphs(quantized=False))
def test_onnxruntime_runs_it_as_near_as_float16_is(drawn: Drawn) -> None:
    """onnxruntime has few kernels of float16 on a CPU: it computes in float32 with the constants of the file."""
    (found,) = run(to_onnx(drawn.network, half=True), drawn.feeds)
    assert found.dtype == np.float32
    expected = execute.outputs(halve(drawn.network), drawn.feeds, half=True)["out"]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_metadata_enters_as_float32() -> None:
    network = told_and_seen(quantized=False)
    feeds = {
        "image": pixels(size=SIZE, count=2),
        "metadata": np.random.default_rng(0).uniform(-1, 1, (2, SPEC.width)).astype(np.float32),
    }
    found = run(to_onnx(network, half=True), feeds)
    for one, other in zip(found, execute.outputs(halve(network), feeds, half=True).values(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    assert reread(network) == halve(read(to_onnx(network)))


def test_the_released_network_is_equivalent_by_the_rule_for_fp16(tmp_path: Path) -> None:
    graph = Graph.open(default_release())
    whole = golden.read(graph.golden, graph.card)
    cases = replace(
        whole,
        cases=whole.cases[:CASES],
        float_outputs={name: values[:CASES] for name, values in whole.float_outputs.items()},
        int8_outputs={name: values[:CASES] for name, values in whole.int8_outputs.items()},
    )
    write_onnx(read(graph.fp32), tmp_path / "fp16.onnx", half=True)
    assert half.read(tmp_path / "fp16.onnx") == halve(read(graph.fp32))
    assert (tmp_path / "fp16.onnx").stat().st_size < 0.55 * graph.fp32.stat().st_size
    answers = reference.of_graph(graph, cases, "fp16")
    hops = answers.compare(OnnxSession(tmp_path / "fp16.onnx", plain=True).run, cases)
    assert {hop.tensor: hop.equivalent for hop in hops} == dict.fromkeys(whole.float_outputs, True)


def test_equal_networks_give_equal_bytes(float_network: Network, tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_onnx(float_network, tmp_path / f"{name}.onnx", half=True)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_a_number_beyond_float16_is_refused_by_name(float_network: Network) -> None:
    (name, bias) = next((name, each) for name, each in float_network.tensors.items() if name.endswith(".bias"))
    assert bias.data is not None
    changed = replace(bias, data=np.full_like(bias.data, 70_000))
    with pytest.raises(GraphError, match=rf"{name}: holds 70000, and float16 ends at 65504"):
        to_onnx(replace(float_network, tensors={**float_network.tensors, name: changed}), half=True)


def test_there_is_no_float16_between_integers(network: Network) -> None:
    with pytest.raises(AssertionError, match="between integers"):
        to_onnx(network, half=True)


# --- what passes for a file in float16, and what does not ---


def test_no_float16_passes_for_float32(float_network: Network) -> None:
    with pytest.raises(GraphError, match="a uint8 image must be cast to float32"):
        read(to_onnx(float_network, half=True))


def with_a_wide_weight(model: onnx.ModelProto) -> None:
    stored = next(each for each in model.graph.initializer if each.name == "encoder.stem.weight")
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored).astype(np.float32), stored.name))


def with_another_cast(model: onnx.ModelProto) -> None:
    model.graph.node[0].CopyFrom(
        helper.make_node("Cast", model.graph.node[0].input, model.graph.node[0].output, name="c", to=TensorProto.DOUBLE)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_a_wide_weight, r"encoder\.stem\.weight: is float32 in a file that should be float16"),
        (with_another_cast, "image"),
    ],
)
def test_a_file_that_is_float16_in_part_is_refused(
    change: Callable[[onnx.ModelProto], None], told: str, float_network: Network, tmp_path: Path
) -> None:
    model = to_onnx(float_network, half=True)
    change(model)
    onnx.save(model, tmp_path / "fp16.onnx")
    with pytest.raises(GraphError, match=rf"^\S+fp16\.onnx: .*{told}"):
        half.read(tmp_path / "fp16.onnx")


def test_a_file_in_float32_is_none_in_float16(float_network: Network, tmp_path: Path) -> None:
    write_onnx(float_network, tmp_path / "fp16.onnx")
    with pytest.raises(GraphError, match="should be float16 throughout"):
        half.read(tmp_path / "fp16.onnx")


def test_a_file_that_is_absent_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=rf"^{tmp_path / 'fp16.onnx'}: no such file$"):
        half.read(tmp_path / "fp16.onnx")
