"""Where a bundle diverges: nowhere as it is exported; where it was damaged, at that very node."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx
from metadata_graphs import write_metadata_graph
from onnx import numpy_helper
from small_graphs import contents

from edgeskin.contract import bundle as bundles
from edgeskin.errors import BundleError, GraphError
from edgeskin.export import golden, journey
from edgeskin.export.debug import Diagnosis, compare, debug
from edgeskin.export.debug.differences import differences
from edgeskin.export.debug.engines import OnnxEngine
from edgeskin.export.debug.picture import PANEL, to_svg
from edgeskin.export.profile import Profile
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Array, Network
from edgeskin.graph.read import read
from edgeskin.targets.tflite.parse import parse
from edgeskin.targets.tflite.serialize import serialize

Damage = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]


def seal(folder: Path) -> Path:
    """A manifest that fits what now lies in the bundle, so that only its numbers can give the damage away."""
    manifest = bundles.read_manifest(folder)
    (folder / bundles.MANIFEST).unlink()
    bundles.write_manifest(
        folder,
        target=manifest.target,
        precision=manifest.precision,
        artifact=manifest.artifact,
        graph_sha256=manifest.graph_sha256,
    )
    return folder


def damaged_onnx(bundle: Path, place: Path, constant: str, damage: Damage) -> Path:
    """A copy of the bundle in whose model.onnx one constant is another."""
    shutil.copytree(bundle, place)
    model = onnx.load(place / "model.onnx")
    (stored,) = [each for each in model.graph.initializer if each.name == constant]
    data = numpy_helper.to_array(stored)
    stored.CopyFrom(numpy_helper.from_array(damage(data.copy()).astype(data.dtype), constant))
    onnx.save(model, place / "model.onnx")
    return seal(place)


def one_weight(data: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    changed = data.reshape(-1)
    changed[0] = 100 if changed[0] < 0 else -100
    return data


def swapped(data: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return data[[1, 0, *range(2, len(data))]]


def doubled(data: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return data * 2


def named(found: Diagnosis) -> tuple[str, str | None]:
    assert found.first is not None
    return found.first.step, found.first.node


# --- nothing diverges ---


def test_an_untouched_bundle_diverges_nowhere_and_stays_as_it_is(bundle: Path, small_graph: Graph) -> None:
    before = contents(bundle)
    found = debug(bundle, graph=small_graph, cases=3)
    assert contents(bundle) == before
    assert (found.first, found.exit_code, len(found.cases)) == (None, 0, 3)
    assert [(step.name, step.judged) for step in found.steps] == [
        ("fp32.onnx → int8.onnx", False),
        ("int8.onnx without activations rounded → int8.onnx", False),
        ("int8.onnx → model.onnx", True),
        ("model.onnx → onnxruntime, every operator as written", True),
        ("model.onnx → onnxruntime, optimised", True),
        ("int8.onnx → artifact", True),
    ]
    network = read(small_graph.int8)
    for step in found.steps[:-1]:
        assert [tensor.node for tensor in step.tensors] == [node.name for node in network.nodes]
        assert [tensor.place for tensor in step.tensors] == list(range(len(network.nodes)))
    for step in found.steps[3:5]:
        assert all(tensor.alone is not None for tensor in step.tensors), "a tensor that the engine did not show"
        assert not step.notes, "watching the engine changed its answers"


def test_rounding_is_shown_where_it_costs_most(bundle: Path) -> None:
    found = debug(bundle, cases=2)
    (step,) = [step for step in found.steps if not step.judged]
    assert step.tensors[0].alone == 0, "pixels are integers already"
    assert all(tensor.alone for tensor in step.tensors[1:])
    errors = [tensor.alone for tensor in step.ranked]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_a_bundle_for_phones_diverges_nowhere_in_litert(precision: str, small_graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    folder = journey.export(
        small_graph, Profile.find("android").altered(precision=precision), tmp_path / "bundle"
    ).folder
    found = debug(folder, graph=small_graph, cases=2)
    (step,) = [step for step in found.steps if step.name == "model.tflite → LiteRT"]
    assert step.divergent == ()
    assert all(tensor.alone is not None for tensor in step.tensors)
    assert not step.notes


def test_raw_logits_are_compared_as_far_as_the_file_goes(small_graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    profile = Profile.find("android").altered(raw_outputs=True)
    found = debug(journey.export(small_graph, profile, tmp_path / "bundle").folder, cases=2)
    (step,) = [step for step in found.steps if step.name == "model.tflite → LiteRT"]
    assert step.divergent == ()
    assert [tensor.kind for tensor in step.tensors if tensor.alone is None] == ["Sigmoid", "Softmax", "Sigmoid"]
    assert step.notes == (f"3 of {len(step.tensors)} tensors are not shown by this engine",)


def test_metadata_reaches_every_form(once, tmp_path: Path) -> None:
    graph = Graph.open(once("told_graph", write_metadata_graph))
    folder = journey.export(graph, Profile.default("onnx"), tmp_path / "bundle").folder
    found = debug(folder, graph=graph, cases=2)
    assert found.first is None


def test_both_passes_of_a_network_are_compared(twice_graph: Graph, tmp_path: Path) -> None:
    folder = journey.export(twice_graph, Profile.default("onnx"), tmp_path / "bundle").folder
    found = debug(folder, graph=twice_graph, cases=2)
    assert found.first is None


def test_what_no_engine_here_runs_is_compared_by_its_bytes_and_waits(small_graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    from coreml_packages import unswept

    with unswept():
        folder = journey.export(small_graph, Profile.find("iphone"), tmp_path / "bundle").folder
    found = debug(folder, graph=small_graph, cases=2)
    assert (found.first, found.exit_code) == (None, 4)
    assert found.not_compared is not None
    assert "nothing on this machine runs coreml" in found.not_compared
    assert found.verdict == f"pending: nothing diverges so far, but {found.not_compared}"
    assert "pending: nothing diverges so far" in to_svg(found)
    assert "by edgeskin's executor, from the saved bytes" in found.steps[-1].notes


# --- something diverges ---

DAMAGES: Mapping[str, tuple[str, Damage, str, str]] = {
    "a weight": ("encoder.deep.weight", one_weight, "encoder.deep", "weight: 1 of 72 values differ"),
    "two channels exchanged": ("encoder.excite.weight", swapped, "encoder.excite", "in channel 0, 1"),
    "a weight's scale": ("decoder.lateral.weight_scale", doubled, "decoder.lateral", "weight scale: 8 of 8 channels"),
    "a tensor's scale": ("add_1_scale", doubled, "add_1", "scale 0.125, not 0.0625"),
    "a bias": ("heads.melanoma.logits.bias", one_weight, "heads.melanoma.logits", "bias: 1 of 1 values differ"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_names_that_very_node(what: str, bundle: Path, small_graph: Graph, tmp_path: Path) -> None:
    constant, damage, node, reason = DAMAGES[what]
    found = debug(damaged_onnx(bundle, tmp_path / "damaged", constant, damage), graph=small_graph, cases=2)
    assert named(found) == ("int8.onnx → model.onnx", node)
    assert found.first is not None
    assert any(reason in sentence for sentence in found.first.reasons), found.first.reasons
    assert found.exit_code == 3
    (step,) = [step for step in found.steps if step.name == "int8.onnx → model.onnx"]
    assert [tensor.node for tensor in step.divergent] == [node], "and no other node"
    assert step.ranked[0].node == node
    assert step.ranked[0].alone
    behind = [tensor for tensor in step.tensors if tensor.place > step.divergent[0].place]
    assert any(tensor.carried for tensor in behind), "it is carried to the nodes behind"
    assert all(not tensor.carried for tensor in step.tensors[: step.divergent[0].place])
    engines = [step for step in found.steps if "onnxruntime" in step.name]
    if what != "a weight's scale":  # its bias has left the grid, and onnxruntime 1.23 rounds it onto another
        assert not any(step.diverges for step in engines), "they compute what the damaged file says"


@pytest.mark.parametrize(
    ("tensor", "node"), [("encoder.deep.weight", "encoder.deep"), ("decoder.lateral.weight", "decoder.lateral")]
)
def test_damage_to_a_tflite_file_names_that_very_node(
    tensor: str, node: str, small_graph: Graph, tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert")
    folder = journey.export(small_graph, Profile.find("android"), tmp_path / "bundle").folder
    program = parse(folder / "model.tflite")
    (place,) = [place for place, value in enumerate(program.tensors) if value.name == tensor]
    tensors = list(program.tensors)
    data = tensors[place].data
    assert data is not None
    tensors[place] = replace(tensors[place], data=np.ascontiguousarray(one_weight(data.copy())))
    (folder / "model.tflite").write_bytes(serialize(replace(program, tensors=tuple(tensors)), "damaged"))
    found = debug(seal(folder), graph=small_graph, cases=2)
    assert named(found) == ("int8.onnx → model.tflite", node)


def test_without_the_graph_damage_is_seen_in_the_outputs_and_the_way_to_the_tensor_is_told(
    bundle: Path, tmp_path: Path
) -> None:
    found = debug(
        damaged_onnx(bundle, tmp_path / "damaged", "heads.melanoma.logits.weight", lambda data: -data), cases=2
    )
    assert found.first is not None
    assert (found.first.step, found.first.tensor, found.first.node) == ("int8.onnx → artifact", "melanoma", None)
    assert any("--from RUN or GRAPH" in note for note in found.steps[-1].notes)


def test_an_engine_that_computes_something_else_is_named_by_its_numbers_alone(
    bundle: Path, small_graph: Graph, tmp_path: Path
) -> None:
    """The engine runs a damaged file; the network that it is held against is the right one."""
    broken = damaged_onnx(bundle, tmp_path / "damaged", "encoder.deep.weight", one_weight)
    network = read(bundle / "model.onnx")
    cases = golden.read(small_graph.golden, small_graph.card)
    for plain in (True, False):
        engine = OnnxEngine.open(broken / "model.onnx", network, plain=plain)
        step = compare.with_engine("engine", network, engine, cases)
        assert [tensor.node for tensor in step.divergent] == ["encoder.deep"]


def test_a_float_engine_that_computes_something_else_is_named_likewise(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    folder = journey.export(small_graph, profile.altered(precision="fp32"), tmp_path / "bundle").folder
    network = read(folder / "model.onnx")
    cases = golden.read(small_graph.golden, small_graph.card)
    broken = damaged_onnx(folder, tmp_path / "damaged", "encoder.deep.weight", lambda data: data * np.float32(1.001))
    for file, divergent in ((folder, []), (broken, ["encoder.deep"])):
        step = compare.with_engine("engine", network, OnnxEngine.open(file / "model.onnx", network, plain=True), cases)
        assert [tensor.node for tensor in step.divergent] == divergent


class Offset:
    """An engine as good as the executor, but that so many values of one tensor are a step off, in the first case."""

    name = "offset"

    def __init__(self, network: Network, tensor: str, count: int) -> None:
        self.network, self.tensor, self.left = network, tensor, count

    @property
    def unwatched(self) -> "Offset":
        return self

    def run(self, image: npt.NDArray[np.uint8], metadata: npt.NDArray[np.float32] | None = None) -> Mapping[str, Array]:
        values: dict[str, Array] = {"image": image}
        for node in self.network.nodes:
            value = execute.apply(self.network, node, values)
            if node.output == self.tensor:
                some = value.reshape(-1)[: self.left]
                some += np.where(some > 0, -1, 1).astype(np.int8)
                self.left = 0
            values[node.output] = value
        return values


@pytest.mark.parametrize(
    ("name", "count", "divergent"),
    [("decoder.lateral", 4, False), ("decoder.lateral", 5, True), ("concat_1", 1000, False), ("concat_1", 4000, True)],
)
def test_one_value_in_ten_thousand_may_be_a_step_off_and_of_a_concat_four_in_a_hundred(
    name: str, count: int, divergent: bool, small_graph: Graph
) -> None:
    """Six cases: 49152 values of `decoder.lateral`, twice as many of `concat_1`."""
    network = read(small_graph.int8)
    cases = golden.read(small_graph.golden, small_graph.card)
    (node,) = [node for node in network.nodes if node.name == name]
    step = compare.with_engine("engine", network, Offset(network, node.output, count), cases)
    (row,) = [tensor for tensor in step.tensors if tensor.node == name]
    assert row.wrong == pytest.approx(count / (6 * 8192 * (1 if name == "decoder.lateral" else 2)))
    assert row.farthest == 1
    assert [tensor.node for tensor in step.divergent] == ([name] if divergent else [])


# --- differences of two files, in words ---


def test_equal_networks_do_not_differ(small_graph: Graph) -> None:
    network = read(small_graph.int8)
    assert differences(network, network) == {}


def test_every_kind_of_difference_has_its_words(small_graph: Graph) -> None:
    network = read(small_graph.int8)
    node = next(node for node in network.nodes if node.name == "encoder.stem")

    def with_node(other: object) -> Network:
        return replace(network, nodes=tuple(other if each is node else each for each in network.nodes))  # type: ignore[misc]

    strides = with_node(replace(node, operator=replace(node.operator, strides=(1, 1))))  # type: ignore[call-arg]
    assert differences(network, strides)[node.output] == ("strides 1×1, not 2×2",)
    bare = with_node(replace(node, activation=None))
    assert differences(network, bare)[node.output] == ("activation none, not relu6",)
    lonely = with_node(replace(node, inputs=node.inputs[:2]))
    assert differences(network, lonely)[node.output] == ("reads 2 tensors, not 3",)
    lost = replace(network, nodes=tuple(each for each in network.nodes if each is not node))
    assert differences(network, lost)[node.output] == ("is not there",)
    assert differences(lost, network)[node.output] == ("stands there besides",)


# --- mistakes ---


def test_a_changed_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "changed"))
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx: changed"):
        debug(folder)


def test_an_artifact_without_one_of_the_heads_is_refused(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "headless"))
    model = onnx.load(folder / "model.onnx")
    del model.graph.output[-1]
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(
        GraphError, match=r"answers mask, diagnosis, but its model\.json names mask, diagnosis, melanoma"
    ):
        debug(seal(folder))


def test_another_graph_is_refused(bundle: Path, graph: Graph) -> None:
    card = graph.folder / "model.json"
    card.write_text(card.read_text().replace("Tests only.", "Others."))
    with pytest.raises(BundleError, match="was not built from"):
        debug(bundle, graph=Graph.open(graph.folder))


# --- the picture ---


def test_the_picture_names_the_first_divergence_and_is_for_light_and_dark_pages(
    bundle: Path, small_graph: Graph, tmp_path: Path
) -> None:
    found = debug(
        damaged_onnx(bundle, tmp_path / "damaged", "encoder.deep.weight", one_weight), graph=small_graph, cases=1
    )
    text = to_svg(found)
    svg = ET.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    assert "first divergence: encoder.deep (Conv), in int8.onnx → model.onnx" in text
    space = "{http://www.w3.org/2000/svg}"
    bad = [circle for circle in svg.iter(f"{space}circle") if "bad" in circle.get("class", "").split()]
    assert len(bad) == 2, "one in the legend, one at the node"
    (name,) = [word for word in svg.iter(f"{space}text") if word.get("class") == "label bad"]
    (flag,) = [line for line in svg.iter(f"{space}line") if line.get("class") == "flag"]
    highest = float(flag.get("y2", "0")) - PANEL
    assert name.text == "encoder.deep"
    assert float(name.get("y", "0")) <= highest, "the name lies over no bar"
    width, height = float(svg.get("width", "0")), float(svg.get("height", "0"))
    for circle in svg.iter(f"{space}circle"):
        assert 0 < float(circle.get("cx", "-1")) < width
        assert 0 < float(circle.get("cy", "-1")) < height


def test_the_picture_of_an_untouched_bundle_has_nothing_red(bundle: Path, small_graph: Graph) -> None:
    text = to_svg(debug(bundle, graph=small_graph, cases=1))
    assert "nothing diverges" in text
    assert len(re.findall(r'class="(?:[a-z]+ )*bad"', text)) == 1, "the legend alone"
    assert "int8.onnx → model.onnx: all nodes are the same" in text
    assert "onnxruntime, every operator as written: no error above 1e-06" in text
