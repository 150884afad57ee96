"""`edgeskin debug` as a user meets it."""

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import numpy as np
import onnx
from onnx import numpy_helper

from edgeskin.contract import bundle as bundles

if TYPE_CHECKING:
    from edgeskin.graph.folder import Graph


@pytest.fixture
def damaged(bundle: Path, tmp_path: Path) -> Path:
    """A bundle with one wrong weight, and a manifest that fits."""
    folder = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    model = onnx.load(folder / "model.onnx")
    (stored,) = [each for each in model.graph.initializer if each.name == "encoder.deep.weight"]
    data = numpy_helper.to_array(stored).copy()
    data[2, 0, 0, 0] = -data[2, 0, 0, 0] - 1
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(data), stored.name))
    onnx.save(model, folder / "model.onnx")
    manifest = bundles.read_manifest(folder)
    (folder / bundles.MANIFEST).unlink()
    bundles.write_manifest(
        folder,
        target="onnx",
        precision="int8",
        artifact="model.onnx",
        graph_sha256=manifest.graph_sha256,
    )
    return folder


def test_an_untouched_bundle_ends_with_0_and_a_tree_of_ticks(edgeskin, bundle: Path, small_graph: "Graph") -> None:
    done = edgeskin("debug", bundle, "--from", small_graph.folder, "--cases", 1, "--worst", 2)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[-1] == "nothing diverges"
    assert "  ✓ int8.onnx → model.onnx" in lines
    assert "  ✓ model.onnx → onnxruntime, optimised" in lines
    assert "✗" not in done.out
    place = lines.index("  · int8.onnx without activations rounded → int8.onnx")
    assert sum(" alone 0." in line for line in lines[place + 1 : place + 5]) == 2, "as many tensors as were asked for"


def test_damage_ends_with_3_and_names_the_node(edgeskin, damaged: Path, small_graph: "Graph") -> None:
    done = edgeskin("debug", damaged, "--from", small_graph.folder, "--cases", 1, "--quiet")
    assert done.code == 3
    assert done.err == ""
    (line,) = done.out.splitlines()
    assert line.startswith("first divergence: encoder.deep (Conv), in int8.onnx → model.onnx: weight: 1 of 72 values")


def test_json_holds_every_tensor_and_the_picture_lies_where_it_was_asked_for(
    edgeskin, damaged: Path, small_graph: "Graph", tmp_path: Path
) -> None:
    svg = tmp_path / "pictures" / "error.svg"
    before = {path: path.read_bytes() for path in damaged.rglob("*") if path.is_file()}
    done = edgeskin("debug", damaged, "--from", small_graph.folder, "--cases", 1, "--json", "--svg", svg)
    assert done.code == 3
    value = json.loads(done.out)
    assert value["format"] == 1
    assert (value["target"], value["precision"], value["cases"]) == ("onnx", "int8", ["00"])
    (step,) = [step for step in value["steps"] if step["name"] == "int8.onnx → model.onnx"]
    assert [tensor["node"] for tensor in step["tensors"] if tensor["diverges"]] == ["encoder.deep"]
    assert (value["first"]["node"], value["first"]["step"], value["exit_code"]) == ("encoder.deep", step["name"], 3)
    assert ET.parse(svg).getroot().tag.endswith("svg")
    assert f"Picture:   {svg}" in done.err
    assert {path: path.read_bytes() for path in damaged.rglob("*") if path.is_file()} == before


def test_without_the_graph_a_divergence_ends_with_how_to_name_its_node(
    edgeskin, damaged: Path, small_graph: "Graph"
) -> None:
    done = edgeskin("debug", damaged, "--quiet")
    assert done.code == 3
    told, way = done.out.splitlines()
    assert told.startswith("first divergence: ")
    assert way == "To name the node: --from RUN or GRAPH"
    assert "To name" not in edgeskin("debug", damaged, "--from", small_graph.folder, "--cases", 1).out


def test_without_the_graph_the_tree_tells_how_to_see_more(edgeskin, bundle: Path) -> None:
    done = edgeskin("debug", bundle, "--cases", 1)
    assert done.code == 0
    assert "--from RUN or GRAPH" in done.out
    assert done.out.startswith(f"{bundle}: onnx int8, 1 golden case (")


def test_what_cannot_be_compared_is_an_error(edgeskin, bundle: Path, tmp_path: Path) -> None:
    assert edgeskin("debug", tmp_path).code == 1
    assert edgeskin("debug", bundle, "--from", bundle).code == 1
    assert edgeskin("debug", bundle, "--cases", 0).code == 2
    inside = edgeskin("debug", bundle, "--cases", 1, "--svg", bundle / "error.svg")
    assert inside.code == 1
    assert "a bundle stays as it is" in inside.err
    assert not (bundle / "error.svg").exists()
