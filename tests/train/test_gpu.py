"""The float phase in mixed precision and the quantization-aware phase on a GPU, exported on the CPU afterwards."""

from pathlib import Path

import pytest
import torch

from edgeskin import shipped
from edgeskin.export.from_run import graph_from_run
from edgeskin.graph.conformity import integer_network
from edgeskin.graph.folder import Graph
from edgeskin.train import recipe
from edgeskin.train.checkpoint import read_run
from edgeskin.train.loop import Places, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU here"),
]


def test_a_run_trained_on_a_gpu_resumes_there_and_is_exported_anywhere(phantom_data: Path, tmp_path: Path) -> None:
    path = shipped.find("recipes", "phantom_tiny")
    chosen = recipe.read(path, ("data.select=12", "float.epochs=2", "qat.epochs=2", "float.batch=8", "qat.batch=8"))
    places = Places(path, phantom_data, tmp_path / "run", None)
    record = train(chosen, places, resume=False, device="cuda")
    assert record.device == "cuda"
    assert record.finished
    assert train(chosen, places, resume=True, device="cuda") == read_run(tmp_path / "run")
    graph_from_run(tmp_path / "run", tmp_path / "graph")
    assert integer_network(Graph.open(tmp_path / "graph")).outputs == tuple(head.name for head in chosen.head_specs())
