"""The released network in the TensorRT of this machine, on its GPU: golden cases, times, memory and bad files.

Nothing here has run yet: no machine that works on edgeskin had a GPU with TensorRT. Where `find` finds none, all of it
is skipped, with what is missing.
"""

from pathlib import Path

import numpy as np
import pytest

from edgeskin.errors import TargetError
from edgeskin.export import golden, reference
from edgeskin.graph.folder import Graph
from edgeskin.shipped import default_release
from edgeskin.targets.base import Effort, Precision
from edgeskin.targets.tensorrt import deploy
from edgeskin.targets.tensorrt.runtime import Built, Runtime, find
from edgeskin.targets.tensorrt.runtime.inputs import PRECISIONS

HERE = find.find()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(HERE is None, reason="" if HERE is not None else find.why_not()),
]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    assert HERE is not None
    return HERE


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> deploy.Deploy:
    return deploy.write(Graph.open(default_release()), tmp_path_factory.mktemp("deploy") / "folder")


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    found: Precision = request.param
    return found


@pytest.fixture(scope="module")
def built(
    runtime: Runtime, released: deploy.Deploy, precision: Precision, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    onnx = released.onnx(runtime.generation, precision)
    return runtime.build(onnx, released.graph.card, precision, tmp_path_factory.mktemp("engine"))


def test_an_engine_is_equivalent_on_the_golden_cases(
    runtime: Runtime, released: deploy.Deploy, precision: Precision, built: Built
) -> None:
    """By the rule that a bundle is held against."""
    cases = golden.read(released.graph.golden, released.graph.card)
    asked = reference.of_graph(released.graph, cases, precision)
    hops = asked.compare(runtime.load(built.engine, released.graph.card).run, cases)
    assert [hop for hop in hops if not hop.equivalent] == []


def test_a_batch_answers_as_its_pictures_alone(runtime: Runtime, released: deploy.Deploy, built: Built) -> None:
    engine = runtime.load(built.engine, released.graph.card)
    size = released.graph.card.size
    image = np.random.default_rng(1).integers(0, 256, (11, 3, size, size), np.uint8)
    together = engine.run(image)
    for name, values in engine.run(image[9:10]).items():
        np.testing.assert_allclose(values[0], together[name][9], atol=0.02)


def test_times_and_memory_are_told(runtime: Runtime, released: deploy.Deploy, built: Built) -> None:
    engine = runtime.load(built.engine, released.graph.card)
    size = released.graph.card.size
    times = engine.times(np.zeros((1, 3, size, size), np.uint8), None, Effort(200, 1, 100))
    assert len(times.compute_ms) == len(times.latency_ms) >= 100
    assert np.median(times.compute_ms) < np.median(times.latency_ms)
    assert engine.device_mib is None or engine.device_mib > 1


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_truncated_engine_is_an_error_and_no_crash(
    kept: int, runtime: Runtime, released: deploy.Deploy, built: Built, tmp_path: Path
) -> None:
    content = built.engine.read_bytes()
    (tmp_path / "engine.plan").write_bytes(content[:kept])
    with pytest.raises(TargetError, match=r"Build it again|failed"):
        size = released.graph.card.size
        runtime.load(tmp_path / "engine.plan", released.graph.card).run(np.zeros((1, 3, size, size), np.uint8))
