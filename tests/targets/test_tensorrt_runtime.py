"""TensorRT's Python bindings of every generation by one adapter, held to what each says that it has.

Where there is no GPU the stand-ins of `tensorrt_stand_ins` take NVIDIA's place: they have what tensorrt_api/*.json say,
which the modules of NVIDIA's own wheels told (`tensorrt_api/dump.py`), and nothing else.
"""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from metadata_graphs import SPEC
from onnx import TensorProto, helper
from tensorrt_stand_ins import COMPUTE_MS, COPY_MS, MAGIC, MIB, CudaStandIn, Gpu, TensorrtStandIn, table

from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.errors import TargetError
from edgeskin.graph.conformity import float_network, integer_network
from edgeskin.graph.folder import Graph
from edgeskin.graph.write import Opset, write_onnx
from edgeskin.targets.base import Effort, Precision
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.generations import GENERATIONS, of, parse
from edgeskin.targets.tensorrt.runtime import machine
from edgeskin.targets.tensorrt.runtime.bindings import Bindings
from edgeskin.targets.tensorrt.runtime.cuda import Cuda
from edgeskin.targets.tensorrt.runtime.engine import LoadedEngine

PINNED = {"8.6": "12.6", "10.3": "12.6", "10.16": "13.4", "11.4": "13.4", "rtx-1.7": "13.4"}
"""The tables of TensorRT, and that of the cuda-python that each is tried with."""
UNPINNED = {"8.5": "no wheel of its bindings is published; JetPack 5, which has it, is driven by trtexec"}
"""Generations that no module spoke for, and why."""

ONCE = Effort(0, 0, 1)
Files = Callable[[Precision, Opset], Path]
Shapes = Mapping[str, tuple[int, list[str | int]]]


