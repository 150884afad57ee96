"""`edgeskin export --repair` as a user types it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from quantized_graphs import DAMAGED, write_quantized_graph


def test_the_layers_are_named_and_the_repaired_graph_stands_beside_the_bundle(
    edgeskin, phantom_data: Path, tmp_path: Path
) -> None:
    graph, out, rules = tmp_path / "spoilt", tmp_path / "bundle", tmp_path / "gate.toml"
    write_quantized_graph(graph, phantom_data, spoilt=True)
    rules.write_text("minimum = 1\nminimum_per_class = 1\nfloor = { melanoma_auroc = 0.1 }\n")
    done = edgeskin("export", "--from", graph, "--target", "onnx", "--gate", rules, "--out", out, "--repair", "--json")
    assert done.code == 3  # without data nobody knows the accuracy
    assert json.loads(done.out)["state"] == "failed"
    assert all(name in done.err for name in DAMAGED)
    assert f"repaired Graph: {out}-graph" in done.err
    kept = json.loads((out / "model.json").read_text())["kept_float"]
    assert set(DAMAGED) <= set(kept)
    assert edgeskin("verify", out).code == 0


def test_another_precision_is_refused_in_one_line(edgeskin, small_graph, tmp_path: Path) -> None:
    words = ("--target", "onnx", "--precision", "fp32", "--repair", "--out", tmp_path / "bundle")
    done = edgeskin("export", "--from", small_graph.folder, *words)
    assert (done.code, done.out) == (1, "")
    assert "--repair returns layers of int8 to float, and fp32 was asked for. Leave it out" in done.err
    assert not (tmp_path / "bundle").exists()
