"""Evidence: measured on labelled images, appended, and the test split looked at once."""

import json
import os
import shutil
from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.benchmarks import accuracy, evidence
from edgeskin.contract.bundle import verify, write_manifest
from edgeskin.data.cases import data_list_sha256, read_cases, read_mask
from edgeskin.data.symmetry import ASYMMETRIC, mask_asymmetry
from edgeskin.errors import DataError, EdgeskinError, GraphError
from edgeskin.export import evaluate
from edgeskin.graph.folder import Graph


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be measured in this test."""
    monkeypatch.setattr(accuracy, "predict", lambda *_, **__: pytest.fail("it was measured"))


def test_figures_of_both_networks_are_appended_as_evidence(graph: Graph, phantom_data: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    report = evaluate.evaluate(graph, phantom_data, "val", progress=lambda *step: seen.append(step))
    (entry,) = evidence.read(graph.evidence)
    assert (entry.graph_sha256, entry.dataset, entry.split, entry.n) == (graph.sha256, "generic", "val", 9)
    assert entry.data_list_sha256 == data_list_sha256(case.image_id for case in read_cases(phantom_data).split("val"))
    assert entry.metrics == report.metrics
    assert {"mask_jaccard", "melanoma_auroc", "diagnosis_balanced_accuracy"} <= set(report.metrics)
    # Each of the nine images is compared with the others, and answered by float and by int8.
    assert [step[1:] for step in seen] == [(done, 9) for done in range(1, 10)] * 3
    evaluate.evaluate(graph, phantom_data, "val+select")
    assert [one.split for one in evidence.read(graph.evidence)] == ["val", "select+val"]


def test_the_test_split_is_refused_a_second_time_before_anything_is_measured(
    graph: Graph, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate.evaluate(graph, phantom_data, "test")
    before = graph.evidence.read_bytes()
    monkeypatch.setattr(accuracy, "predict", lambda *_, **__: pytest.fail("it was measured"))
    for split in ("test", "test+val"):
        with pytest.raises(EdgeskinError, match="touched once per release"):
            evaluate.evaluate(graph, phantom_data, split)
    assert graph.evidence.read_bytes() == before


def test_select_is_what_training_held_out(small_graph: Graph, phantom_data: Path) -> None:
    folder = read_cases(phantom_data)
    held_out = small_graph.card.provenance.select_ids
    assert tuple(case.image_id for case in evaluate.cases_of(small_graph, folder, "select")) == held_out
    both = evaluate.cases_of(small_graph, folder, "val+select")
    assert [case.image_id for case in both] == [*held_out, *(case.image_id for case in folder.split("val"))]


@pytest.mark.usefixtures("unmeasured")
def test_select_of_another_data_set_is_refused(graph: Graph, phantom_data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(phantom_data, tmp_path / "other"))
    table = (other / "labels.csv").read_text().splitlines()
    first = graph.card.provenance.select_ids[0]
    (other / "labels.csv").write_text("\n".join(line for line in table if not line.startswith(first)) + "\n")
    with pytest.raises(DataError, match="holds 8 of the 9 images that small kept as select"):
        evaluate.evaluate(graph, other, "select")


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("split", "said"),
    [("vla", "did you mean 'val'"), ("val+", "is no split"), ("train+select", "share images"), ("", "is no split")],
)
def test_a_split_that_cannot_be_is_refused(graph: Graph, phantom_data: Path, split: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        evaluate.evaluate(graph, phantom_data, split)
    assert not graph.evidence.exists()


@pytest.mark.usefixtures("unmeasured")
def test_a_folder_that_cannot_take_evidence_says_so_first(
    graph: Graph, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: Path(path) != graph.folder)
        with pytest.raises(GraphError, match="cannot be written to"):
            evaluate.evaluate(graph, phantom_data, "val")
    # A release inside an installed wheel, which the next update takes away.
    monkeypatch.setattr(shipped, "_PACKAGE", graph.folder.parent)
    inside = graph.folder.parent / "_shipped" / "release" / "clinic-1"
    shutil.copytree(graph.folder, inside)
    with pytest.raises(GraphError, match=r"belongs to the installed edgeskin.*Copy the folder"):
        evaluate.evaluate(Graph.open(inside), phantom_data, "val")


def test_a_graph_in_a_bundle_takes_no_evidence(graph: Graph, phantom_data: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(graph.folder, tmp_path / "bundle" / "deploy"))
    write_manifest(
        place.parent, target="tensorrt", precision="int8", artifact="deploy/int8.onnx", graph_sha256=graph.sha256
    )
    with pytest.raises(GraphError, match=r"deploy: belongs to the bundle .*bundle, whose files stay"):
        evaluate.evaluate(Graph.open(place), phantom_data, "val")
    assert verify(place.parent) == ()


def test_a_failed_evaluation_leaves_the_evidence_as_it_was(
    graph: Graph, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate.evaluate(graph, phantom_data, "val")
    before = graph.evidence.read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(graph, phantom_data, "test")
    assert graph.evidence.read_bytes() == before
    assert json.loads(before)[0]["split"] == "val"
    assert not list(graph.folder.glob(".*"))


# --- with metadata ---


def test_a_network_is_measured_with_real_metadata_and_with_all_unknown(told_graph: Graph, phantom_data: Path) -> None:
    real = evaluate.evaluate(told_graph, phantom_data, "val")
    unknown = evaluate.evaluate(told_graph, phantom_data, "val", metadata="unknown")
    assert (real.metadata, unknown.metadata) == ("real", "unknown")
    assert [entry.metadata for entry in evidence.read(told_graph.evidence)] == ["real", "unknown"]
    # Masks do not depend on what is known, melanoma does.
    assert real.metrics["mask_jaccard"] == unknown.metrics["mask_jaccard"]
    assert real.metrics["melanoma_ece"] != unknown.metrics["melanoma_ece"]
    found = evidence.find(told_graph.evidence, told_graph.sha256, "val", metadata="unknown")
    assert found is not None
    assert found.metrics == unknown.metrics


def test_the_test_split_is_looked_at_once_with_each_metadata(told_graph: Graph, phantom_data: Path) -> None:
    evaluate.evaluate(told_graph, phantom_data, "test")
    evaluate.evaluate(told_graph, phantom_data, "test", metadata="unknown")
    for given in ("real", "unknown", None):
        with pytest.raises(EdgeskinError, match="touched once per release"):
            evaluate.evaluate(told_graph, phantom_data, "test", metadata=given)


def test_a_column_that_the_table_lacks_is_one_caution(told_graph: Graph, phantom_data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(phantom_data, tmp_path / "other"))
    table = (other / "labels.csv").read_text()
    (other / "labels.csv").write_text(table.replace(",sex,", ",gender,", 1))
    report = evaluate.evaluate(told_graph, other, "val")
    assert [each for each in report.cautions if "no column" in each] == [
        "labels.csv has no column sex: unknown for every image"
    ]
    (other / "labels.csv").write_text(table.replace(",female,", ",f,"))
    with pytest.raises(DataError, match=r"sex is 'f'; did you mean|sex is 'f'. Known: female, male"):
        evaluate.evaluate(told_graph, other, "val")


@pytest.mark.usefixtures("unmeasured")
def test_metadata_asked_of_a_network_that_takes_none_is_refused(graph: Graph, phantom_data: Path) -> None:
    with pytest.raises(EdgeskinError, match="small takes no metadata"):
        evaluate.evaluate(graph, phantom_data, "val", metadata="real")


# --- heads whose truth stands elsewhere ---


def test_a_head_is_measured_by_the_column_and_the_words_of_its_spec(graph: Graph, phantom_data: Path) -> None:
    plain = evaluate.evaluate(graph, phantom_data, "val")
    mask, diagnosis, melanoma = graph.card.heads
    told = melanoma.model_copy(update={"column": "diagnosis", "values": {"yes": ("melanoma",)}})
    card = graph.card.model_copy(update={"heads": (mask, diagnosis, told)})
    card.write(graph.folder / "model.json")
    translated = evaluate.evaluate(Graph.open(graph.folder), phantom_data, "val")
    assert translated.metrics == plain.metrics  # phantoms are melanoma by both columns


def test_a_head_that_learnt_from_outlines_is_measured_on_outlines(graph: Graph, phantom_data: Path) -> None:
    mask, diagnosis, melanoma = graph.card.heads
    outline = melanoma.model_copy(
        update={"column": "mask_symmetry", "values": {"no": ("symmetric",), "yes": ("asymmetric",)}}
    )
    card = graph.card.model_copy(update={"heads": (mask, diagnosis, outline)})
    card.write(graph.folder / "model.json")
    report = evaluate.evaluate(Graph.open(graph.folder), phantom_data, "val")
    assert report.metrics["melanoma_ece"].n == 9
    cases = read_cases(phantom_data).split("val")
    shown = evaluate.with_outlines(card.heads, cases)
    words = ["asymmetric" if mask_asymmetry(read_mask(case)) >= ASYMMETRIC else "symmetric" for case in cases]
    assert [case.labels["mask_symmetry"] for case in shown] == words
    assert evaluate.with_outlines(graph.card.heads, cases) == cases
