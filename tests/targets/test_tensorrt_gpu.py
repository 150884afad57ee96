"""TensorRT on the GPU of this machine: golden cases, times, memory, placement, the cache, the journey and bad files.

On a GPU it is the released network. Nothing here has met one yet: no machine that works on edgeskin had a GPU with
TensorRT. Where `find` finds none, that half is skipped, with what is missing, and what stands in for TensorRT keeps the
same words fit to run, with a small network.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_graphs import hasty, write_small_graph
from tensorrt_stand_in import StandIn
from tensorrt_stand_ins import CudaStandIn, Gpu, TensorrtStandIn, table

from edgeskin.benchmarks import memory
from edgeskin.benchmarks.measurements import MemoryFigure
from edgeskin.contract import bundle as bundles
from edgeskin.errors import TargetError
from edgeskin.export import golden, journey, reference
from edgeskin.export.attest import attest
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.shipped import default_release
from edgeskin.targets.base import Artifact, Effort, Precision
from edgeskin.targets.tensorrt import ahead, cache, deploy, parser, placement
from edgeskin.targets.tensorrt.runtime import Built, Runtime, find
from edgeskin.targets.tensorrt.runtime.bindings import Bindings
from edgeskin.targets.tensorrt.runtime.cuda import Cuda
from edgeskin.targets.tensorrt.runtime.inputs import PRECISIONS
from edgeskin.targets.tensorrt.runtime.trtexec import Trtexec
from edgeskin.targets.tensorrt.target import FOLDER, TensorrtTarget

HERE = find.find()

on_gpu = (
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(HERE is None, reason="" if HERE is not None else find.why_not()),
)
by_bindings = pytest.mark.skipif(isinstance(HERE, Trtexec), reason="trtexec does not tell the memory of the GPU")


@pytest.fixture(scope="module", params=["stand-in", pytest.param("gpu", marks=on_gpu)])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return StandIn(version=(8, 6, 1)) if request.param == "stand-in" or HERE is None else HERE


@pytest.fixture(scope="module")
def source(runtime: Runtime, once, phantom_data: Path) -> Graph:
    if runtime is HERE:
        return Graph.open(default_release())
    return Graph.open(once("small_graph", lambda folder: write_small_graph(folder, phantom_data)))


@pytest.fixture(scope="module")
def made(source: Graph, tmp_path_factory: pytest.TempPathFactory) -> deploy.Deploy:
    return deploy.write(source, tmp_path_factory.mktemp("deploy") / FOLDER)


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    found: Precision = request.param
    return found


@pytest.fixture(scope="module")
def built(
    runtime: Runtime, made: deploy.Deploy, precision: Precision, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    onnx = made.onnx(runtime.generation, precision)
    return runtime.build(onnx, made.graph.card, precision, tmp_path_factory.mktemp("engine"))


@pytest.fixture
def here(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The machine of the runtime, with a cache of its own."""
    monkeypatch.setenv("EDGESKIN_CACHE", str(tmp_path / "cache"))
    if runtime is HERE:
        yield runtime
        return
    monkeypatch.setattr(find, "find", lambda prefer=None: runtime)
    with hasty(memory_mib=40):
        yield runtime


def test_an_engine_is_equivalent_on_the_golden_cases(
    runtime: Runtime, made: deploy.Deploy, precision: Precision, built: Built
) -> None:
    """By the rule that a bundle is held against."""
    cases = golden.read(made.graph.golden, made.graph.card)
    asked = reference.of_graph(made.graph, cases, precision)
    hops = asked.compare(runtime.load(built.engine, made.graph.card).run, cases)
    assert [hop for hop in hops if not hop.equivalent] == []


def test_a_batch_answers_as_its_pictures_alone(runtime: Runtime, made: deploy.Deploy, built: Built) -> None:
    engine = runtime.load(built.engine, made.graph.card)
    size = made.graph.card.size
    image = np.random.default_rng(1).integers(0, 256, (11, 3, size, size), np.uint8)
    together = engine.run(image)
    for name, values in engine.run(image[9:10]).items():
        np.testing.assert_allclose(values[0], together[name][9], atol=0.02)


def test_times_and_memory_are_told(runtime: Runtime, made: deploy.Deploy, built: Built) -> None:
    engine = runtime.load(built.engine, made.graph.card)
    size = made.graph.card.size
    times = engine.times(np.zeros((1, 3, size, size), np.uint8), None, Effort(200, 1, 100))
    assert len(times.compute_ms) == len(times.latency_ms) >= 100
    assert np.median(times.compute_ms) < np.median(times.latency_ms)
    assert engine.device_mib is None or engine.device_mib > 1


