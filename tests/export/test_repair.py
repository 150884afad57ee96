"""Three layers of an int8 network are spoilt: repair finds these three, returns them to float, and shows the trade."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from quantized_graphs import DAMAGED, PHOTOS, write_quantized_graph
from small_graphs import contents

from edgeskin import targets
from edgeskin.benchmarks import evidence, repaired
from edgeskin.benchmarks.repaired import Repair
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.image import read_photo
from edgeskin.contract.mask import lesion_mask
from edgeskin.contract.preprocess import network_input
from edgeskin.errors import EdgeskinError
from edgeskin.export import journey, repair
from edgeskin.export.journey import Exported
from edgeskin.export.profile import Profile
from edgeskin.export.repair.candidates import Candidates
from edgeskin.export.repair.images import Images, errors_of, is_worse
from edgeskin.graph.folder import Graph
from edgeskin.graph.island import float_nodes
from edgeskin.graph.read import read
from edgeskin.targets.onnx import reference_session

GATE = """minimum = 1
minimum_per_class = 1
equivalent = true
size_mib_max = 16
[drop]
mask_jaccard = { estimate = 0.02, bound = 0.04 }
"""


@pytest.fixture(scope="session")
def spoilt(once, phantom_data: Path) -> Graph:
    """A Graph folder with three damaged layers, for reading only."""
    return Graph.open(once("spoilt_graph", lambda folder: write_quantized_graph(folder, phantom_data, spoilt=True)))


@pytest.fixture(scope="session")
def sound(once, phantom_data: Path) -> Graph:
    """The same before it was damaged."""
    return Graph.open(once("sound_graph", lambda folder: write_quantized_graph(folder, phantom_data, spoilt=False)))


def profile_with(folder: Path, gate: str, target: str = "onnx") -> Profile:
    path = folder / "gate.toml"
    path.write_text(gate)
    return Profile.default(target).altered(gate=str(path))


@pytest.fixture(scope="module")
def unseen(spoilt: Graph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, list[str]]:
    """Repaired without data, and what was said."""
    folder, said = tmp_path_factory.mktemp("unseen"), list[str]()
    return repair.export(spoilt, profile_with(folder, GATE), folder / "bundle", say=said.append), said


def repair_of(folder: Path) -> Repair:
    found = Repair.read(folder / repaired.FILE)
    assert found is not None
    return found


def layers(found: Repair) -> list[str]:
    return [name for one in found.returned for name in one.layers]


def test_the_three_damaged_layers_are_found_and_no_other(unseen: tuple[Exported, list[str]]) -> None:
    found = repair_of(unseen[0].folder)
    assert sorted(layers(found)) == sorted(DAMAGED)
    assert {one.layers[0] for one in found.ranking[:3]} == set(DAMAGED)
    assert found.images == "the golden cases"
    assert found.n == PHOTOS


def test_each_goes_back_in_the_way_that_its_damage_asks_for(unseen: tuple[Exported, list[str]]) -> None:
    ways = {one.layers[0]: one.way for one in repair_of(unseen[0].folder).returned}
    assert ways == {"encoder.stem": "output", "heads.mask.logits": "weights", "heads.diagnosis.logits": "both"}


def test_the_trade_begins_with_int8_and_every_step_is_nearer_to_float(unseen: tuple[Exported, list[str]]) -> None:
    first, *steps = repair_of(unseen[0].folder).steps
    assert (first.returned, first.in_float, first.judged) == ((), 0, "failed")
    assert steps
    errors = [step.error for step in (first, *steps)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10
    assert all(step.size_mib and step.speedup_vs_fp32 for step in (first, *steps))


def test_without_data_nobody_says_that_accuracy_holds(unseen: tuple[Exported, list[str]]) -> None:
    done, said = unseen
    assert done.verdict.state == "failed"
    assert [promise.measured for promise in done.verdict.in_state("failed")] == [None, None]
    assert repair_of(done.folder).stopped == "no further layer stands out"
    assert any("layers are chosen without it" in line for line in said)


def test_the_repaired_graph_is_whole_and_has_no_evidence_of_the_other(
    unseen: tuple[Exported, list[str]], spoilt: Graph
) -> None:
    done, _ = unseen
    place = repair.graph_beside(done.folder)
    graph = Graph.open(place)
    assert graph.sha256 != spoilt.sha256
    assert graph.evidence.read_text() == "[]\n"
    assert graph.fp32.read_bytes() == spoilt.fp32.read_bytes()
    assert graph.card.kept_float == float_nodes(read(graph.int8)) == repair_of(place).kept_float
    assert graph.card == spoilt.card.model_copy(update={"kept_float": graph.card.kept_float})
    again = journey.export(graph, Profile.default("onnx"), done.folder.with_name("again"))
    assert Bundle.open(again.folder).manifest.graph_sha256 == graph.sha256
    assert again.report.measurements.equivalent
    assert repair_of(again.folder) == repair_of(place)


def test_the_report_names_the_layers(unseen: tuple[Exported, list[str]]) -> None:
    sentence = repair_of(unseen[0].folder).sentence
    assert sentence in unseen[0].report.cautions
    assert all(name in sentence for name in DAMAGED)
    assert sentence in (unseen[0].folder / "report.md").read_text()


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_every_target_builds_the_repaired_network_and_reads_it_back(
    name: str, unseen: tuple[Exported, list[str]], tmp_path: Path
) -> None:
    target = targets.get(name)
    if sentence := target.missing():
        pytest.skip(sentence)
    graph = Graph.open(repair.graph_beside(unseen[0].folder))
    artifact = target.build(graph, "int8", tmp_path)
    assert target.read(artifact) == target.holds(graph, "int8")
    assert float_nodes(target.read(artifact)) == graph.card.kept_float


# --- with data ---


@pytest.fixture(scope="module")
def told(spoilt: Graph, phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom data with masks as the float network draws them: float is without fault there."""
    folder = Path(shutil.copytree(phantom_data, tmp_path_factory.mktemp("told") / "data"))
    session, card = reference_session(spoilt.fp32), spoilt.card
    for path in (folder / "masks").iterdir():
        image, box = network_input(read_photo(folder / "images" / path.name), card.size, card.preprocessing)
        drawn = lesion_mask(session.run(image[None])["mask"][0, 0], box, 0.5, card.cleanup)
        Image.fromarray(drawn).save(path)
    return folder


