"""Engines for desktop GPUs, built where there is none."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.shipped import default_release
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.engine import DESKTOP, build

pytestmark = pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing()))


def test_one_engine_is_built_for_several_generations_without_a_gpu(graph: Graph) -> None:
    engine = build(parser.define(graph.int8), largest_batch=4)
    assert engine.generations == DESKTOP == ("ampere", "ada", "blackwell")
    assert engine.largest_batch == 4
    assert engine.version.count(".") >= 2
    assert len(engine.content) > 100_000  # an empty engine would be a header
    assert engine.build_seconds > 0


def test_the_released_networks_integers_are_in_its_engine() -> None:
    """As they are: TensorRT keeps 1x1 kernels in the order of the file, and none of these weights as float32."""
    path = default_release() / "int8.onnx"
    content = build(parser.define(path), ["ada"]).content
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    weights = {name: data for name, data in stored.items() if data.dtype == np.int8 and data.shape[2:] == (1, 1)}
    large = {name: data for name, data in weights.items() if data.size > 1000}
    assert len(large) > 20
    found = [name for name, data in large.items() if data.reshape(-1)[:64].tobytes() in content]
    assert len(found) > len(large) / 2
    for name, data in large.items():
        scale = stored[f"{name}_scale"].reshape(-1, 1, 1, 1)
        assert (data * scale).astype(np.float32).reshape(-1)[:64].tobytes() not in content


def test_a_generation_that_cannot_be_named_is_refused_with_those_that_can(graph: Graph) -> None:
    definition = parser.define(graph.int8)
    with pytest.raises(
        TargetError, match=r"cannot build for volta: turing, ampere-server, ampere, ada, blackwell, gb10"
    ):
        build(definition, ["volta"])  # type: ignore[list-item]
    with pytest.raises(TargetError, match="cannot build for nothing"):
        build(definition, [])


def test_what_tensorrt_cannot_build_is_told_in_its_own_words() -> None:
    """The released network for Turing: tensorrt-rtx 1.7.1 has no float32 product of matrices there."""
    with pytest.raises(TargetError, match=r"no engine for turing: .*'heads\.\w+\.logits' for Turing"):
        build(parser.define(default_release() / "int8.onnx"), ["turing"])
