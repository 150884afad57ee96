"""The onnxruntime target: built, read back, run, and asked where it ran."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import metadata_graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from raw_graphs import Raw, pixels

from edgeskin.errors import ContractError, GraphError, TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Quantization
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import snap_biases
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact
from edgeskin.targets.onnx import OnnxSession, OnnxTarget, cpu_flags, reference_session, sums_bytes_exactly

TARGET = OnnxTarget()


@pytest.fixture(scope="module")
def int8(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return TARGET.build(graph, "int8", tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="module")
def fp32(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return TARGET.build(graph, "fp32", tmp_path_factory.mktemp("fp32"))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


def test_the_artifact_reads_back_as_the_network_it_was_built_from(graph: Graph, int8: Artifact, fp32: Artifact) -> None:
    assert TARGET.read(int8) == read(graph.int8)
    assert TARGET.read(fp32) == read(graph.fp32)
    assert (int8.target, int8.precision, int8.graph_sha256) == ("onnx", "int8", graph.sha256)
    assert fp32.precision == "fp32"


def test_equal_graphs_give_equal_bytes(graph: Graph, int8: Artifact, tmp_path: Path) -> None:
    assert TARGET.build(graph, "int8", tmp_path).path.read_bytes() == int8.path.read_bytes()


def test_the_artifact_carries_its_model_card(graph: Graph, int8: Artifact) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(int8.path).metadata_props}
    assert json.loads(properties["edgeskin.model"]) == graph.card.model_dump(mode="json")
    assert properties["edgeskin.graph_sha256"] == graph.sha256
    assert properties["edgeskin.licence"] == "Apache-2.0"
    assert properties["edgeskin.intended_use"] == "Tests only."
    assert properties["edgeskin.precision"] == "int8"


def test_plain_execution_of_the_artifact_is_the_reference_bit_for_bit(
    graph: Graph, int8: Artifact, fp32: Artifact, images: np.ndarray
) -> None:
    for artifact, source in ((int8, graph.int8), (fp32, graph.fp32)):
        reference = reference_session(source).run(images)
        plain = TARGET.open(artifact, plain=True).run(images)
        assert list(plain) == ["mask", "diagnosis", "melanoma"]
        for name, values in reference.items():
            np.testing.assert_array_equal(plain[name], values)


def test_integer_kernels_differ_from_the_reference_by_single_roundings(
    graph: Graph, int8: Artifact, images: np.ndarray
) -> None:
    reference = reference_session(graph.int8).run(images)
    optimised = TARGET.open(int8).run(images)
    # architecture.md, "equivalent": mean |Δ probability| within 0.002.
    for name, values in reference.items():
        assert np.abs(optimised[name] - values).mean() <= 0.002
    np.testing.assert_allclose(optimised["diagnosis"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 24), (64, 64)], ids=["by sizes", "by scales"])
def test_a_linear_resize_rounds_and_is_not_truncated_by_an_integer_kernel(
    size: tuple[int, int], tmp_path: Path
) -> None:
    raw = Raw(size=32)
    shape = raw.op("Concat", raw.op("Shape", raw.door(), start=0, end=2), raw.constant(size, np.int64), axis=0)
    pixel = raw.nodes[4].output[0]
    spelled = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    wide = raw.q(raw.op("Resize", pixel, "", "", shape, **spelled), 1 / 128)
    raw.outputs.append("mask")
    raw.op("Sigmoid", wide, output="mask")
    write_onnx(read(raw.model()), tmp_path / "model.onnx", activations="uint8")
    image = pixels(32)
    plain = OnnxSession(tmp_path / "model.onnx", plain=True).run(image)["mask"]
    optimised = OnnxSession(tmp_path / "model.onnx").run(image)["mask"]
    assert len(np.unique(plain)) > 100
    # Truncation would lower every value by half a step on average; only ties may differ.
    assert np.mean(plain != optimised) < 0.01


def test_a_batch_gives_what_its_images_give_alone(int8: Artifact, images: np.ndarray) -> None:
    session = TARGET.open(int8)
    together = session.run(images)
    for index in range(len(images)):
        for name, values in session.run(images[index : index + 1]).items():
            np.testing.assert_array_equal(values[0], together[name][index])


def test_every_convolution_runs_as_an_integer_kernel_and_the_rest_is_named(int8: Artifact) -> None:
    placement = TARGET.open(int8).placement()
    assert placement.provider == "CPUExecutionProvider"
    assert placement.convolutions == placement.integer_convolutions == 6
    # onnxruntime 1.31 has no integer kernel for these; nothing else may join them.
    assert set(placement.float_operators) == {"mean_1", "mean_2", "hard_sigmoid_1", "resize_1"}


def test_plain_and_float_sessions_report_float_kernels(int8: Artifact, fp32: Artifact) -> None:
    plain = TARGET.open(int8, plain=True).placement()
    assert (plain.convolutions, plain.integer_convolutions) == (6, 0)
    assert "encoder.stem" in plain.float_operators
    floating = TARGET.open(fp32).placement()
    assert (floating.convolutions, floating.integer_convolutions, floating.float_operators) == (6, 0, ())


def test_a_layer_kept_in_float_is_not_reported_as_left_in_float(graph: Graph, tmp_path: Path) -> None:
    network = read(graph.int8)
    weight = network.tensors["encoder.deep.weight"]
    island = replace(weight, quantization=None, data=weight.real())
    write_onnx(
        replace(network, tensors={**network.tensors, weight.name: island}), tmp_path / "k.onnx", activations="uint8"
    )
    placement = OnnxSession(tmp_path / "k.onnx").placement()
    assert (placement.convolutions, placement.integer_convolutions) == (6, 5)
    assert "encoder.deep" not in placement.float_operators


def test_a_precision_it_cannot_build_is_refused_with_those_it_can(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="onnx cannot build fp16; it builds fp32, int8"):
        TARGET.build(graph, "fp16", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_breaks_the_contract_is_not_built(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    folder.mkdir()
    network = read(graph.int8)
    tensor = replace(network.tensors["mul_1"], quantization=Quantization(np.float32(0.04)))
    write_onnx(replace(network, tensors={**network.tensors, "mul_1": tensor}), folder / "int8.onnx")
    write_onnx(read(graph.fp32), folder / "fp32.onnx")
    graph.card.write(folder / "model.json")
    with pytest.raises(ContractError, match="scales-fp16: mul_1"):
        TARGET.build(Graph.open(folder), "int8", tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_an_image_of_another_shape_or_type_is_refused(int8: Artifact, images: np.ndarray) -> None:
    session = TARGET.open(int8)
    with pytest.raises(TargetError, match=r"takes image as uint8 \[N, 3, 32, 32\], not float32 \[3, 3, 32, 32\]"):
        session.run(images.astype(np.float32))
    with pytest.raises(TargetError, match=r"not uint8 \[3, 3, 32, 16\]"):
        session.run(images[..., :16])


def test_an_artifact_that_is_broken_is_refused_by_name(int8: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(int8.path.read_bytes()[:2000])
    with pytest.raises(GraphError, match="not an ONNX file, or truncated"):
        OnnxSession(path)
    foreign = helper.make_model(
        helper.make_graph(
            [helper.make_node("Unheard", ["image"], ["y"], domain="com.example")],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, 4, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.example", 1)],
        ir_version=10,
    )
    onnx.save(foreign, path)
    with pytest.raises(TargetError, match="cannot run it"):
        OnnxSession(path)


def test_nothing_is_missing_where_these_tests_run() -> None:
    assert TARGET.missing() is None


# --- sums of bytes ---


def test_only_a_cpu_that_is_known_to_sum_bytes_exactly_is_trusted() -> None:
    assert sums_bytes_exactly(frozenset({"avx2", "avx512_vnni"}))
    assert sums_bytes_exactly(frozenset({"avx2", "avx_vnni"}))
    assert not sums_bytes_exactly(frozenset({"avx2", "avx512f", "avx512bw"}))
    assert not sums_bytes_exactly(frozenset())
    assert isinstance(cpu_flags(), frozenset)


def test_sums_of_the_largest_bytes_do_not_saturate_on_this_cpu(tmp_path: Path) -> None:
    """Two products 255 · 127 leave int16, where CPUs without VNNI saturate; no session may."""
    channels, pixel = 64, np.full((1, 3, 4, 4), 255, np.uint8)
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "s", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["first", "s", "first_zero"], ["first_real"]),
        helper.make_node("Conv", ["x", "first_real"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "big", "z"], ["aq"]),
        helper.make_node("DequantizeLinear", ["aq", "big", "z"], ["ad"]),
        helper.make_node("DequantizeLinear", ["second", "s", "second_zero"], ["second_real"]),
        helper.make_node("Conv", ["ad", "second_real"], ["b"]),
        helper.make_node("QuantizeLinear", ["b", "huge", "z"], ["bq"]),
        helper.make_node("DequantizeLinear", ["bq", "huge", "z"], ["y"]),
    ]
    # By hand: x = 255, a = 3 · 255 · 127 = 97155 = 127.5 steps of 762 -> 127 or 128 steps, b = 64 · a · 127.
    stored = {
        "s": np.float32(1),
        "z": np.uint8(0),
        # One for each weight, as in our files: without any, onnxruntime 1.23 aborts where it has to widen its sums.
        "first_zero": np.int8(0),
        "second_zero": np.int8(0),
        "big": np.float32(97155 / 255),
        "huge": np.float32(channels * 97155 * 127 / 200),
        "first": np.full((channels, 3, 1, 1), 127, np.int8),
        "second": np.full((channels, channels, 1, 1), 127, np.int8),
    }
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, 4, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels, 4, 4])],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "bytes.onnx")
    answer = OnnxSession(tmp_path / "bytes.onnx").run(pixel)["y"]
    # a saturates its own scale at exactly 255 steps, so b is 200 of its steps.
    np.testing.assert_allclose(answer, 200 * stored["huge"], rtol=1e-6)


# --- with metadata ---


@pytest.fixture(scope="module")
def told(once) -> Artifact:
    graph = Graph.open(once("told_graph", metadata_graphs.write_metadata_graph))
    return TARGET.build(graph, "int8", once("told_artifact", Path.mkdir))


def answer(session: OnnxSession, **values: object) -> float:
    """Melanoma of a photo of red 0 about whose owner `values` are known."""
    image = np.zeros((1, 3, 32, 32), np.uint8)
    return float(session.run(image, metadata_graphs.SPEC.encode(values)[None])["melanoma"][0, 0])


def test_a_session_says_from_its_file_which_inputs_it_has(int8: Artifact, told: Artifact) -> None:
    assert TARGET.open(int8).metadata_width is None
    assert TARGET.open(told).metadata_width == 5
    assert TARGET.read(told) == metadata_graphs.told_and_seen(quantized=True)


def test_metadata_multiplies_what_is_seen(told: Artifact) -> None:
    for session in (TARGET.open(told), TARGET.open(told, plain=True)):
        # The formula of metadata_graphs: red is −1, so the logit is 4 times the gate.
        for gate, values in ((1, {"sex": "female"}), (0.75, {"sex": "male", "age": 100}), (0.25, {})):
            # int8 rounds gate and product (half of 3/256, times 4) and logit (half of 3/64): a quarter of that after.
            assert answer(session, **values) == pytest.approx(1 / (1 + np.exp(-4 * gate)), abs=0.02)


def test_the_whole_range_of_metadata_enters_integers_exactly(told: Artifact) -> None:
    """A step of 1/64 in age moves the gate by 1/256, a third of its own step: 65 ages reach 22 gates or so."""
    session = TARGET.open(told)
    assert len({answer(session, age=age, sex="female") for age in range(101)}) > 20


def test_metadata_that_is_missing_not_taken_or_of_another_shape_is_refused(told: Artifact, int8: Artifact) -> None:
    image, row = np.zeros((2, 3, 32, 32), np.uint8), np.zeros((2, 5), np.float32)
    session = TARGET.open(told)
    with pytest.raises(TargetError, match=r"takes metadata as float32 \[N, 5\] beside image, and none was given"):
        session.run(image)
    with pytest.raises(TargetError, match=r"takes metadata as float32 \[N, 5\], not float64 \[2, 5\]"):
        session.run(image, row.astype(np.float64))
    with pytest.raises(TargetError, match=r"not float32 \[2, 4\]"):
        session.run(image, row[:, :4])
    with pytest.raises(TargetError, match="2 rows of image, but 1 of metadata"):
        session.run(image, row[:1])
    with pytest.raises(TargetError, match="takes image alone, and metadata was given"):
        TARGET.open(int8).run(image, row)


def test_a_file_with_another_input_is_refused_when_opened(tmp_path: Path) -> None:
    raw = Raw(size=32)
    raw.inputs.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1]))
    raw.outputs.append("melanoma")
    raw.op("Sigmoid", "age", output="melanoma")
    onnx.save(raw.model(), tmp_path / "model.onnx")
    with pytest.raises(TargetError, match=r"its inputs are image .*age"):
        OnnxSession(tmp_path / "model.onnx")


def test_a_session_that_runs_elsewhere_than_asked_is_refused(fp32: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = SimpleNamespace(get_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: elsewhere)
    with pytest.raises(TargetError, match=r"runs it on CUDAExecutionProvider, not on CPUExecutionProvider"):
        OnnxSession(fp32.path)


def test_a_weight_that_two_layers_read_runs_where_the_cpu_may_saturate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Raw()
    x = raw.door()
    # Beyond ±64: onnxruntime leaves smaller weights as they are, since no sum of theirs saturates.
    weight = raw.op(
        "DequantizeLinear",
        raw.constant(raw.random.integers(-127, 128, (3, 3, 3, 3)), np.int8, "twice.weight"),
        raw.constant(np.full(3, 0.0016)),
        raw.constant(np.zeros(3), np.int8),
        axis=0,
    )
    for scale in (0.0625, 0.03125):
        x = raw.q(raw.op("Conv", x, weight, raw.bias(3), kernel_shape=[3, 3], pads=[1] * 4), scale)
    raw.head(raw.q(raw.op("ReduceMean", x, raw.constant([2, 3], np.int64), keepdims=0), 0.0078125), 3, "melanoma")
    network = snap_biases(read(raw.model()))
    canonical, twin = tmp_path / "int8.onnx", tmp_path / "model.onnx"
    write_onnx(network, canonical)
    write_onnx(network, twin, activations="uint8")
    assert read(twin) == read(canonical) == network
    names = [tensor.name for tensor in onnx.load(twin).graph.initializer]
    weights = [name for name in names if name.startswith("twice.weight") and not name.endswith("point")]
    assert sorted(weights) == ["twice.weight", "twice.weight_2", "twice.weight_2_scale", "twice.weight_scale"]
    grey = np.broadcast_to(np.uint8([20, 230])[:, None, None, None], (2, 3, 12, 12)).copy()
    expected = reference_session(canonical).run(grey)["melanoma"]
    assert abs(expected[0] - expected[1]) > 0.04
    monkeypatch.setattr("edgeskin.targets.onnx.sums_bytes_exactly", lambda _: False)
    np.testing.assert_allclose(OnnxSession(twin).run(grey)["melanoma"], expected, atol=0.016)
