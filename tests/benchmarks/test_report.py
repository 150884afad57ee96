import json

import pytest

from edgeskin.benchmarks.gate import Gate, judge
from edgeskin.benchmarks.measurements import Confusion, Measurements, MetricFigure
from edgeskin.benchmarks.report import Report, render, words, write
from edgeskin.errors import BundleError

GATE = Gate(equivalent=True, size_mib_max=16, peak_memory_mib_max=512)


def make(card, measured: Measurements, **more: object) -> Report:
    return Report.model_validate(
        {
            "name": card.name,
            "version": card.version,
            "target": "onnx",
            "precision": "int8",
            "artifact": "model.onnx",
            "artifact_sha256": "2" * 64,
            "graph_sha256": "3" * 64,
            "profile": "desktop",
            "gate": "default",
            "measurements": measured,
            "verdict": judge(measured, GATE, card, "int8"),
            **more,
        }
    )


def test_a_report_survives_its_file(tmp_path, card, measured):
    report = make(card, measured, next_commands=(("Predict", "edgeskin predict photo.jpg"),))
    write(tmp_path, report)
    assert Report.read(tmp_path / "report.json") == report
    assert (tmp_path / "report.md").read_text() == render(report)


def test_what_was_not_measured_is_null_for_machines_and_words_for_people(tmp_path, card, measured):
    undefined = MetricFigure(float=float("nan"), int8=float("nan"), ci95=(float("nan"), float("nan")), n=3)
    accuracy = measured.accuracy.model_copy(update={"metrics": {"melanoma_auroc": undefined}})
    write(tmp_path, make(card, measured.model_copy(update={"accuracy": accuracy, "memory": None})))
    text = (tmp_path / "report.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["measurements"]["accuracy"]["metrics"]["melanoma_auroc"]["int8"] is None
    markdown = (tmp_path / "report.md").read_text()
    (row,) = (line for line in markdown.splitlines() if line.startswith("| melanoma_auroc"))
    assert [cell.strip() for cell in row.strip("|").split("|")[2:]] == ["not measured"] * 6
    assert "- peak memory: not measured" in markdown


def test_nothing_measured_still_makes_a_report(card):
    markdown = render(make(card, Measurements()))
    assert markdown.count("not measured") > 10
    assert markdown.startswith("# phantom 1, onnx int8: failed\n")


def test_the_verdict_comes_first_and_says_what_failed(card, measured):
    lines = render(make(card, measured.model_copy(update={"size_mib": 20.0}))).splitlines()
    assert lines[0] == "# phantom 1, onnx int8: failed"
    assert lines[2].startswith("**Failed** (exit code 3): gate `default`, profile `desktop`; 5 passed, 1 failed.")
    assert lines[4] == "- failed: `size_mib` 20; must be at most 16"


def test_a_gate_without_promises_is_named_as_the_reason(card, measured):
    empty = make(card, measured).with_verdict(judge(measured, Gate(), card, "int8"), "empty")
    assert "the gate promises nothing of this network, and that is not a pass" in render(empty)


def test_inherited_accuracy_says_so(card, measured):
    accuracy = measured.accuracy.model_copy(update={"inherited_from": "2025-01-01"})
    text = render(make(card, measured.model_copy(update={"accuracy": accuracy})))
    assert "inherited from the evidence of 2025-01-01" in text
    assert "measured in this run" in render(make(card, measured))


def test_cautions_of_the_data_and_of_the_run_stand_in_the_report(card, measured):
    text = render(make(card, measured, cautions=("times scatter",)))
    assert "- phantoms are not skin\n- times scatter" in text


def test_tables_line_up_in_plain_text(card, measured):
    confusion = {"diagnosis": Confusion(labels=("a", "b|c"), float=((9, 1), (0, 10)), int8=((8, 2), (0, 10)))}
    accuracy = measured.accuracy.model_copy(update={"confusion": confusion})
    text = render(make(card, measured.model_copy(update={"accuracy": accuracy})))
    for table in [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]:
        assert len({len(line) for line in table}) == 1
    assert "| a     | 9 → 8 | 1 → 2 |" in text
    assert "b\\|c" in text


def test_the_first_divergence_is_named(card, measured):
    hops = list(measured.numerics)
    hops[2] = hops[2].model_copy(update={"equivalent": False, "labels_equal": False})
    text = render(make(card, measured.model_copy(update={"numerics": tuple(hops)})))
    assert "The first to diverge is int8.onnx → artifact, at diagnosis." in text


def test_the_footer_says_what_to_do_next(card, measured):
    text = render(make(card, measured, next_commands=(("Predict", "edgeskin predict a.jpg"),)))
    assert text.endswith("```\nPredict: edgeskin predict a.jpg\n```\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("{", "Invalid JSON"),
        ('{"format": 2}', "reads format 1"),
        ('{"format": 1}', "name: "),
    ],
)
def test_a_report_that_cannot_be_read_says_why(tmp_path, content, words):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BundleError, match=words):
        Report.read(path)


def test_operators_are_named_while_they_are_few_and_counted_where_they_tell_their_kind():
    assert words.counted([]) == "nothing"
    assert words.counted(["a (Conv)", "b (Add)"]) == "a (Conv), b (Add)"
    assert (
        words.counted([f"mean_{i} (Mean)" for i in range(4)] + ["a (Add)", "b (Add)"]) == "6 operators: 4 Mean, 2 Add"
    )
    assert words.counted([f"mean_{i}" for i in range(6)]) == "mean_0, mean_1, mean_2, mean_3, mean_4 and 1 more"


def test_one_is_no_plural():
    assert [words.many(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_what_opens_photos_is_no_engine(card, measured):
    device = measured.device.model_copy(update={"engines": {"onnxruntime": "1.23", "cv2": "4.10", "PIL": "12"}})
    text = render(make(card, measured.model_copy(update={"device": device})))
    assert "- engines: onnxruntime 1.23\n" in text
