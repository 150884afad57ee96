"""What a report shows of a repair: the ranking, the trade and the reason why it ended."""

import re
from pathlib import Path

import pytest

from edgeskin.benchmarks import repaired
from edgeskin.benchmarks.repaired import LayerError, Repair, RepairStep, Returned
from edgeskin.errors import GraphError

STEM, HEAD = Returned(layers=("stem",), way="output"), Returned(layers=("head",), way="weights")
REPAIR = Repair(
    images="32 images of isic2017, select",
    n=32,
    ranking=(
        LayerError(layers=("stem",), alone=0.25, given_back=0.125),
        LayerError(layers=("head",), alone=0.03),
        LayerError(layers=("left", "concat"), alone=0.001),
    ),
    steps=(
        RepairStep(error=0.5, size_mib=2.0, drops={"mask_jaccard": 0.4}, judged="failed"),
        RepairStep(returned=(STEM,), in_float=3, error=0.25, size_mib=2.5, drops={"mask_jaccard": 0.04}),
        RepairStep(returned=(STEM, HEAD), in_float=4, error=0.01, drops={"mask_jaccard": 0.001}, judged="passed"),
    ),
    returned=(STEM, HEAD),
    kept_float=("stem", "deep", "add", "head"),
    stopped="the gate did not fail",
)


def test_the_sentence_names_the_layers_how_they_went_back_and_by_which_images() -> None:
    assert REPAIR.sentence == (
        "Repaired: in float are stem (output not rounded, own weights); head (weights of fp32.onnx, output at its "
        "scale), and 2 more that read their floats; chosen on 32 images of isic2017, select."
    )


def test_the_tables_hold_the_ranking_and_the_trade() -> None:
    text = re.sub(" +", " ", repaired.markdown(REPAIR))
    assert "| stem | 0.25 | 0.125 |" in text
    assert "| left, concat | 0.001 | not measured |" in text
    assert "| in float besides | nodes | gate | error | MiB | speed against fp32 | mask_jaccard drop |" in text
    assert "| nothing | 0 | failed | 0.5 | 2 | not measured | 0.4 |" in text
    assert "| head | 4 | passed | 0.01 | not measured | not measured | 0.001 |" in text
    assert text.endswith("Stopped: the gate did not fail.")


def test_each_row_of_the_trade_says_only_what_it_changed() -> None:
    otherwise, alone = STEM.model_copy(update={"way": "both"}), Returned(layers=("left", "concat"), way="weights")
    steps = [
        RepairStep(returned=returned, error=0.1)
        for returned in ((), (STEM,), (STEM, HEAD), (otherwise, HEAD), (otherwise, alone), (otherwise, alone))
    ]
    assert list(repaired.changes(steps)) == [
        "nothing",
        "stem",
        "head",
        "stem: output not rounded, weights of fp32.onnx",
        "left, concat; without head",
        "the same",
    ]


def test_a_repair_of_nothing_says_so() -> None:
    empty = REPAIR.model_copy(update={"steps": (), "ranking": (), "returned": (), "kept_float": ()})
    assert "no layer is better in float" in repaired.markdown(empty)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / repaired.FILE
    assert Repair.read(path) is None
    path.write_text(REPAIR.model_dump_json())
    assert Repair.read(path) == REPAIR


@pytest.mark.parametrize("content", ["", "{}", '{"images": 3}'])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / repaired.FILE
    path.write_text(content)
    with pytest.raises(GraphError, match=r"repair\.json: .*Repair the network again"):
        Repair.read(path)


def test_the_last_network_stands_beside_its_verdict() -> None:
    """It is judged after the file was written."""
    passed = REPAIR.judged("passed")
    assert [step.judged for step in passed.steps[:-1]] == [step.judged for step in REPAIR.steps[:-1]]
    assert (passed.steps[-1].judged, passed.stopped) == ("passed", "the gate passed")
    assert "Stopped: the gate passed." in repaired.markdown(passed)
    failed = REPAIR.judged("failed")
    assert (failed.steps[-1].judged, failed.stopped) == ("failed", REPAIR.stopped)
    assert REPAIR.model_copy(update={"steps": ()}).judged("passed").steps == ()
