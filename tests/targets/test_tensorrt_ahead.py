"""Engines for desktop GPUs, built where there is none."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tensorrt_stand_ins import CudaStandIn, Gpu, TensorrtStandIn, table

from edgeskin import files
from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.shipped import default_release
from edgeskin.targets.tensorrt import ahead, parser

with_parser = pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing()))


def copy(graph: Graph, folder: Path) -> Path:
    return Path(shutil.copy(graph.int8, folder))


def stand_in(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]) -> TensorrtStandIn:
    """What has NVIDIA's module in its place, and says what it was asked for."""
    library = TensorrtStandIn(said, CudaStandIn(table("cuda-13.4"), Gpu()))
    monkeypatch.setattr(parser, "optional", SimpleNamespace(require=lambda _: library))
    return library


def test_an_engine_is_asked_for_like_those_on_a_gpu(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what tensorrt-rtx says that it has: for batches up to 8, in whole float32, with the details of its layers."""
    library = stand_in(monkeypatch, table("rtx-1.7"))
    note = ahead.write(copy(graph, tmp_path), ["ampere", "ada"])
    assert library.built["shapes"] == {"image": [(1, 3, 32, 32), (1, 3, 32, 32), (8, 3, 32, 32)]}
    assert library.built["flags"] == set()  # and no TF32, which is on by itself
    assert library.built["verbosity"] == "DETAILED"
    assert library.built["capabilities"] == ["SM86", "SM89"]
    assert (note.gpus, note.largest_batch, note.tensorrt) == (("ampere", "ada"), 8, library.__version__)
    assert ahead.read(tmp_path / "int8.onnx") == note


@with_parser
def test_one_engine_is_built_for_several_generations_without_a_gpu(graph: Graph, tmp_path: Path) -> None:
    onnx_file = copy(graph, tmp_path)
    note = ahead.write(onnx_file, ["ampere", "ada", "blackwell"])
    assert note.tensorrt.count(".") >= 2
    assert ahead.engine_of(onnx_file).stat().st_size > 100_000  # an empty engine would be a header
    assert note.engine_sha256 == files.sha256(ahead.engine_of(onnx_file))
    assert note.build_seconds > 0


@with_parser
def test_the_released_networks_integers_are_in_its_engine() -> None:
    """As they are: TensorRT keeps 1x1 kernels in the order of the file, and none of these weights as float32."""
    path = default_release() / "int8.onnx"
    content = ahead.build(parser.define(path), ["ada"])
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    weights = {name: data for name, data in stored.items() if data.dtype == np.int8 and data.shape[2:] == (1, 1)}
    large = {name: data for name, data in weights.items() if data.size > 1000}
    assert len(large) > 20
    found = [name for name, data in large.items() if data.reshape(-1)[:64].tobytes() in content]
    assert len(found) > len(large) / 2
    for name, data in large.items():
        scale = stored[f"{name}_scale"].reshape(-1, 1, 1, 1)
        assert (data * scale).astype(np.float32).reshape(-1)[:64].tobytes() not in content


def test_generations_are_taken_as_people_write_them() -> None:
    assert ahead.named([" ada", "ampere ", "", "ada"]) == ("ada", "ampere")


@pytest.mark.parametrize(("words", "told"), [(["ada", "volta"], "volta"), ([], "nothing"), (["", " "], "nothing")])
def test_a_generation_that_nobody_knows_is_refused_with_those_that_are_known(words: list[str], told: str) -> None:
    with pytest.raises(
        TargetError,
        match=rf"cannot build for {told}: choose turing, ampere-server, ampere, ada, blackwell, gb10$",
    ):
        ahead.named(words)


def test_a_generation_that_this_tensorrt_does_not_know_is_refused(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = table("rtx-1.7")
    said["enums"]["ComputeCapability"].remove("SM121")
    stand_in(monkeypatch, said)
    with pytest.raises(TargetError, match=r"TensorRT-RTX 1\.7\.1\.\d+ does not know gb10\. Install a newer one"):
        ahead.write(copy(graph, tmp_path), ["ada", "gb10"])
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


@with_parser
def test_what_tensorrt_cannot_build_is_told_in_its_own_words() -> None:
    """The released network for Turing: tensorrt-rtx 1.7.1 has no float32 product of matrices there."""
    with pytest.raises(TargetError, match=r"no engine for turing: .*'heads\.\w+\.logits' for Turing"):
        ahead.build(parser.define(default_release() / "int8.onnx"), ["turing"])
