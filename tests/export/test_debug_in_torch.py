"""The forms of a run that only torch has, tensor by tensor; without torch `tiny_run` skips them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgeskin.export import golden, journey
from edgeskin.export.debug import debug
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read

if TYPE_CHECKING:
    from torch import fx

TAILS = {"mask", "diagnosis", "melanoma", "seborrheic_keratosis"}
"""Outputs, which are float and not quantized apart in torch."""


@pytest.fixture(scope="module")
def forms(tiny_run: Path) -> "dict[str, fx.GraphModule]":
    """Made once: torch takes its time."""
    from edgeskin.export.debug.in_torch import forms_of

    return forms_of(tiny_run)


def test_every_quantized_tensor_is_found_in_torch_and_nothing_diverges(
    forms: "dict[str, fx.GraphModule]",
    tiny_run: Path,
    tiny_graph: Graph,
    profile: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeskin.export.debug.in_torch.forms_of", {tiny_run: forms}.__getitem__)
    folder = journey.export(tiny_graph, profile, tmp_path / "bundle").folder
    found = debug(folder, graph=tiny_graph, run=tiny_run, cases=2)
    assert found.first is None
    steps = {step.name: step for step in found.steps}
    order = list(steps)
    assert order[0] == "QAT weights, not quantized → fake-quantized", "the chain begins where training ended"
    assert order.index("biases on their grid → int8.onnx") < order.index("fp32.onnx → int8.onnx")
    for name in ("fake-quantized → converted", "biases on their grid → int8.onnx"):
        assert {tensor.tensor for tensor in steps[name].tensors if tensor.carried is None} == TAILS
    last = steps["biases on their grid → int8.onnx"]
    assert {tensor.tensor for tensor in last.tensors if tensor.alone is None} == TAILS
    assert last.divergent == ()
    rounding = steps["QAT weights, not quantized → fake-quantized"]
    assert not rounding.judged
    assert all(tensor.carried for tensor in rounding.tensors if tensor.carried is not None and tensor.place > 0)


def test_a_network_that_was_exported_wrongly_is_told_by_its_node(
    forms: "dict[str, fx.GraphModule]", tiny_graph: Graph
) -> None:
    from edgeskin.export.debug.in_torch import tensors_of

    network = read(tiny_graph.int8)
    (node,) = [node for node in network.nodes if node.name == "encoder.stages.1.0.layers.1.conv"]
    weight = network.tensors[node.inputs[1]]
    assert weight.data is not None
    turned = replace(weight, data=np.ascontiguousarray(weight.data[:, :, ::-1]))
    wrong = replace(network, tensors={**network.tensors, weight.name: turned})
    cases = golden.read(tiny_graph.golden, tiny_graph.card)
    few = replace(cases, cases=cases.cases[:2])
    rows = tensors_of(forms, wrong, few)
    assert [row.node for row in rows["biases on their grid → int8.onnx"] if row.diverges] == [node.name]