def test_it_is_told_what_an_engine_computes_in(
    runtime: Runtime, source: Graph, precision: Precision, built: Built
) -> None:
    """Every convolution that the network quantizes on integers, which the gate of TensorRT asks for; none of a float
    network."""
    found = placement.of(built.layers, TensorrtTarget().holds(source, precision), runtime.name)
    assert found.layers
    if precision == "int8":
        assert found.integer_convolutions == found.convolutions
    else:
        assert not found.integer_convolutions


def test_an_engine_is_built_once_and_found_again(here: Runtime, made: deploy.Deploy, precision: Precision) -> None:
    heard: list[str] = []
    first, second = (cache.engine_for(here, made, precision, say=heard.append) for _ in range(2))
    assert first == second
    assert len(heard) == 1
    assert here.load(second.engine, made.graph.card) is not None


def test_a_bundle_is_exported_measured_and_attested_on_the_gpu(here: Runtime, source: Graph, tmp_path: Path) -> None:
    done = journey.export(source, Profile.default("tensorrt"), tmp_path / "bundle")
    attested = attest(done.folder, name="here", graph=source)
    for measured in (done.report.measurements, attested.measurements):
        assert measured.verified == "device"
        assert measured.first_divergence is None
        assert measured.artifact_hops
        assert measured.placement is not None
        assert measured.placement.provider == f"{here.name}, {here.gpu.name}"
        assert {figure.name for figure in measured.latency} >= {"model int8", "model int8, engine alone", "model fp32"}
        assert ("memory" in measured.not_measured) == (measured.memory is None)
    assert bundles.verify(done.folder) == ()


@by_bindings
@pytest.mark.parametrize("runtime", [pytest.param("gpu", marks=on_gpu)], indirect=True)
def test_a_process_of_its_own_tells_the_memory_of_the_gpu(here: Runtime, made: deploy.Deploy) -> None:
    artifact = Artifact(made.onnx(here.generation, "int8"), "tensorrt", "int8", made.graph.sha256)
    told = memory.measure(artifact, made.graph.card.size)
    assert isinstance(told, MemoryFigure), told
    assert told.device_mib is not None
    assert told.device_mib > 1


@pytest.mark.parametrize("kept", [0, 100, -1])
@pytest.mark.parametrize("runtime", [pytest.param("gpu", marks=on_gpu)], indirect=True)
def test_a_truncated_engine_is_an_error_and_no_crash(
    kept: int, runtime: Runtime, made: deploy.Deploy, built: Built, tmp_path: Path
) -> None:
    content = built.engine.read_bytes()
    (tmp_path / "engine.plan").write_bytes(content[:kept])
    with pytest.raises(TargetError, match=r"Build it again|failed"):
        size = made.graph.card.size
        runtime.load(tmp_path / "engine.plan", made.graph.card).run(np.zeros((1, 3, size, size), np.uint8))


# --- TensorRT-RTX ---


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=on_gpu)])
def rtx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    if request.param == "stand-in":
        cuda = CudaStandIn(table("cuda-13.4"), Gpu(capability=(8, 6)))
        library = TensorrtStandIn(table("rtx-1.7"), cuda)
        monkeypatch.setattr(parser, "optional", SimpleNamespace(require=lambda _: library))
        return Bindings(library, Cuda(cuda))
    monkeypatch.setenv(find.VARIABLE, "rtx")
    try:
        found = find.find()
    except TargetError as error:
        pytest.skip(str(error))
    assert found is not None
    return found


def test_an_engine_ahead_of_time_answers_the_golden_cases_on_a_gpu_that_it_is_for(
    rtx: Runtime, once, phantom_data: Path, tmp_path: Path
) -> None:
    if rtx.gpu.capability not in ((8, 6), (8, 9), (12, 0)):  # NVIDIA, CUDA GPUs: GeForce RTX 30, 40 and 50
        pytest.skip(f"{rtx.gpu.name} is none that the profile desktop_rtx builds for")
    small = once("small_graph", lambda folder: write_small_graph(folder, phantom_data))
    graph = Graph.open(default_release() if HERE is not None else small)
    onnx = Path(shutil.copy(graph.int8, tmp_path))
    ahead.write(onnx, Profile.find("desktop_rtx").gpus)
    ready = ahead.for_machine(onnx, rtx)
    assert ready is not None
    cases = golden.read(graph.golden, graph.card)
    hops = reference.of_graph(graph, cases, "int8").compare(rtx.load(ready, graph.card).run, cases)
    assert [hop for hop in hops if not hop.equivalent] == []