@pytest.fixture(scope="module")
def onnx_file(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The ONNX file of a precision in an opset."""
    folder = tmp_path_factory.mktemp("opsets")

    def find(precision: Precision, opset: Opset) -> Path:
        path = folder / f"{precision}.{opset}.onnx"
        if not path.exists():
            write_onnx(integer_network(graph) if precision == "int8" else float_network(graph), path, opset=opset)
        return path

    return find


def bindings(name: str = "10.16", gpu: Gpu | None = None) -> Bindings:
    """A generation's adapter over its stand-ins."""
    cuda = CudaStandIn(table(f"cuda-{PINNED[name]}"), gpu or Gpu())
    return Bindings(TensorrtStandIn(table(name), cuda), Cuda(cuda))


def gpu_of(runtime: Bindings) -> Gpu:
    found: Gpu = runtime.cuda.module.gpu
    return found


def loaded(runtime: Bindings, files: Files, card: ModelCard, folder: Path, *, largest_batch: int = 8) -> LoadedEngine:
    """The int8 engine of the small network."""
    onnx_path = files("int8", runtime.generation.opset)
    built = runtime.build(onnx_path, card, "int8", folder, largest_batch=largest_batch)
    return runtime.load(built.engine, card)


def pixels(batch: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (batch, 3, 32, 32), np.uint8)


# --- what is pinned ---


def test_every_generation_is_pinned_by_a_module_or_said_to_be_unpinned() -> None:
    pinned = {of(parse(table(name)["version"])).name for name in PINNED}
    assert pinned | UNPINNED.keys() == {each.name for each in GENERATIONS}
    assert not pinned & UNPINNED.keys()
    print(UNPINNED)


def test_what_a_generation_lacks_cannot_be_used() -> None:
    old, new = bindings("10.3").module, bindings("11.4").module
    assert {"FP16", "INT8"} <= set(old.BuilderFlag.__members__)
    # NVIDIA, Removed Python APIs and Replacements (10.x to 11.x)
    assert not {"FP16", "INT8"} & set(new.BuilderFlag.__members__)
    engine = new.make("ICudaEngine", object())
    with pytest.raises(AttributeError, match="ICudaEngine has no device_memory_size"):
        engine.device_memory_size  # noqa: B018
    config = new.make("IBuilderConfig", object())
    with pytest.raises(AttributeError, match="no int8_calibrator that can be set"):
        config.int8_calibrator = None
    builder = old.make("Builder", type("Does", (), {"build_serialized_network": lambda *_: None})())
    with pytest.raises(TypeError, match="incompatible function arguments"):
        builder.build_serialized_network("network", "config", "kernel_text")


def test_a_table_is_what_the_module_says() -> None:
    """Of those modules there are here; the others were asked when the table was made."""
    if parser.missing() is not None:
        pytest.skip(str(parser.missing()))
    from importlib import util

    spec = util.spec_from_file_location("dump", Path(__file__).parent / "tensorrt_api/dump.py")
    assert spec is not None
    assert spec.loader is not None
    dump = util.module_from_spec(spec)
    spec.loader.exec_module(dump)
    pinned = table("rtx-1.7")
    said = dump.dump(parser.MODULE, pinned["source"])
    if said["version"] != pinned["version"]:
        pytest.skip(f"the table is of {pinned['version']}, here is {said['version']}")
    assert said == pinned


# --- building ---


@pytest.mark.parametrize("name", PINNED)
def test_each_generation_is_told_its_precision_its_batches_and_to_keep_the_details(
    name: str, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime = bindings(name)
    runtime.build(onnx_file("int8", runtime.generation.opset), graph.card, "int8", tmp_path, largest_batch=4)
    built = runtime.module.built
    assert built["typed"] is (name != "8.6")
    assert built["flags"] == ({"INT8"} if name == "8.6" else set())  # and no TF32, which is on by itself
    assert built["verbosity"] == "DETAILED"
    assert built["shapes"] == {"image": [(1, 3, 32, 32), (1, 3, 32, 32), (4, 3, 32, 32)]}


@pytest.mark.parametrize(("precision", "flags"), [("fp32", set()), ("fp16", {"FP16"})])
def test_where_flags_say_the_precision_float_is_one_file(
    precision: Precision, flags: set[str], onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime = bindings("8.6")
    runtime.build(onnx_file("fp32", 17), graph.card, precision, tmp_path)
    assert runtime.module.built["flags"] == flags


def test_an_engine_and_its_layers_at_a_batch_of_one_are_put_into_the_folder(
    onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    built = bindings().build(onnx_file("int8", 21), graph.card, "int8", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"engine.plan", "layers.json"}
    assert built.engine.read_bytes().startswith(MAGIC)
    assert json.loads(built.layers.read_text()) == {"Layers": [{"Name": "stem.conv"}], "batch": 1, "format": "JSON"}
    # One that was built elsewhere is described in the same way.
    assert bindings().describe(built.engine, graph.card) == built.layers.read_text()
    built.engine.write_bytes(b"no engine")
    with pytest.raises(TargetError, match=r"engine\.plan: "):
        bindings().describe(built.engine, graph.card)
    with pytest.raises(TargetError, match=r"absent\.plan: cannot be read"):
        bindings().describe(tmp_path / "absent.plan", graph.card)


def test_a_build_that_fails_leaves_what_was_there(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "engine.plan").write_bytes(b"old")
    runtime = bindings()
    runtime.module.fails["build_serialized_network"] = "Error Code 10: Could not find any implementation for node x"
    with pytest.raises(TargetError, match=r"int8\.21\.onnx: TensorRT 10\.16\.1\.11 builds no engine: .* for node x$"):
        runtime.build(onnx_file("int8", 21), graph.card, "int8", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"engine.plan": b"old"}


def test_a_timing_cache_is_made_used_again_and_never_taken_from_another_machine(
    onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime, cache = bindings(), tmp_path / "cache" / "timing.cache"

    def build() -> bytes:
        runtime.build(onnx_file("int8", 21), graph.card, "int8", tmp_path, timing_cache=cache)
        return cache.read_bytes()

    assert build() == b"timed "
    assert build() == b"timed timed "
    cache.write_bytes(b"another machine's")
    assert build() == b"timed "


def test_a_precision_that_nobody_builds_is_refused_by_name(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="TensorRT builds no w8a16 of our files; choose int8, fp16, fp32"):
        bindings().build(onnx_file("int8", 21), graph.card, "w8a16", tmp_path)


@pytest.mark.parametrize(
    ("name", "told"), [("8.6", r"refuses the file: no such operator$"), ("10.3", r"file: stem\.conv \(Conv\): no such")]
)
def test_what_the_parser_refuses_is_told_and_named_where_it_names_it(
    name: str, told: str, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime = bindings(name)
    runtime.module.fails["parse"] = "no such operator"
    with pytest.raises(TargetError, match=told):
        runtime.build(onnx_file("int8", 17), graph.card, "int8", tmp_path)


def test_a_file_that_is_no_onnx_or_not_there_is_refused(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "int8.onnx").write_bytes(b"no")
    with pytest.raises(TargetError, match=r"int8\.onnx: .*refuses the file: Failed to parse ONNX model"):
        bindings().build(tmp_path / "int8.onnx", graph.card, "int8", tmp_path)
    with pytest.raises(TargetError, match=r"fp32\.onnx: .*cannot be read: No such file"):
        bindings().build(tmp_path / "fp32.onnx", graph.card, "fp32", tmp_path)


def save(
    path: Path, node: onnx.NodeProto, given: Shapes, answer: Shapes, stored: Sequence[onnx.TensorProto] = ()
) -> Path:
    """An ONNX file of one node; inputs and outputs by name, with their type and shape."""
    takes, gives = (
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in each.items()]
        for each in (given, answer)
    )
    graph = helper.make_graph([node], "one node", takes, gives, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.mark.parametrize(("name", "shape"), [("data", ["N", 3, 32, 32]), ("image", ["N", 3, 224, 224])])
def test_an_onnx_file_that_is_not_ours_is_refused(
    name: str, shape: list[str | int], graph: Graph, tmp_path: Path
) -> None:
    tensor = (TensorProto.UINT8, shape)
    path = save(
        tmp_path / "other.onnx", helper.make_node("Identity", [name], ["mask"]), {name: tensor}, {"mask": tensor}
    )
    with pytest.raises(TargetError, match=rf"it takes {{'{name}': .* and small takes {{'image': \(-1, 3, 32, 32\)}}"):
        bindings().build(path, graph.card, "int8", tmp_path)


# --- running ---


@pytest.mark.parametrize("name", PINNED)
@pytest.mark.parametrize("batch", [0, 1, 8, 11])
def test_pictures_go_in_and_the_networks_answers_come_out(
    name: str, batch: int, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    """Of any number, although 8 are the most at once; as bytes or as float32, as the engine takes them."""
    runtime = bindings(name)
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    image = pixels(batch)
    answered = engine.run(image)
    path = onnx_file("int8", runtime.generation.opset)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    entry: Any = np.uint8 if runtime.generation.takes_bytes else np.float32
    names = [each.name for each in session.get_outputs()]
    expected = dict(zip(names, session.run(names, {"image": image.astype(entry)}), strict=True)) if batch else {}
    assert answered.keys() == {"mask", "diagnosis", "melanoma"}
    for head, values in answered.items():
        assert values.dtype == np.float32
        assert len(values) == batch
        if batch:
            np.testing.assert_array_equal(values, expected[head])


def test_answers_are_their_owners_and_outlive_the_next_run(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    engine = loaded(bindings(), onnx_file, graph.card, tmp_path)
    first = engine.run(pixels(2, seed=1))["mask"]
    kept = first.copy()
    assert not np.array_equal(engine.run(pixels(2, seed=2))["mask"], kept)
    np.testing.assert_array_equal(first, kept)


def test_another_batch_follows_and_leaves_nothing_of_the_one_before(
    onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    engine = loaded(bindings(), onnx_file, graph.card, tmp_path)
    image = pixels(5)
    alone = engine.run(image[:1])
    engine.run(image)
    again = engine.run(image[:1])
    for name, values in alone.items():
        np.testing.assert_array_equal(values, again[name])


def test_metadata_goes_in_beside_the_pictures(graph: Graph, tmp_path: Path) -> None:
    """A network that answers with the sum of the metadata."""
    head = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)
    told = graph.card.model_dump() | {"metadata": SPEC.model_dump(), "heads": [head.model_dump()]}
    card = ModelCard.model_validate(told)
    runtime = bindings()
    path = save(
        tmp_path / "sum.onnx",
        helper.make_node("ReduceSum", ["metadata", "axes"], ["melanoma"], keepdims=1),
        {"image": (TensorProto.UINT8, ["N", 3, 32, 32]), "metadata": (TensorProto.FLOAT, ["N", SPEC.width])},
        {"melanoma": (TensorProto.FLOAT, ["N", 1])},
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    built = runtime.build(path, card, "int8", tmp_path)
    engine = runtime.load(built.engine, card)
    metadata = np.arange(9 * SPEC.width, dtype=np.float32).reshape(9, -1)
    answered = engine.run(pixels(9), metadata)["melanoma"]
    np.testing.assert_array_equal(answered[:, 0], metadata.sum(axis=1))
    with pytest.raises(TargetError, match="takes metadata as float32"):
        engine.run(pixels(9))


def test_an_input_of_another_shape_is_refused(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    engine = loaded(bindings(), onnx_file, graph.card, tmp_path)
    with pytest.raises(TargetError, match=r"engine\.plan: takes image as uint8 \[N, 3, 32, 32\], not float32"):
        engine.run(pixels(1).astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(TargetError, match=r"takes image alone, and metadata was given"):
        engine.run(pixels(1), np.zeros((1, 3), np.float32))


# --- time and memory ---


@pytest.mark.parametrize("name", PINNED)
def test_the_gpus_clock_tells_a_run_alone_and_with_the_copies(
    name: str, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    engine = loaded(bindings(name), onnx_file, graph.card, tmp_path)
    times = engine.times(pixels(2), None, Effort(0, 0, 5))
    assert times.compute_ms == (COMPUTE_MS,) * 5
    assert times.latency_ms == (COMPUTE_MS + 4 * COPY_MS,) * 5  # one picture in, three heads out


def test_a_graph_is_recorded_once_for_both_and_replayed(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    runtime = bindings()
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    engine.times(pixels(1), None, Effort(1, 0, 3))
    kinds = [kind for kind, _, _ in gpu_of(runtime).alive.values()]
    assert kinds.count("ready graph") == 2
    assert kinds.count("graph") == 0


def test_it_runs_at_least_as_long_and_as_often_as_was_asked(
    onnx_file: Files, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr("edgeskin.targets.tensorrt.runtime.engine.time.perf_counter", lambda: next(ticks) / 10)
    runtime = bindings()
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    # a look at the clock behind each pair of queries, a tenth of a second each, until two seconds are over
    assert len(engine.times(pixels(1), None, Effort(0, 2, 1)).latency_ms) == pytest.approx(20, abs=1)
    assert len(engine.times(pixels(1), None, Effort(0, 0, 1)).latency_ms) == 1
    before = gpu_of(runtime).clock_ms
    assert len(engine.times(pixels(1), None, Effort(1000, 0, 1)).latency_ms) == 1
    whole = COMPUTE_MS + 4 * COPY_MS  # once to know the answer, once to compare it, about ten times to warm up, once
    assert gpu_of(runtime).clock_ms - before == pytest.approx(13 * whole + COMPUTE_MS, abs=whole)


def test_where_an_engine_cannot_be_recorded_its_calls_are_timed(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    runtime = bindings("rtx-1.7")
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    runtime.module.fails["is_stream_capturable"] = ""
    assert engine.times(pixels(1), None, ONCE).compute_ms == (COMPUTE_MS,)
    assert "ready graph" not in [kind for kind, _, _ in gpu_of(runtime).alive.values()]


def test_a_recording_that_cuda_breaks_off_is_an_error_with_its_name(
    onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime = bindings(gpu=Gpu(capturable=False))
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    with pytest.raises(TargetError, match="cudaStreamEndCapture failed with cudaErrorStreamCaptureInvalidated: words"):
        engine.times(pixels(1), None, ONCE)
    runtime.module.fails["capture"] = "Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)"
    with pytest.raises(TargetError, match=r"TensorRT fails: .*when stream is capturing"):
        engine.times(pixels(1), None, ONCE)
    engine.run(pixels(1))  # goes on


def test_a_graph_that_answers_otherwise_gives_no_times(
    onnx_file: Files, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = bindings()
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    alive = gpu_of(runtime).alive

    def cleared(ready: int, stream: int) -> None:
        runtime.cuda.module._queues[stream].append(
            lambda: [content.__setitem__(0, content[0] ^ 1) for kind, _, content in alive.values() if kind == "host"]
        )

    monkeypatch.setattr(runtime.cuda.module, "_cudaGraphLaunch", cleared)
    with pytest.raises(TargetError, match="answers otherwise when its CUDA graph is replayed"):
        engine.times(pixels(1), None, ONCE)


@pytest.mark.parametrize("batch", [0, 5])
def test_a_batch_that_an_engine_does_not_take_at_once_is_not_timed(
    batch: int, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    engine = loaded(bindings(), onnx_file, graph.card, tmp_path, largest_batch=4)
    assert engine.largest_batch == 4
    with pytest.raises(TargetError, match=rf"for 1 to 4 pictures at once, and {batch} are to be timed"):
        engine.times(pixels(batch), None, ONCE)


@pytest.mark.parametrize("name", PINNED)
def test_the_memory_of_an_engine_is_what_is_no_longer_free_and_no_less_than_it_says(
    name: str, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime = bindings(name)
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    buffers = sum(size for kind, size, _ in gpu_of(runtime).alive.values() if kind == "device")
    assert buffers > 0
    # the stand-in's engine takes nothing and says 3 MiB of work space
    assert engine.device_mib == pytest.approx(3 + buffers / MIB)
    gpu_of(runtime).engine_takes = 5 * MIB
    assert runtime.load(tmp_path / "engine.plan", graph.card).device_mib == pytest.approx(5 + buffers / MIB)


def test_what_an_engine_took_is_given_back_with_it(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    runtime = bindings()
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    engine.times(pixels(3), None, ONCE)
    assert gpu_of(runtime).alive
    del engine
    gc.collect()
    assert gpu_of(runtime).alive == {}


# --- what goes wrong ---


def built(files: Files, card: ModelCard, folder: Path, name: str = "10.16") -> Path:
    return bindings(name).build(files("int8", 21), card, "int8", folder).engine


def test_an_engine_of_another_version_says_both_and_what_to_do(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    path = built(onnx_file, graph.card, tmp_path, "11.4")
    with pytest.raises(
        TargetError,
        match=r"engine\.plan: the engine was built by another version of TensorRT: it is of 11\.4\.0\.106, this is "
        r"10\.16\.1\.11\. Build it again on this machine$",
    ):
        bindings("10.16").load(path, graph.card)


def test_an_engine_of_another_gpu_says_both_and_what_to_do(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    path = built(onnx_file, graph.card, tmp_path)
    with pytest.raises(TargetError, match=r"for a GPU of compute capability 8\.6, and this one has 8\.7\. Build it"):
        bindings(gpu=Gpu(name="Orin", capability=(8, 7))).load(path, graph.card)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_engine_is_refused(kept: int, onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    path = built(onnx_file, graph.card, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: max(kept, 0)] if kept >= 0 else content[:-1])
    runtime = bindings()
    with pytest.raises(TargetError, match=r"engine\.plan: the file is damaged, or no engine at all\. Build it again"):
        runtime.load(path, graph.card)
    assert gpu_of(runtime).alive == {}


def test_an_engine_that_is_not_there_is_refused(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"engine\.plan: cannot be read: No such file or directory\. Build"):
        bindings().load(tmp_path / "engine.plan", graph.card)


def test_an_engine_of_another_network_is_refused(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    path = built(onnx_file, graph.card, tmp_path)
    card = ModelCard.model_validate(graph.card.model_dump() | {"heads": [graph.card.heads[0].model_dump()]})
    with pytest.raises(
        TargetError, match=r"another network than small: it has diagnosis \[N, 3\], image .* and not image"
    ):
        bindings().load(path, card)


def test_an_engine_whose_answers_are_no_floats_is_refused(graph: Graph, tmp_path: Path) -> None:
    path = save(
        tmp_path / "int32.onnx",
        helper.make_node("Cast", ["image"], ["mask"], to=TensorProto.INT32),
        {"image": (TensorProto.UINT8, ["N", 3, 32, 32])},
        {"mask": (TensorProto.INT32, ["N", 3, 32, 32])},
    )
    engine = bindings().build(path, graph.card, "int8", tmp_path).engine
    with pytest.raises(TargetError, match="mask is INT32, which no network of edgeskin takes or gives"):
        bindings().load(engine, graph.card)


def test_memory_that_is_not_there_is_asked_for_and_what_is_free_is_said(
    onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    path = bindings().build(onnx_file("int8", 21), graph.card, "int8", tmp_path, largest_batch=512).engine
    gpu = Gpu(total=8 * MIB, taken=6 * MIB)
    runtime = bindings(gpu=gpu)
    # 512 pictures of 3 x 32 x 32 bytes are 1.5 MiB, 512 masks of 32 x 32 float32 2.0
    with pytest.raises(
        TargetError,
        match=r"the GPU is out of memory: 2\.0 MiB were asked for at once, 0\.5 MiB of 8\.0 MiB are free\. Close other",
    ):
        runtime.load(path, graph.card)
    gc.collect()
    assert gpu.alive == {}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Requested amount of GPU memory (57662592 bytes) could not be allocated. There may not be enough free",
            r"out of memory: 55\.0 MiB were asked for at once, 63\.0 MiB of 64\.0 MiB are free\. Close",  # / 2**20
        ),
        (
            "Error Code 2: OutOfMemory (no further information)",
            r"out of memory: it does not say how much .*63\.0 MiB of",
        ),
    ],
)
def test_memory_that_tensorrt_did_not_get_is_told_with_what_is_free(
    said: str, told: str, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    runtime = bindings()
    runtime.module.fails["build_serialized_network"] = said
    with pytest.raises(TargetError, match=told):
        runtime.build(onnx_file("int8", 21), graph.card, "int8", tmp_path)
    del runtime.module.fails["build_serialized_network"]
    runtime.module.fails["create_execution_context"] = said
    with pytest.raises(TargetError, match=told):
        runtime.build(onnx_file("int8", 21), graph.card, "int8", tmp_path)


def test_a_run_that_fails_says_why(onnx_file: Files, graph: Graph, tmp_path: Path) -> None:
    runtime = bindings()
    engine = loaded(runtime, onnx_file, graph.card, tmp_path)
    runtime.module.fails["execute_async_v3"] = "Error Code 1: Cuda Runtime (an illegal memory access was encountered)"
    with pytest.raises(TargetError, match=r"engine\.plan: TensorRT fails: .*an illegal memory access"):
        engine.run(pixels(1))


@pytest.mark.parametrize("dlopen", [False, True])
def test_without_a_driver_it_says_that_there_is_none(
    dlopen: bool, onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    """cuda-python before 12.9 raises where it finds none; from then on it answers with an error."""
    runtime = bindings(gpu=Gpu(supports=0, dlopen=dlopen))
    for attempt in (lambda: runtime.gpu, lambda: runtime.build(onnx_file("int8", 21), graph.card, "int8", tmp_path)):
        with pytest.raises(TargetError, match=r"(?i)no NVIDIA (GPU answers|driver)"):
            attempt()


def test_a_driver_that_is_too_old_is_told_with_what_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA 13 needs 580 or newer: NVIDIA, CUDA Compatibility, table 1."""
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(PROPRIETARY)
    here = machine.driver
    monkeypatch.setattr(machine, "driver", lambda: here(tmp_path))
    with pytest.raises(
        TargetError,
        match=r"^the driver 535\.104\.05 is for CUDA 12\.2, and cuda-python for 13\.4: update the driver to 580 or "
        r"newer, or install the cuda-python of the driver: pip install 'cuda-python==12\.\*'$",
    ):
        bindings(gpu=Gpu(supports=12020)).gpu  # noqa: B018


def test_a_tensorrt_for_a_newer_cuda_than_the_drivers_is_told_from_a_machine_without_a_gpu(
    onnx_file: Files, graph: Graph, tmp_path: Path
) -> None:
    path = built(onnx_file, graph.card, tmp_path)
    runtime = bindings("10.3", Gpu(supports=12060, runtime=12060, tensorrt_wants=13000))
    for attempt in (
        lambda: runtime.load(path, graph.card),
        lambda: runtime.build(onnx_file("int8", 17), graph.card, "int8", tmp_path),
    ):
        with pytest.raises(TargetError, match=r"CUDA does not start: .* install the TensorRT for the CUDA that"):
            attempt()
    # tensorrt-rtx 1.7.1's own words
    runtime = bindings("rtx-1.7")
    runtime.module.fails["build_serialized_network"] = (
        "[cudaResources.cpp::ScopedCudaStream::25] Error Code 1: Cuda Runtime (In ScopedCudaStream at x.cpp:25 "
        "(cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"
    )
    with pytest.raises(TargetError, match=r"CUDA does not start: .* install the TensorRT for the CUDA that"):
        runtime.build(onnx_file("int8", 21), graph.card, "int8", tmp_path)


def test_a_machine_whose_gpu_is_hidden_says_so() -> None:
    with pytest.raises(TargetError, match=r"cudaErrorNoDevice\. Check .* CUDA_VISIBLE_DEVICES"):
        bindings(gpu=Gpu(name="")).gpu  # noqa: B018


# --- what it is ---


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("8.6", "TensorRT 8.6.1"),
        ("10.3", "TensorRT 10.3.0"),
        ("10.16", "TensorRT 10.16.1.11"),
        ("11.4", "TensorRT 11.4.0.106"),
        ("rtx-1.7", "TensorRT-RTX 1.7.1.116"),
    ],
)
def test_it_says_its_version_whole_because_an_engine_runs_in_no_other(name: str, said: str) -> None:
    assert bindings(name).name == said


def test_the_gpu_is_told_as_cuda_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "driver", lambda: "580.95.05")
    gpu = bindings().gpu
    assert (gpu.name, gpu.capability, gpu.driver, gpu.memory_mib) == (
        "NVIDIA GeForce RTX 3060", (8, 6), "580.95.05", 64.0
    )  # fmt: skip


def test_a_jetsons_gpu_is_told_with_its_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "board", lambda: "NVIDIA Jetson Orin Nano Developer Kit")
    gpu = bindings(gpu=Gpu(name="Orin", capability=(8, 7))).gpu
    assert gpu.name == "Orin (NVIDIA Jetson Orin Nano Developer Kit)"


PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65.06  Release Build\n"
L4T = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n"


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        ("proc/driver/nvidia/version", PROPRIETARY, "535.104.05"),
        ("proc/driver/nvidia/version", OPEN, "580.65.06"),
        ("etc/nv_tegra_release", L4T, "L4T 36.4.3"),
        ("proc/driver/nvidia/version", "NVRM version: unknown\n", None),
        ("elsewhere", "", None),
    ],
)
def test_the_driver_is_read_where_the_machine_writes_it(
    place: str, text: str, said: str | None, tmp_path: Path
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert machine.driver(tmp_path) == said


def test_a_board_says_its_name_and_no_other_machine_does(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert machine.board(tmp_path) is None  # a Raspberry Pi has that file too
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(L4T)
    assert machine.board(tmp_path) == "NVIDIA Jetson Orin Nano Developer Kit"
    gpu = machine.gpu(tmp_path)
    assert (gpu.name, gpu.capability, gpu.driver) == ("NVIDIA Jetson Orin Nano Developer Kit", None, "L4T 36.4.3")


@pytest.mark.parametrize(
    ("row", "name", "capability", "memory_mib"),
    [
        ("NVIDIA GeForce RTX 3060, 8.6, 535.104.05, 12288", "NVIDIA GeForce RTX 3060", (8, 6), 12288.0),
        ("NVIDIA GeForce RTX 3060, [N/A], 535.104.05, [N/A]", "NVIDIA GeForce RTX 3060", None, None),
        ("No devices were found", "an NVIDIA GPU that does not say its name", None, None),
    ],
)
def test_without_cuda_nvidia_smi_names_the_gpu(
    row: str,
    name: str,
    capability: tuple[int, int] | None,
    memory_mib: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --query-gpu=name,compute_cap,driver_version,memory.total ] && echo "{row}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpu = machine.gpu(tmp_path)
    assert (gpu.name, gpu.capability, gpu.memory_mib) == (name, capability, memory_mib)


TWO = "NVIDIA A100, 8.0, 580.65, 40960\nNVIDIA T4, 7.5, 580.65, 15360"


@pytest.mark.parametrize(
    ("rows", "visible", "name"),
    [
        (TWO, None, None),
        (TWO, "1", None),  # CUDA counts otherwise than nvidia-smi
        (TWO, "GPU-5a1,GPU-0b7", "NVIDIA T4"),
        ("NVIDIA T4, 7.5, 580.65, 15360\nNVIDIA T4, 7.5, 580.65, 15360", None, "NVIDIA T4"),
    ],
)
def test_of_several_gpus_that_differ_none_is_guessed(
    rows: str, visible: str | None, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$3" = --id=GPU-5a1 ] && echo "NVIDIA T4, 7.5, 580.65, 15360" || echo "{rows}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = machine.gpu(tmp_path)
    assert gpu.known == (name is not None)
    assert gpu.name == name or name is None


def test_free_memory_is_the_boards_or_that_of_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.memory(tmp_path) is None
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=memory.free,memory.total ] && echo "300, 8192"\n')
    program.chmod(0o755)
    assert machine.memory(tmp_path) == "300 MiB of 8192 MiB are free"
    for place, text in {
        "etc/nv_tegra_release": L4T,
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        "proc/meminfo": "MemTotal: 7802088 kB\nMemFree: 1 kB\nMemAvailable:  524288 kB\n",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    assert machine.memory(tmp_path) == "512.0 MiB of the board's memory are free"


# --- TensorRT-RTX itself, as far as it goes without a GPU ---

NO_PARSER = parser.missing()


@pytest.mark.skipif(NO_PARSER is not None, reason=str(NO_PARSER))
def test_tensorrt_rtx_builds_a_plan_by_the_same_calls(graph: Graph) -> None:
    import tensorrt_rtx

    runtime = Bindings(tensorrt_rtx, Cuda(CudaStandIn(table("cuda-13.4"), Gpu(supports=0))))
    assert len(runtime.plan(graph.int8, graph.card, "int8", 4)) > 100_000  # an empty engine would be a header


@pytest.mark.skipif(NO_PARSER is not None, reason=str(NO_PARSER))
def test_tensorrt_rtx_without_a_gpu_says_that_there_is_none(graph: Graph, tmp_path: Path) -> None:
    import tensorrt_rtx

    runtime = Bindings(tensorrt_rtx, Cuda(CudaStandIn(table("cuda-13.4"), Gpu(supports=0))))
    with pytest.raises(TargetError, match=r"int8\.onnx: TensorRT-RTX .* builds no engine: no NVIDIA GPU answers"):
        runtime.build(graph.int8, graph.card, "int8", tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "other.onnx").write_bytes(b"no")
    with pytest.raises(TargetError, match="its parser refuses the file"):
        runtime.plan(tmp_path / "other.onnx", graph.card, "int8", 4)
