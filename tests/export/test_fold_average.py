"""The folds of one recipe as one network: three small networks with weights of their own, averaged by hand here."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeskin.benchmarks import accuracy, evidence
from edgeskin.contract.image import letterbox
from edgeskin.contract.mask import lesion_mask
from edgeskin.contract.model import ModelCard
from edgeskin.data.cases import data_list_sha256, read_cases, read_image, read_mask
from edgeskin.errors import DataError, EdgeskinError, GraphError
from edgeskin.export import average, evaluate
from edgeskin.export.average import Averaged, Mean
from edgeskin.graph.folder import Graph


@pytest.fixture
def folds(small_graph: Graph, tmp_path: Path) -> list[Graph]:
    """Three networks: the small one's heads, each with weights and a melanoma threshold of its own."""
    made = []
    for number, threshold in enumerate((0.3, 0.5, 0.6)):
        folder = Path(shutil.copytree(small_graph.folder, tmp_path / f"fold{number}"))
        for name in ("fp32.onnx", "int8.onnx"):
            _roll(folder / name, by=number)
        written = json.loads((folder / "model.json").read_text())
        written["heads"][2]["threshold"] = threshold
        (folder / "model.json").write_text(json.dumps(written))
        made.append(Graph.open(folder))
    return made


def _roll(path: Path, by: int) -> None:
    """Give every head the weights of other channels: another network, as good as the first."""
    model = onnx.load(path)
    for weight in model.graph.initializer:
        if weight.name.startswith("heads.") and weight.name.endswith(".weight"):
            weight.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(weight), by, axis=1), weight.name))
    onnx.save(model, path)


