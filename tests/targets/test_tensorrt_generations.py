"""Which TensorRT is handed what, and on whose word."""

import itertools
from pathlib import Path

import pytest

from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.load import load
from edgeskin.graph.read import read
from edgeskin.graph.write import write_onnx
from edgeskin.targets.tensorrt import generations
from edgeskin.targets.tensorrt.generations import GENERATIONS, RTX, TRTEXEC, Generation

each_generation = pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("8.5.2-1+cuda11.4", "8.5"),  # as dpkg writes it on JetPack 5.1
        ("8.6.1.6", "8.6"),
        ("10.3.0.30-1+cuda12.5", "10.0"),  # JetPack 6.1
        ("10.14.9", "10.0"),
        ("10.15", "10.15"),
        ("11.4.1", "11.0"),
        ("1.7.1.2", "RTX 1"),  # tensorrt_rtx.__version__ has three or four parts
    ],
)
def test_every_version_has_its_generation(text: str, name: str) -> None:
    assert generations.of(generations.parse(text)).name == name


@pytest.mark.parametrize("text", ["8.4.3", "9.2", "12.0", "0.9", "7.2.2"])
def test_a_version_that_nobody_has_tried_is_refused_with_those_that_are_known(text: str) -> None:
    with pytest.raises(TargetError, match=rf"TensorRT {text}.* none that edgeskin knows: 8\.5\.0 to below 8\.6\.0, "):
        generations.of(generations.parse(text))


def test_what_is_no_version_is_an_error() -> None:
    with pytest.raises(TargetError, match=r"'latest' is no version of TensorRT"):
        generations.parse("latest")


@pytest.mark.parametrize(
    ("number", "version"),
    # As trtexec's first line prints them; NV_TENSORRT_VERSION in NvInferVersion.h.
    [(8502, (8, 5, 2)), (8601, (8, 6, 1)), (100300, (10, 3, 0)), (101600, (10, 16, 0)), (110401, (11, 4, 1))],
)
def test_the_number_that_trtexec_prints_is_a_version(number: int, version: generations.Version) -> None:
    assert generations.from_number(number) == version


def test_no_version_belongs_to_two_generations() -> None:
    for one, other in itertools.pairwise(TRTEXEC):
        assert one.oldest < one.below <= other.oldest
    assert RTX.below < TRTEXEC[0].oldest


@each_generation
def test_a_highest_opset_has_a_source_or_is_unpinned(generation: Generation) -> None:
    assert (generation.highest_opset is None) == (generation.opset_source is None)
    assert generation.opset <= generation.largest_opset


def test_what_is_unpinned_is_known_to_be() -> None:
    """No source was found for it."""
    assert [each.name for each in GENERATIONS if each.highest_opset is None] == ["RTX 1"]


def test_who_is_not_known_to_read_the_newer_file_gets_the_older() -> None:
    """What onnx-tensorrt's docs/operators.md states: 17 at 8.5 and 8.6, 20 at 10.0, 24 at 10.15."""
    assert {each.name: (each.highest_opset, each.opset) for each in TRTEXEC} == {
        "8.5": (17, 17),
        "8.6": (17, 17),
        "10.0": (20, 17),
        "10.15": (24, 21),
        "11.0": (24, 21),
    }


@each_generation
def test_the_opset_of_a_generation_says_what_its_image_is(generation: Generation, graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    write_onnx(read(graph.int8), path, opset=generation.opset)
    image = load(path).graph.input[0]
    assert image.type.tensor_type.elem_type == (2 if generation.takes_bytes else 1)  # UINT8 and FLOAT in onnx.proto
