"""The network as a program of torch: what it computes, what is read back of it, and what torch_tensorrt is asked.

No test here compiles with TensorRT but the one that needs a GPU. What torch_tensorrt is asked is held against the
signatures of 2.13.0, written down in torch_tensorrt_api.py; what our converters ask of TensorRT, against TensorRT-RTX.
"""

import importlib
import io
import json
import logging
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operator_suite import KINDS, Drawn, alone, demand_same, small_graphs

from edgeskin import optional
from edgeskin.errors import GraphError, MissingDependencyError, TargetError
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import AveragePool, MaxPool, Network, Node, Pixels, Tensor
from edgeskin.targets.base import Artifact, Effort, Precision
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.layers import walk
from edgeskin.targets.tensorrt.log import log

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeskin[train]'")

from torch_tensorrt_api import VERSION, StandIn  # noqa: E402

from edgeskin.targets.tensorrt import torch_tensorrt as via  # noqa: E402
from edgeskin.targets.tensorrt.torch_tensorrt import (  # noqa: E402
    TorchTensorrtTarget,
    compiling,
    in_torch,
    program,
    reading,
)
from edgeskin.targets.tensorrt.torch_tensorrt.network import NetworkModule  # noqa: E402

RTX = parser.missing()
"""Why TensorRT-RTX is not here, or None."""

PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")


def torch_of(tensor: Tensor, value: np.ndarray) -> "torch.Tensor":
    """A value as torch holds it: pixels as they are, integers as the numbers that they stand for."""
    if value.dtype == np.uint8:
        return torch.from_numpy(value)
    return torch.from_numpy(execute.real(tensor, value).astype(np.float32))


def has_form(network: Network) -> bool:
    try:
        NetworkModule(network)
    except TargetError:
        return False
    return True


# --- what it computes ---


def demand_each_node(drawn: Drawn) -> None:
    """Every node alone, fed what the executor computed before it."""
    network = drawn.network
    if not has_form(network):
        return
    module = NetworkModule(network).eval()
    values = execute.run(network, drawn.feeds)
    reals = {name: torch_of(network.tensors[name], value) for name, value in values.items()}
    for node in network.nodes:
        result = network.result(node)
        with torch.no_grad():
            found = execute.stored(result, module.step(node, reals).numpy().astype(np.float64))
        demand_same(network, node, values, found, values[node.output])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantized", [True, False])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_each_operator_computes_what_the_executor_does(kind: str, quantized: bool, data: st.DataObject) -> None:
    demand_each_node(data.draw(alone(kind, quantized=quantized)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_network_computes_what_the_executor_does(graph: Graph, precision: Precision) -> None:
    target = TorchTensorrtTarget()
    network = target.holds(graph, precision)
    image = np.random.default_rng(0).integers(0, 256, (3, 3, graph.card.size, graph.card.size), dtype=np.uint8)
    module = NetworkModule(network, half=precision == "fp16").eval()
    with torch.no_grad():
        found = [each.numpy() for each in module(torch.from_numpy(image))]
    expected = execute.outputs(network, {"image": image}, half=precision == "fp16")
    allowed = {"int8": 0.02, "fp16": 0.004, "fp32": 2e-6}[precision]
    for name, value in zip(network.outputs, found, strict=True):
        np.testing.assert_allclose(value, expected[name], atol=allowed, err_msg=name)


@pytest.mark.parametrize("kind", [AveragePool, MaxPool])
def test_windows_that_pad_alike_on_both_sides_do_not_count_it(kind: type, tmp_path: Path) -> None:
    """No network of the suite has such."""
    shapes = {"image": ("N", 3, 7, 7), "x": ("N", 3, 7, 7), "y": ("N", 3, 4, 4)}
    nodes = (Node("door", Pixels(), ("image",), "x"), Node("pool", kind((3, 3), (2, 2), (1, 1, 1, 1)), ("x",), "y"))
    network = Network(("image",), ("y",), nodes, {name: Tensor(name, shape) for name, shape in shapes.items()})
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 7), dtype=np.uint8)
    found = NetworkModule(network)(torch.from_numpy(image))[0].numpy()
    np.testing.assert_allclose(found, execute.outputs(network, {"image": image})["y"], atol=1e-6)
    assert built(network, tmp_path) == network