class Fixed:
    """Answers the same, whatever it is shown."""

    def __init__(self, **answers: float) -> None:
        self.answers = answers

    def run(self, image: np.ndarray, metadata: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return {name: np.full((1, 1), value, np.float32) for name, value in self.answers.items()}


def test_the_mean_is_of_every_output_and_stays_float32() -> None:
    found = Mean((Fixed(a=0.1, b=1), Fixed(a=0.2, b=0), Fixed(a=0.6, b=0))).run(np.zeros((1, 3, 32, 32), np.uint8))
    # By hand: 0.9 / 3 and 1 / 3.
    assert found["a"] == pytest.approx(0.3, abs=1e-7)
    assert found["b"] == pytest.approx(1 / 3, abs=1e-7)
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_the_figures_are_those_of_the_mean_probabilities(
    folds: list[Graph], phantom_data: Path, tmp_path: Path
) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    out = tmp_path / "average.json"
    found = average.evaluate(folds, phantom_data, "val", out)
    cases = read_cases(phantom_data).split("val")
    shown = [letterbox(read_image(case), folds[0].card.size) for case in cases]
    images, boxes = [image[np.newaxis] for image, _ in shown], [box for _, box in shown]
    lesions = [read_mask(case) for case in cases]
    with ExitStack() as stack:
        opened = [stack.enter_context(evaluate.opened(one)) for one in folds]
        answers_of = {
            name: [[pair[index].run(image, None) for pair in opened] for image in images]
            for index, name in enumerate(("float", "int8"))
        }
    for network, answers in answers_of.items():
        melanoma = [np.mean([one["melanoma"][0, 0] for one in each]) for each in answers]
        classes = [np.mean([one["diagnosis"][0] for one in each], axis=0).argmax() for each in answers]
        outlines = [
            lesion_mask(np.mean([one["mask"][0, 0] for one in each], axis=0, dtype=np.float32), box, 0.5, None)
            for each, box in zip(answers, boxes, strict=True)
        ]
        truth = [int(case.labels["melanoma"]) for case in cases]
        named = [folds[0].card.head("diagnosis").labels.index(case.labels["diagnosis"]) for case in cases]
        figures = {name: getattr(figure, network) for name, figure in found.accuracy.metrics.items()}
        assert len({each["melanoma"][0, 0] for each in answers[0]}) == 3
        # Jaccard by the definition: intersection over union, image by image.
        overlaps = [(mask & known).sum() / (mask | known).sum() for mask, known in zip(outlines, lesions, strict=True)]
        assert figures["mask_jaccard_raw"] == pytest.approx(np.mean(overlaps))
        assert figures["melanoma_auroc"] == pytest.approx(metrics.roc_auc_score(truth, melanoma))
        # The mean of the thresholds by hand: 1.4 / 3.
        decided = [int(one >= 1.4 / 3) for one in melanoma]
        assert figures["melanoma_accuracy"] == pytest.approx(metrics.accuracy_score(truth, decided))
        assert figures["diagnosis_balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(named, classes))
    assert found.thresholds == {"mask": 0.5, "melanoma": pytest.approx(1.4 / 3)}
    assert found.graphs == tuple(one.sha256 for one in folds)
    assert found.accuracy.cautions[-1] == "the average of 3 networks, which no single artifact computes"
    assert Averaged.read(out) == found


def test_what_each_reached_alone_is_its_own_evidence_and_the_average_is_nobodys(
    folds: list[Graph], phantom_data: Path, tmp_path: Path
) -> None:
    alone = evaluate.evaluate(folds[1], phantom_data, "val")
    average.evaluate(folds, phantom_data, "val", tmp_path / "average.json")
    entries = [evidence.read(one.evidence) for one in folds]
    # The second one's figures were known, so it was not measured again.
    assert [len(each) for each in entries] == [1, 1, 1]
    assert [each[0].graph_sha256 for each in entries] == [one.sha256 for one in folds]
    assert entries[1][0].metrics == alone.metrics
    assert entries[0][0].metrics == evaluate.evaluate(folds[0], phantom_data, "val").metrics


def _knowing(graph: Graph, ids: list[str]) -> Graph:
    graph.training_ids.write_text("\n".join(sorted(ids)))
    provenance = graph.card.provenance.model_copy(update={"data_list_sha256": data_list_sha256(ids)})
    graph.card.model_copy(update={"provenance": provenance}).write(graph.folder / "model.json")
    return Graph.open(graph.folder)


def test_a_copy_of_what_one_fold_was_trained_on_is_left_out_of_the_average_too(
    folds: list[Graph], phantom_data: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(phantom_data, tmp_path / "data"))
    mine, theirs = read_cases(data).split("val")[3], read_cases(data).split("train")[2]
    shutil.copy(mine.image, theirs.image)
    ids = [case.image_id for case in read_cases(data).split("train")]
    others = [one for one in ids if one != theirs.image_id]
    known = [_knowing(graph, each) for graph, each in zip(folds, (ids, others, others), strict=True)]
    found = average.evaluate(known, data, "val", tmp_path / "average.json").accuracy
    assert (found.n, found.seen_in_training) == (8, (mine.image_id,))
    alone = [evidence.read(one.evidence)[0] for one in known]
    assert [(one.n, one.seen_in_training) for one in alone] == [(8, (mine.image_id,)), (9, ()), (9, ())]
    known[2].training_ids.unlink()
    again = average.evaluate(known, data, "val", tmp_path / "average.json").accuracy
    assert (again.n, again.seen_in_training) == (8, None), "of one of them nobody can tell"


def test_a_network_that_met_test_may_not_meet_it_in_an_average_nor_the_other_way_round(
    folds: list[Graph], phantom_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    average.evaluate(folds[:2], phantom_data, "test", tmp_path / "first.json")
    assert [len(evidence.read(one.evidence)) for one in folds] == [1, 1, 0]
    monkeypatch.setattr(accuracy, "predict", lambda *_, **__: pytest.fail("it was measured"))
    with pytest.raises(EdgeskinError, match="touched once per release"):
        evaluate.evaluate(folds[0], phantom_data, "test")
    with pytest.raises(EdgeskinError, match="touched once per release"):
        average.evaluate(folds, phantom_data, "test+val", tmp_path / "second.json")
    assert not (tmp_path / "second.json").exists()


def test_an_interrupted_average_leaves_no_trace(
    folds: list[Graph], phantom_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(*_: object, **__: object) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        average.evaluate(folds, phantom_data, "test", tmp_path / "average.json")
    assert calls == [1]
    assert not (tmp_path / "average.json").exists()
    assert [evidence.read(one.evidence) for one in folds] == [(), (), ()]


def rewrite(graph: Graph, **changes: object) -> Graph:
    card = ModelCard.model_validate({**graph.card.model_dump(), **changes})
    card.write(graph.folder / "model.json")
    return Graph.open(graph.folder)


def test_networks_that_do_not_answer_alike_are_refused(folds: list[Graph], phantom_data: Path, tmp_path: Path) -> None:
    def refused(words: str, *graphs: Graph) -> None:
        with pytest.raises(GraphError, match=words):
            average.evaluate(graphs, phantom_data, "val", tmp_path / "average.json")

    heads = folds[0].card.heads
    swapped = heads[1].model_copy(update={"labels": heads[1].labels[::-1]})
    refused("is the same network as", folds[0], folds[1], folds[0])
    refused(
        "in its heads. Only networks of one recipe", folds[0], rewrite(folds[1], heads=(heads[0], swapped, heads[2]))
    )
    refused("in its heads", folds[0], rewrite(folds[1], heads=heads[:2]))
    refused("in its size", folds[0], rewrite(folds[1], heads=heads, size=64))
    provenance = folds[2].card.provenance.model_copy(update={"recipe": "another"})
    refused("in its recipe", folds[0], rewrite(folds[2], provenance=provenance.model_dump()))


@pytest.mark.parametrize("split", ["train", "select", "select+val", "voted", "vla"])
def test_only_splits_that_no_fold_trains_on_are_averaged(
    folds: list[Graph], phantom_data: Path, tmp_path: Path, split: str
) -> None:
    with pytest.raises(DataError, match="Average them on val or test"):
        average.evaluate(folds, phantom_data, split, tmp_path / "average.json")


def test_a_network_trained_on_an_image_of_the_split_is_refused(
    folds: list[Graph], phantom_data: Path, tmp_path: Path
) -> None:
    first, second = (case.image_id for case in read_cases(phantom_data).split("val")[:2])
    run = tmp_path / "run"
    shutil.copytree(folds[1].folder, run / "graph")
    (run / "run.json").write_text(json.dumps({"train_ids": ["elsewhere", second], "recipe": {"of": "no interest"}}))
    inside = Graph.open(run / "graph")
    with pytest.raises(DataError, match=rf"was trained on 1 of the 9 images of val \({second}\)"):
        average.evaluate([folds[0], inside], phantom_data, "val", tmp_path / "average.json")
    (run / "run.json").write_text(json.dumps({"train_ids": ["elsewhere"]}))
    average.evaluate([folds[0], inside], phantom_data, "val", tmp_path / "average.json")
    # The images that chose its epoch count too, and a Graph folder knows those without its run.
    provenance = folds[2].card.provenance.model_copy(update={"select_ids": (first,)})
    chosen_by = rewrite(folds[2], provenance=provenance.model_dump())
    with pytest.raises(DataError, match=first):
        average.evaluate([folds[0], chosen_by], phantom_data, "val", tmp_path / "average.json")
