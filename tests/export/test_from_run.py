"""From a run to its Graph folder; the network is the tiny one, so figures say nothing about skin."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from edgeskin import files
from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import HairRemoval, ShadesOfGray, ZScore
from edgeskin.contract.region import SecondPass
from edgeskin.data.cases import data_list_sha256
from edgeskin.errors import RunError
from edgeskin.export import from_run, golden
from edgeskin.export.from_run import graph_from_run
from edgeskin.graph import lint
from edgeskin.graph.folder import PARTS, Graph
from edgeskin.graph.ir import Conv, Linear
from edgeskin.graph.read import read
from edgeskin.targets.onnx import reference_session
from edgeskin.train.checkpoint import RunRecord, load, read_run, write_run
from edgeskin.train.networks import float_network

HOPS = (
    "QAT weights, not quantized → fake-quantized",
    "fake-quantized → converted",
    "converted → biases on their grid",
    "biases on their grid → int8.onnx",
)
JUDGED = (HOPS[1], HOPS[3])


def chain(graph: Graph) -> list[dict[str, object]]:
    value = json.loads((graph.folder / "chain.json").read_text())
    assert isinstance(value, list)
    return value


def test_the_graph_folder_is_complete(tiny_graph: Graph) -> None:
    assert {path.name for path in tiny_graph.folder.iterdir()} == set(PARTS)
    assert json.loads(tiny_graph.evidence.read_text()) == [], "nothing is measured yet"


def test_both_files_keep_the_contract(tiny_graph: Graph) -> None:
    assert lint.lint(read(tiny_graph.int8), frozenset(tiny_graph.card.kept_float)) == ()
    assert lint.lint_float(read(tiny_graph.fp32)) == ()


def test_every_weight_of_the_network_is_an_integer(tiny_graph: Graph) -> None:
    # By hand: 52 convolutions of the encoder; entry, lateral and a separable pair of the decoder; the mask's; 3 linear.
    network = read(tiny_graph.int8)
    weighted = [node for node in network.nodes if isinstance(node.operator, Conv | Linear)]
    assert len(weighted) == 52 + 4 + 1 + 3
    assert all(network.operands(node)[1].data.dtype == np.int8 for node in weighted)


def test_every_hop_of_the_chain_is_there_and_those_that_are_judged_are_equivalent(tiny_graph: Graph) -> None:
    hops = chain(tiny_graph)
    heads = [head.name for head in tiny_graph.card.heads]
    assert [(hop["name"], hop["tensor"]) for hop in hops] == [(name, head) for name in HOPS for head in heads]
    for hop in hops:
        assert hop["equivalent"] is (True if hop["name"] in JUDGED else None), hop


def test_quantizing_changes_the_network_so_the_chain_is_not_a_comparison_with_itself(tiny_graph: Graph) -> None:
    assert all(float(str(hop["max_abs"])) > 1e-4 for hop in chain(tiny_graph) if hop["name"] == HOPS[0])


def test_the_float_file_computes_what_the_best_float_epoch_computes(tiny_run: Path, tiny_graph: Graph) -> None:
    import torch

    cases = golden.read(tiny_graph.golden, tiny_graph.card).cases[:4]
    network = float_network(tiny_run, read_run(tiny_run))
    session = reference_session(tiny_graph.fp32)
    for case in cases:
        with torch.no_grad():
            logits = network((torch.from_numpy(case.image)[None].float() - 128) / 128)
        found = session.run(case.image[None])
        for head, values in zip(tiny_graph.card.heads, logits, strict=True):
            expected = torch.softmax(values, 1) if head.kind == "softmax" else torch.sigmoid(values)
            np.testing.assert_allclose(found[head.name], expected.numpy(), atol=1e-4)


def test_the_card_tells_where_the_network_comes_from(tiny_run: Path, tiny_graph: Graph) -> None:
    record, card = read_run(tiny_run), tiny_graph.card
    assert {head.name: head.threshold for head in card.heads if head.kind == "sigmoid"} == record.thresholds
    assert card.provenance.recipe_sha256 == record.recipe_sha256
    assert card.provenance.data_list_sha256 == data_list_sha256(record.train_ids)
    assert files.sha256(tiny_graph.training_ids) == card.provenance.data_list_sha256
    assert card.provenance.select_ids == record.select_ids
    assert len(card.float_tail) == len(card.heads)


@pytest.mark.slow
def test_exporting_twice_gives_the_same_bytes(tiny_run: Path, tiny_graph: Graph, tmp_path: Path) -> None:
    again = graph_from_run(tiny_run, tmp_path / "graph")
    parts = [path.relative_to(tiny_graph.folder) for path in tiny_graph.folder.rglob("*") if path.is_file()]
    assert len(parts) == 9 + 2 + 2 * 32  # the files beside golden/, golden.json and outputs.npz, photos and inputs
    for part in sorted(parts):
        assert files.sha256(again.folder / part) == files.sha256(tiny_graph.folder / part), part
    assert again.sha256 == tiny_graph.sha256


@pytest.mark.long
def test_decoders_of_training_alone_stay_behind(train_tiny: Callable[..., RunRecord], tmp_path: Path) -> None:
    run = tmp_path / "run"
    record = train_tiny(run, "heads.detail.kind=super_resolution", "float.epochs=1", "qat.epochs=1")
    graph = graph_from_run(run, tmp_path / "graph")
    trained = load(run, record.best["qat"])
    kept = safetensors.torch.load_file(graph.folder / "checkpoint.safetensors")
    assert any("super_resolution" in name for name in trained)
    assert set(kept) == {name for name in trained if "super_resolution" not in name}


def test_an_unfinished_run_is_refused_with_the_command_that_goes_on(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    write_run(run, read_run(run).model_copy(update={"finished": False}))
    with pytest.raises(RunError, match=r"training is not finished\. Go on with: edgeskin train .*--resume"):
        graph_from_run(run, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_a_run_whose_weights_do_not_fit_its_recipe_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    record = read_run(run)
    swapped = record.best["float"].model_copy(update={"phase": "qat"})
    write_run(run, record.model_copy(update={"best": {**record.best, "qat": swapped}}))
    with pytest.raises(RunError, match=r"does not fit the network that its recipe makes here"):
        graph_from_run(run, tmp_path / "graph")


def test_the_card_is_read_back_as_it_is(tiny_graph: Graph) -> None:
    assert ModelCard.read(tiny_graph.folder / "model.json") == tiny_graph.card


# --- preprocessing and a second pass ---


def declaring(run: Path, copy: Path, **changes: object) -> Path:
    """A copy of a run whose recipe declares something else beside its network."""
    folder = Path(shutil.copytree(run, copy))
    record = read_run(folder)
    write_run(folder, record.model_copy(update={"recipe": record.recipe.model_copy(update=changes)}))
    return folder


def test_preprocessing_that_no_device_repeats_is_refused_before_anything_is_traced(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_run, "trace", lambda *_: pytest.fail("it was traced"))
    run = declaring(tiny_run, tmp_path / "run", preprocessing=(ShadesOfGray(), HairRemoval(), ZScore()))
    with pytest.raises(RunError, match=r"hair_removal cannot be exported.*(?s:.)*z_score cannot be exported") as told:
        graph_from_run(run, tmp_path / "graph")
    assert str(told.value).startswith(f"{run}: preprocessing hair_removal")
    assert not (tmp_path / "graph").exists()


@pytest.mark.slow
def test_what_the_recipe_declares_reaches_the_card_the_chain_and_the_golden_cases(
    tiny_run: Path, tiny_graph: Graph, tmp_path: Path
) -> None:
    steps, second_pass = (ShadesOfGray(),), SecondPass(strategy="crop", heads=("melanoma",))
    run = declaring(tiny_run, tmp_path / "run", preprocessing=steps, second_pass=second_pass)
    graph = graph_from_run(run, tmp_path / "graph")
    assert (graph.card.preprocessing, graph.card.second_pass) == (steps, second_pass)
    # Neither is part of the network itself.
    assert files.sha256(graph.int8) == files.sha256(tiny_graph.int8)
    assert all(hop["equivalent"] is (True if hop["name"] in JUDGED else None) for hop in chain(graph))
    cases, plain = (golden.read(each.golden, each.card) for each in (graph, tiny_graph))
    assert cases.changed_inputs() == ()
    assert not np.array_equal(cases.cases[0].image, plain.cases[0].image)
    session = reference_session(graph.int8)
    twice = [number for number, case in enumerate(cases.cases) if case.second is not None]
    assert len(twice) >= 16, "it finds most lesions"
    for number in twice[:4]:
        second = session.run(cases.cases[number].second)
        np.testing.assert_allclose(cases.int8_outputs["melanoma"][number], second["melanoma"][0], atol=1e-6)
        first = session.run(*cases.cases[number].inputs)
        np.testing.assert_allclose(cases.int8_outputs["diagnosis"][number], first["diagnosis"][0], atol=1e-6)