def test_a_node_without_a_form_is_named() -> None:
    pool = Node("pool", AveragePool((3, 3), (2, 2), (0, 0, 1, 1)), ("x",), "y")
    tensors = {"x": Tensor("x", ("N", 3, 8, 8)), "y": Tensor("y", ("N", 3, 4, 4))}
    with pytest.raises(TargetError, match=r"pool \(AveragePool\): pads .* no form of it"):
        NetworkModule(Network(("x",), ("y",), (pool,), tensors))


# --- what is read back ---


def built(network: Network, folder: Path) -> Network:
    artifact = Artifact(folder / "model.pt2", "torch-tensorrt", "fp32", "0" * 64)
    program.write(artifact.path, network, artifact, {})
    return program.read(artifact)[1]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_what_is_written_reads_back(tmp_path: Path, data: st.DataObject) -> None:
    network = data.draw(small_graphs(quantized=data.draw(st.booleans()))).network
    if has_form(network):
        assert built(network, tmp_path) == network


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_reads_back_as_what_it_is_to_hold(graph: Graph, precision: Precision, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    artifact = target.build(graph, precision, tmp_path)
    network = target.holds(graph, precision)
    assert target.read(artifact) == network
    image = np.full((1, 3, graph.card.size, graph.card.size), 200, np.uint8)
    expected = execute.outputs(network, {"image": image}, half=precision == "fp16")
    found = target.execute(artifact).run(image)
    assert all(np.array_equal(found[name], expected[name]) for name in network.outputs)


def test_equal_graphs_give_equal_bytes_that_speak_of_no_machine(graph: Graph, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        contents.append(TorchTensorrtTarget().build(graph, "int8", tmp_path / name).path.read_bytes())
    assert contents[0] == contents[1]
    with zipfile.ZipFile(io.BytesIO(contents[0])) as archive:
        inside = b"".join(archive.read(name) for name in archive.namelist())
    assert b".py" not in inside
    assert b"cuda" not in inside


def test_torch_alone_reads_the_file_and_whose_it_is(graph: Graph, tmp_path: Path) -> None:
    artifact = TorchTensorrtTarget().build(graph, "fp32", tmp_path)
    extra = {"edgeskin.graph_sha256": "", "edgeskin.precision": "", "edgeskin.model": ""}
    module = torch.export.load(artifact.path, extra_files=extra).module()
    assert (extra["edgeskin.graph_sha256"], extra["edgeskin.precision"]) == (graph.sha256, "fp32")
    assert json.loads(extra["edgeskin.model"])["name"] == graph.card.name
    found = module(torch.zeros(5, 3, graph.card.size, graph.card.size, dtype=torch.uint8))
    assert [each.shape[0] for each in found] == [5, 5, 5]


def damaged(path: Path, change: str) -> None:
    content = path.read_bytes()
    if change == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif change == "empty":
        path.write_bytes(b"")
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(path, "w") as written:
            for name in archive.namelist():
                if name.endswith(change):
                    continue
                written.writestr(name, archive.read(name))


@pytest.mark.parametrize("change", ["truncated", "empty", "models/model.json", "edgeskin.note"])
def test_a_damaged_file_is_told_in_one_line(graph: Graph, change: str, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    artifact = target.build(graph, "fp32", tmp_path)
    damaged(artifact.path, change)
    with pytest.raises(GraphError) as caught:
        target.read(artifact)
    assert str(caught.value).startswith(str(artifact.path))
    assert "\n" not in str(caught.value)


def test_an_artifact_of_another_graph_or_precision_is_refused(graph: Graph, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    artifact = target.build(graph, "fp32", tmp_path)
    for other in (replace(artifact, precision="fp16"), replace(artifact, graph_sha256="1" * 64)):
        with pytest.raises(GraphError, match="says that it is fp32 of the graph"):
            target.read(other)


class Foreign(torch.nn.Module):
    """Somebody's program. way: what in it is not ours."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, image: "torch.Tensor") -> tuple["torch.Tensor", ...]:
        if self.way == "door":
            return (torch.sigmoid(image.float() - 127),)
        x = (image.float() - 128) * (1 / 128)
        if self.way == "call":
            return (torch.tanh(x),)
        if self.way == "ceil":
            return (torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=True),)
        qdq = torch.ops.quantized_decomposed
        zero, dtype = (3, torch.int8) if self.way == "zero point" else (0, torch.int8)
        x = qdq.quantize_per_tensor(x, 0.5, zero, -128, 127, dtype)
        scale = 0.25 if self.way == "two scales" else 0.5
        return (qdq.dequantize_per_tensor(x, scale, zero, -128, 127, dtype),)


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("door", "changes pixels otherwise"),
        ("call", r"tanh.* is no call that edgeskin writes"),
        ("ceil", "ceil_mode is True, not False"),
        ("zero point", "zero_point is 3, not 0"),
        ("two scales", "has another scale than what quantized"),
    ],
)
def test_what_is_not_ours_in_a_program_is_named(way: str, told: str) -> None:
    found = torch.export.export(Foreign(way), (torch.zeros(2, 3, 8, 8, dtype=torch.uint8),))
    with pytest.raises(GraphError, match=told):
        reading.read(found)


# --- what torch_tensorrt is asked ---


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """torch_tensorrt and a GPU, neither of which is there."""
    library = StandIn()
    trt = sys.modules.get("tensorrt_rtx") or (importlib.import_module("tensorrt_rtx") if RTX is None else None)
    if trt is None:
        trt = ModuleType("tensorrt")
        trt.__spec__ = ModuleSpec("tensorrt", None)
        trt.DataType = SimpleNamespace(INT8=0, FLOAT=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_tensorrt", library)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(via, "GPU", "cpu")
    compiling._add_converters.cache_clear()
    yield library
    compiling._add_converters.cache_clear()


def pictures(graph: Graph, rows: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (rows, 3, graph.card.size, graph.card.size), dtype=np.uint8)


def test_more_pictures_than_one_batch_are_run_in_turns(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    artifact = target.build(graph, "fp32", tmp_path)
    session = target.open(artifact)
    image = pictures(graph, 19)
    found, expected = session.run(image), target.execute(artifact).run(image)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-6)
    assert {name: value.shape[0] for name, value in session.run(image[:0]).items()} == dict.fromkeys(expected, 0)
    assert target.processors() == ("gpu",)
    assert session.metadata_width is None
    with pytest.raises(TargetError, match="takes image as uint8"):
        session.run(image.astype(np.float32))  # type: ignore[arg-type]


def test_torch_tensorrt_gets_the_program_and_the_sizes(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    target.open(target.build(graph, "int8", tmp_path))
    (asked,) = stand_in.asked
    size = graph.card.size
    (image,) = asked["arg_inputs"]
    assert image.given == {
        "min_shape": (1, 3, size, size),
        "opt_shape": (1, 3, size, size),
        "max_shape": (8, 3, size, size),
        "dtype": torch.uint8,
        "name": "image",
    }
    targets = [str(node.target) for node in stand_in.programs[0].graph.nodes]
    network = target.holds(graph, "int8")
    assert targets.count("edgeskin.dequantize.default") == sum(
        tensor.is_constant and tensor.quantization is not None for tensor in network.tensors.values()
    )
    assert "quantized_decomposed.dequantize_per_channel.default" not in targets


def test_compiling_leaves_the_root_logger_as_it_was(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    target = TorchTensorrtTarget()
    target.open(target.build(graph, "fp32", tmp_path))
    assert (root.handlers, root.level) == before


def test_what_torch_tensorrt_says_is_one_line(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.error = RuntimeError("no converter for it\nand a long story")
    target = TorchTensorrtTarget()
    artifact = target.build(graph, "fp32", tmp_path)
    with pytest.raises(TargetError, match=rf"^torch_tensorrt {VERSION} cannot compile it: no converter for it$"):
        target.open(artifact)


def test_stored_integers_are_not_folded_into_floats(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    """By the folding that torch_tensorrt's own derives from."""
    from torch._inductor.constant_folding import ConstantFolder

    target = TorchTensorrtTarget()
    target.open(target.build(graph, "int8", tmp_path))
    folder = ConstantFolder(stand_in.programs[0].module(), skip_constructors=False)
    folder.run()
    assert "edgeskin.dequantize.default" not in {str(node.target) for node in folder.node_replacements}


def layer(kind: str, name: str, weights: str) -> dict[str, object]:
    """A layer as an engine tells it, named as torch_tensorrt 2.13.0 names those of TensorRT."""
    named = {"Name": f"[{kind.upper()}]-[aten_ops.default]-[{name}]", "LayerType": kind, "Weights": {"Type": weights}}
    return {**named, "Inputs": [], "Outputs": []}


def test_engines_and_what_stays_in_torch_are_told(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    artifact = target.build(graph, "int8", tmp_path)
    weighted = [node for node in target.read(artifact).nodes if node.kind in ("Conv", "Linear")]
    convolutions = [node for node in weighted if node.kind == "Conv"]
    linears = [node for node in weighted if node.kind == "Linear"]
    stand_in.layers = [
        *(
            layer("CaskConvolution", f"/convolution_{place}" if place else "/convolution", "Int8")
            for place in range(len(convolutions))
        ),
        layer("CaskGemmMatrixMultiply", "/linear_matrix_multiply", "Int8"),
        *(
            layer("CaskGemmMatrixMultiply", f"/linear_{place}_matrix_multiply", "Int8")
            for place in range(1, len(linears))
        ),
    ]
    found = target.open(artifact).placement()
    assert found.provider == f"torch_tensorrt {VERSION} on a GPU: 1 TensorRT engine"
    assert (found.partitions, found.undelegated) == (1, ())
    assert (found.convolutions, found.integer_convolutions) == (len(convolutions), len(convolutions))
    stand_in.layers[1]["Weights"] = stand_in.layers[-1]["Weights"] = {"Type": "Float"}
    stand_in.left = True
    found = target.open(artifact).placement()
    assert found.integer_convolutions == len(convolutions) - 1
    assert found.float_operators == (convolutions[1].name, linears[-1].name)
    assert found.undelegated == ("detach_default (aten.detach.default)",)
    assert found.why_undelegated == "torch_tensorrt has no converter for them as they are"


def test_an_engine_that_says_nothing_is_not_guessed_at(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    found = target.open(target.build(graph, "int8", tmp_path)).placement()
    assert found.integer_convolutions is None
    assert found.float_operators is None


def test_queries_are_timed_one_by_one(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    target = TorchTensorrtTarget()
    session = target.open(target.build(graph, "fp32", tmp_path))
    times = session.times(pictures(graph, 2), None, Effort(warm_up_ms=0, duration_s=0, iterations=4))
    assert len(times.compute_ms) == len(times.latency_ms) == 4
    assert all(0 < alone <= whole for alone, whole in zip(times.compute_ms, times.latency_ms, strict=True))
    with pytest.raises(TargetError, match="8 rows at most, not 9"):
        session.times(pictures(graph, 9), None, Effort(warm_up_ms=0, duration_s=0, iterations=1))


def test_memory_that_is_not_there_is_one_line(graph: Graph, stand_in: StandIn, tmp_path: Path) -> None:
    def fail(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. 1.00 GiB is free.\nMore")

    target = TorchTensorrtTarget()
    session = target.open(target.build(graph, "fp32", tmp_path))
    session.module.forward = fail  # type: ignore[method-assign]
    with pytest.raises(TargetError, match=r"Tried to allocate 2.00 GiB. 1.00 GiB is free. Close"):
        session.run(pictures(graph, 1))


@pytest.mark.skipif(RTX is not None, reason=str(RTX))
def test_tensorrt_takes_what_the_converters_say(stand_in: StandIn) -> None:
    """Three operators on a network of TensorRT-RTX: types, scales and the axis of a weight's."""
    import tensorrt_rtx as trt

    compiling.define_operator()
    compiling._add_converters()
    by_name = {str(operator): converter for operator, converter in stand_in.converters.items()}
    builder = trt.Builder(log(trt).logger)
    net = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    context = SimpleNamespace(net=net, kept=[])
    x = net.add_input("x", trt.float32, (-1, 3, 4, 4))
    qdq = "quantized_decomposed.{}_per_tensor.default"
    integers = by_name[qdq.format("quantize")](context, None, (x, 0.5, 0, -128, 127, torch.int8), {}, "q")
    real = by_name[qdq.format("dequantize")](context, None, (integers, 0.5, 0, -128, 127, torch.int8), {}, "dq")
    weight, scale = torch.ones(4, 3, 1, 1, dtype=torch.int8), torch.tensor([1.0, 2.0, 3.0, 4.0])
    stored = by_name["edgeskin.dequantize.default"](context, None, (weight, scale, 0), {}, "w")
    assert (integers.dtype, real.dtype, stored.dtype) == (trt.int8, trt.float32, trt.float32)
    net.mark_output(real)
    net.mark_output(stored)
    layers = {layer.name: layer for layer in walk(net).layers if layer.kind != "CONSTANT"}
    assert [layers[name].kind for name in ("q", "dq", "w")] == ["QUANTIZE", "DEQUANTIZE", "DEQUANTIZE"]
    assert layers["w"].settings["axis"] == 0
    assert context.kept[-1].tolist() == [1, 2, 3, 4]


# --- where there is no GPU, or no torch ---


def test_torch_is_imported_at_use_alone() -> None:
    program = """
import sys
from edgeskin.targets.tensorrt.torch_tensorrt import TorchTensorrtTarget
target = TorchTensorrtTarget()
target.missing(), target.computes("fp16"), target.precisions
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_torch_it_says_what_to_install(graph: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(optional, "available", lambda module: module not in ("torch", "torch_tensorrt"))
    target = TorchTensorrtTarget()
    assert str(target.missing()).startswith("torch is not installed. Install it with: pip install")
    with pytest.raises(MissingDependencyError, match="torch is not installed"):
        target.build(graph, "fp32", tmp_path)
    assert target.processors() == ()
    assert [*tmp_path.iterdir()] == []


def test_without_a_gpu_a_bundle_is_built_and_nothing_runs_it(graph: Graph, tmp_path: Path) -> None:
    if optional.available("torch_tensorrt") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    target = TorchTensorrtTarget()
    artifact = target.build(graph, "fp32", tmp_path)
    assert target.processors() == ()
    with pytest.raises(TargetError, match=r"model\.pt2: nothing here runs it: torch"):
        target.open(artifact)
    assert "stays open (torch" in str(target.here())


def test_torch_alone_answers_for_the_float_network(graph: Graph) -> None:
    session = in_torch(graph, "fp32", "cpu")
    image = pictures(graph, 2)
    expected = execute.outputs(TorchTensorrtTarget().holds(graph, "fp32"), {"image": image})
    for name, value in session.run(image).items():
        np.testing.assert_allclose(value, expected[name], atol=2e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_on_a_gpu_it_is_one_engine_that_answers_as_the_executor(
    graph: Graph, precision: Precision, tmp_path: Path
) -> None:
    lacking = via.why_not()
    if lacking is not None:
        pytest.skip(lacking)
    target = TorchTensorrtTarget()
    artifact = target.build(graph, precision, tmp_path)
    session = target.open(artifact)
    image = pictures(graph, 11)
    expected = target.execute(artifact).run(image)
    allowed = {"int8": 0.02, "fp16": 0.004, "fp32": 1e-5}[precision]
    for name, value in session.run(image).items():
        np.testing.assert_allclose(value, expected[name], atol=allowed, err_msg=name)
    found = session.placement()
    assert (found.partitions, found.undelegated) == (1, ())
    if precision == "int8":
        assert found.integer_convolutions == found.convolutions
