"""Images from training do not count, whatever they are called and however they were recoloured or turned."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeskin import shipped
from edgeskin.data import fingerprint
from edgeskin.data.cases import Case, Cases, data_list_sha256, read_cases, read_image
from edgeskin.errors import DataError, GraphError, RunError
from edgeskin.export import evaluate
from edgeskin.export.evaluate import silent
from edgeskin.export.unseen import Unseen, trained_on, unseen
from edgeskin.graph.folder import Graph


@pytest.fixture
def data(phantom_data: Path, tmp_path: Path) -> Cases:
    """A data folder to damage."""
    return read_cases(Path(shutil.copytree(phantom_data, tmp_path / "data")))


def knowing(graph: Graph, ids: Sequence[str]) -> Graph:
    """The Graph of a network that was trained on these images."""
    graph.training_ids.write_text("\n".join(sorted(ids)))
    provenance = graph.card.provenance.model_copy(update={"data_list_sha256": data_list_sha256(ids)})
    graph.card.model_copy(update={"provenance": provenance}).write(graph.folder / "model.json")
    return Graph.open(graph.folder)


def ids_of(cases: Sequence[Case]) -> list[str]:
    return [case.image_id for case in cases]


def of_val(graph: Graph, data: Cases) -> Unseen:
    return unseen(graph, data.split("val"), data, silent)


def test_where_nothing_is_known_of_training_the_report_says_so(graph: Graph, data: Cases) -> None:
    found = of_val(graph, data)
    assert (found.cases, found.left_out) == (data.split("val"), None)
    assert found.cautions == ("it is not known which images small was trained on: none was looked for among these",)
    report = evaluate.evaluate(graph, data.folder, "val")
    assert report.seen_in_training is None
    assert found.cautions[0] in report.cautions


def test_images_that_are_no_copies_all_count(graph: Graph, data: Cases) -> None:
    found = of_val(knowing(graph, ids_of(data.split("train"))), data)
    assert (found.cases, found.left_out, found.cautions) == (data.split("val"), (), ())


def test_the_very_images_of_training_are_refused(graph: Graph, data: Cases) -> None:
    mine = data.split("val")[0].image_id
    trained = knowing(graph, [*ids_of(data.split("train")), mine])
    with pytest.raises(DataError, match=rf"small was trained on 1 of these 9 images \({mine}\)"):
        evaluate.evaluate(trained, data.folder, "val")
    with pytest.raises(DataError, match=r"was trained on \d+ of these \d+ images"):
        evaluate.evaluate(trained, data.folder, "train")
    assert not trained.evidence.exists()


def recoloured(pixels: np.ndarray) -> np.ndarray:
    """Mirrored, turned, darker and of another colour."""
    turned = np.rot90(pixels[:, ::-1]).astype(np.float64)
    return np.round(turned * [0.7, 0.6, 0.8]).astype(np.uint8)


@pytest.mark.parametrize("change", [np.asarray, recoloured])
def test_a_copy_of_a_training_image_under_another_name_is_left_out(graph: Graph, data: Cases, change) -> None:
    mine, theirs = data.split("val")[3], data.split("train")[2]
    Image.fromarray(change(read_image(mine))).save(theirs.image)
    report = evaluate.evaluate(knowing(graph, ids_of(data.split("train"))), data.folder, "val")
    assert report.seen_in_training == (mine.image_id,)
    assert (report.n, report.metrics["mask_jaccard"].n) == (8, 8)
    kept = [one for one in ids_of(data.split("val")) if one != mine.image_id]
    assert report.data_list_sha256 == data_list_sha256(kept)
    assert any("1 of 9 images are left out, each the same photograph" in each for each in report.cautions)


@pytest.mark.parametrize("change", [np.asarray, recoloured])
def test_a_training_image_under_another_name_is_left_out_where_the_data_holds_none_of_training(
    graph: Graph, data: Cases, phantom_data: Path, change
) -> None:
    """Its print is all that is known of it."""
    train = read_cases(phantom_data).split("train")
    trained = knowing(graph, ids_of(train))
    fingerprint.write(trained.training_prints, train)
    mine = data.split("val")[3]
    Image.fromarray(change(read_image(train[2]))).save(mine.image)
    table = data.folder / "labels.csv"
    rows = [row for row in table.read_text().splitlines() if row.partition(",")[0] not in ids_of(train)]
    table.write_text("\n".join(rows) + "\n")
    elsewhere = read_cases(data.folder)
    found = of_val(trained, elsewhere)
    assert found.left_out == (mine.image_id,)
    assert len(found.cautions) == 1, "nothing is unknown: each print is at hand"
    trained.training_prints.unlink()
    unknown = of_val(trained, elsewhere)
    assert unknown.left_out == ()
    assert "the 60 training images are not in data" in unknown.cautions[0]


def test_prints_of_other_images_than_those_of_the_list_are_refused(graph: Graph, data: Cases) -> None:
    train = data.split("train")
    trained = knowing(graph, ids_of(train))
    fingerprint.write(trained.training_prints, train[1:])
    with pytest.raises(GraphError, match=r"training_prints\.npy: is not uint8 of the shape \(60, 98\)"):
        of_val(trained, data)
    trained.training_prints.write_bytes(b"PRINTS")
    with pytest.raises(GraphError, match=r"training_prints\.npy: cannot be read"):
        of_val(trained, data)


def test_a_copy_of_the_file_itself_is_left_out(graph: Graph, data: Cases) -> None:
    mine, theirs = data.split("val")[0], data.split("train")[0]
    shutil.copy(mine.image, theirs.image)
    assert of_val(knowing(graph, ids_of(data.split("train"))), data).left_out == (mine.image_id,)


def test_a_pair_that_the_folder_lists_is_left_out(graph: Graph, data: Cases) -> None:
    mine = data.split("val")[1].image_id
    (data.folder / "near_duplicates.csv").write_text(f"image_a,image_b\n{mine},elsewhere\n")
    found = of_val(knowing(graph, ["elsewhere"]), data)
    assert found.left_out == (mine,)
    assert any("1 of the 1 training images are not in data" in each for each in found.cautions)


@pytest.mark.parametrize("known", [False, True])
def test_one_photograph_under_many_names_counts_once(graph: Graph, data: Cases, known: bool) -> None:
    first, *others = data.split("val")[2:6]
    for one in others:
        Image.fromarray(read_image(first)).save(one.image, compress_level=1)
    found = of_val(knowing(graph, ids_of(data.split("train"))) if known else graph, data)
    assert ids_of(found.cases) == [one for one in ids_of(data.split("val")) if one not in ids_of(others)]
    assert any("3 of 9 images have the pixels of another one" in each for each in found.cautions)
    assert found.left_out == (() if known else None)


def test_where_nothing_is_left_nothing_is_measured(graph: Graph, data: Cases) -> None:
    train = data.split("train")
    for mine, theirs in zip(data.split("val"), train, strict=False):
        shutil.copy(mine.image, theirs.image)
    with pytest.raises(DataError, match="Nothing is left to measure"):
        of_val(knowing(graph, ids_of(train)), data)


def test_a_list_that_the_model_card_does_not_name_is_refused(graph: Graph, data: Cases) -> None:
    trained = knowing(graph, ids_of(data.split("train")))
    trained.training_ids.write_text("nothing")
    with pytest.raises(GraphError, match=r"is not the list whose hash model\.json names"):
        of_val(trained, data)


def test_the_run_that_a_graph_stands_in_knows_what_it_was_trained_on(graph: Graph) -> None:
    assert trained_on(graph) is None
    run = graph.folder.parent / "run.json"
    run.write_text(json.dumps({"train_ids": ["a", "b"], "recipe": {}}))
    assert trained_on(graph) == {"a", "b"}
    run.write_text("{}")
    with pytest.raises(RunError, match=r"run\.json: train_ids: Field required"):
        trained_on(graph)


@pytest.mark.data
def test_training_images_under_other_names_do_not_judge_the_released_network(
    isic2017: Path, ham10000: Path, tmp_path: Path
) -> None:
    """Thirty that it was trained on, mirrored and compressed again, among thirty of HAM10000."""
    graph = Graph.open(shipped.default_release())
    learnt = graph.training_ids.read_text().splitlines()[::60][:30]
    unrelated = sorted((ham10000 / "images").iterdir())[::300][:30]
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rows = ["image_id,split,melanoma,has_mask"]
    for number, name in enumerate(learnt):
        pixels = cv2.imread(str(isic2017 / "images" / f"{name}.jpg"))[:, ::-1]
        cv2.imwrite(str(tmp_path / "images" / f"renamed_{number:02d}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])
        rows.append(f"renamed_{number:02d},val,{number % 2},0")
    alone = rows.copy()
    for number, path in enumerate(unrelated):
        shutil.copy(path, tmp_path / "images" / f"other_{number:02d}.jpg")
        rows.append(f"other_{number:02d},val,{number % 2},0")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    data = read_cases(tmp_path)
    found = unseen(graph, data.split("val"), data, silent)
    assert found.left_out == tuple(f"renamed_{number:02d}" for number in range(30))
    assert {case.image_id for case in found.cases} == {f"other_{number:02d}" for number in range(30)}
    (tmp_path / "labels.csv").write_text("\n".join(alone) + "\n")
    data = read_cases(tmp_path)
    with pytest.raises(DataError, match="Nothing is left to measure"):
        unseen(graph, data.split("val"), data, silent)