def test_with_data_it_stops_as_soon_as_the_gate_passes(spoilt: Graph, told: Path, tmp_path: Path) -> None:
    said = list[str]()
    done = repair.export(spoilt, profile_with(tmp_path, GATE), tmp_path / "bundle", data=told, say=said.append)
    assert done.verdict.state == "passed"
    found = repair_of(done.folder)
    assert sorted(layers(found)) == ["encoder.stem", "heads.mask.logits"]  # a gate of the mask alone
    assert found.images == "9 images of generic, select"
    first, last = found.steps[0], found.steps[-1]
    assert first.judged == "failed"
    assert first.drops["mask_jaccard"] > 0.1 > 0.02 >= last.drops["mask_jaccard"]
    accuracy = done.report.measurements.accuracy
    assert accuracy is not None
    assert (accuracy.split, accuracy.inherited_from) == ("select+val", None)
    repaired_graph = Graph.open(repair.graph_beside(done.folder))
    (entry,) = evidence.read(repaired_graph.evidence)
    assert (entry.graph_sha256, entry.split) == (repaired_graph.sha256, "select+val")
    assert (entry.n, entry.metrics) == (accuracy.n, accuracy.metrics)
    assert said[-1].startswith(f"Its other targets: edgeskin export --from {repaired_graph.folder} --target all --out ")
    assert repaired_graph.changed() == ()


def test_a_size_that_would_be_broken_ends_it(spoilt: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter((1.0, 2.0, 20.0))
    monkeypatch.setattr("edgeskin.export.repair.candidates.size_mib", lambda _: next(sizes))
    done = repair.export(spoilt, profile_with(tmp_path, GATE), tmp_path / "bundle")
    found = repair_of(done.folder)
    assert found.stopped == "one more group would break size_mib"
    assert [step.size_mib for step in found.steps] == [1, 2, 20]
    assert found.returned == found.steps[1].returned != found.steps[2].returned


# --- where there is nothing to repair ---


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("size_mib_max = 16\n", "the gate did not fail"),
        ("size_mib_max = 0.001\n", "size_mib failed, and layers in float do not mend that"),
        ("floor = { no_such_metric = 0.5 }\n", "no_such_metric cannot be measured on this data"),
    ],
)
def test_what_float_does_not_mend_is_left_as_it_is(
    rules: str, why: str, spoilt: Graph, phantom_data: Path, tmp_path: Path
) -> None:
    said = list[str]()
    data = phantom_data if "floor" in rules else None
    repair.export(spoilt, profile_with(tmp_path, rules), tmp_path / "bundle", data=data, say=said.append)
    assert said[-1] == f"nothing is repaired: {why}"
    assert not repair.graph_beside(tmp_path / "bundle").exists()
    assert not (tmp_path / "bundle" / repaired.FILE).exists()


