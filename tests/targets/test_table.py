"""The table of targets."""

import subprocess
import sys

import pytest

from edgeskin import targets
from edgeskin.errors import TargetError


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_every_target_in_the_table_can_be_made_and_knows_its_name(name: str) -> None:
    target = targets.get(name)
    assert target.name == name
    assert target.precisions


def test_an_unknown_target_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(TargetError, match=r"onxx: no such target\. Known: onnx.*Did you mean onnx\?"):
        targets.get("onxx")
    with pytest.raises(TargetError, match=r"paper: no such target\. Known: onnx") as caught:
        targets.get("paper")
    assert "Did you mean" not in str(caught.value)


def test_the_table_loads_no_engine() -> None:
    program = (
        "import sys, edgeskin.targets, edgeskin.graph.read, edgeskin.graph.write;"
        "[edgeskin.targets.get(name) for name in edgeskin.targets.TARGETS];"
        "print(sorted({'onnx', 'onnxruntime', 'torch', 'tflite', 'flatbuffers', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_precision_that_a_target_does_not_build_is_refused_and_never_replaced() -> None:
    target = targets.get("onnx")
    assert targets.precision_of(target, "int8") == "int8"
    with pytest.raises(TargetError, match=r"onnx builds no fp16\. It builds fp32, int8\."):
        targets.precision_of(target, "fp16")
    with pytest.raises(TargetError, match=r"Did you mean int8\?"):
        targets.precision_of(target, "int88")


def test_raw_outputs_are_refused_where_there_are_none() -> None:
    assert targets.get("tflite", raw_outputs=True).precisions == {"int8"}
    with pytest.raises(TargetError, match=r"onnx has no raw outputs\. Leave out --raw-outputs, or"):
        targets.get("onnx", raw_outputs=True)
