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
        "import sys, edgeskin.targets, edgeskin.targets.onnx, edgeskin.graph.read, edgeskin.graph.write;"
        "edgeskin.targets.get('onnx');"
        "print(sorted({'onnx', 'onnxruntime', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