def test_a_sound_network_keeps_every_layer(sound: Graph, tmp_path: Path) -> None:
    done = repair.export(sound, profile_with(tmp_path, GATE), tmp_path / "bundle")
    assert done.report.graph_sha256 == sound.sha256
    assert not repair.graph_beside(tmp_path / "bundle").exists()


def test_what_was_repaired_is_not_repaired_again(unseen: tuple[Exported, list[str]], tmp_path: Path) -> None:
    graph = Graph.open(repair.graph_beside(unseen[0].folder))
    done = repair.export(graph, profile_with(tmp_path, GATE), tmp_path / "bundle")
    assert done.report.graph_sha256 == graph.sha256
    assert not repair.graph_beside(tmp_path / "bundle").exists()


def test_only_int8_is_repaired(spoilt: Graph, tmp_path: Path) -> None:
    with pytest.raises(EdgeskinError, match="returns layers of int8 to float, and fp32 was asked for"):
        repair.export(spoilt, Profile.default("onnx").altered(precision="fp32"), tmp_path / "bundle")


def test_a_folder_that_is_no_repaired_graph_is_never_replaced(spoilt: Graph, tmp_path: Path) -> None:
    own = tmp_path / "bundle-graph"
    shutil.copytree(spoilt.folder, own)
    before = contents(own)
    with pytest.raises(EdgeskinError, match="stands where the repaired Graph belongs and is none"):
        repair.export(spoilt, Profile.default("onnx"), tmp_path / "bundle")
    assert contents(own) == before
    assert not (tmp_path / "bundle").exists()


def test_an_app_that_computes_the_last_step_keeps_integer_logits(spoilt: Graph, tmp_path: Path) -> None:
    raw = Profile.default("tflite").altered(raw_outputs=True)
    names = {name for group in _candidates(spoilt, raw, tmp_path).groups() for name in group}
    assert "encoder.deep" in names
    assert not [name for name in names if name.startswith("heads.")]


# --- images and errors ---


def _candidates(graph: Graph, profile: Profile, scratch: Path) -> Candidates:
    return Candidates(graph, profile, scratch, None, lambda _: None, lambda *_: None)


def test_the_error_is_that_of_probabilities_and_of_a_mask_besides_its_decisions(spoilt: Graph) -> None:
    card = spoilt.card
    same = {"mask": np.full((2, 1, 2, 2), 0.4), "diagnosis": np.full((2, 3), 1 / 3), "melanoma": np.full((2, 1), 0.5)}
    other = {name: values.copy() for name, values in same.items()}
    other["mask"][1, 0, 0, 0] = 0.6
    other["melanoma"][1] = 0.8
    errors = errors_of(
        {name: values.astype(np.float32) for name, values in same.items()},
        {name: values.astype(np.float32) for name, values in other.items()},
        card,
    )
    # 0.2 over four pixels, one of four decided otherwise, 0.3: over three heads.
    np.testing.assert_allclose(errors, [0, (0.05 + 0.25 + 0.3) / 3], atol=1e-6)


@pytest.mark.parametrize(
    ("costs", "least", "worse"),
    [
        ((0.1, 0.11, 0.09, 0.1), 0.0, True),
        ((0.1, -0.1, 0.12, -0.09), 0.0, False),
        ((0.001, 0.0011, 0.0009, 0.001), 0.005, False),
        ((0.0, 0.0, 0.0, 0.0), 0.0, False),
    ],
    ids=["clear", "chance", "too little", "equal"],
)
def test_a_difference_counts_beyond_chance_and_the_least(costs: Sequence[float], least: float, worse: bool) -> None:
    errors = np.full(len(costs), 0.5)
    assert is_worse(errors + np.asarray(costs), errors, least) is worse


def test_a_second_pass_is_shown_what_the_golden_cases_hold(twice_graph: Graph) -> None:
    from edgeskin.export import golden

    cases = golden.read(twice_graph.golden, twice_graph.card)
    images = Images.of_golden(cases)
    assert images.second
    answers = images.answers(reference_session(twice_graph.int8))
    for name, values in cases.int8_outputs.items():
        np.testing.assert_allclose(answers[name], values, atol=1e-4, err_msg=name)
