import hashlib
import json

import pytest

from edgeskin import files, shipped
from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    Curves,
    JaccardCounts,
    RocCurve,
    SubgroupFigure,
    WorstCase,
)
from edgeskin.errors import EdgeskinError, GraphError

GRAPH, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def entry(measured) -> EvidenceEntry:
    return EvidenceEntry.of(measured.accuracy, GRAPH, {"onnxruntime": "1.31"})


def _of_split(entry: EvidenceEntry, split: str, **changes: object) -> EvidenceEntry:
    return entry.model_copy(update={"split": split, **changes})


def test_evidence_holds_what_the_design_asks_for(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, entry)
    (written,) = json.loads(path.read_text())
    assert {"graph_sha256", "split", "n", "metrics", "data_list_sha256", "tool_versions", "date"} <= set(written)
    assert written["metrics"]["mask_jaccard"]["float"] == 0.766
    assert written["metrics"]["mask_jaccard"]["int8"] == 0.765
    assert len(written["metrics"]["mask_jaccard"]["ci95"]) == 2
    assert evidence.read(path) == (entry.sealed(),)


def test_a_figure_that_was_changed_by_hand_is_seen(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, entry)
    whole = path.read_text()
    value = json.loads(whole)
    value[0]["metrics"]["mask_jaccard"]["drop_upper95"] *= 0.5
    path.write_text(json.dumps(value))
    with pytest.raises(GraphError, match=r"evidence\.json: the entry of .* on .* was changed since it was measured"):
        evidence.read(path)
    (value,) = json.loads(whole)
    path.write_text(json.dumps([{key: value[key] for key in value if key != "sha256"}]))
    assert evidence.read(path) == (entry,), "an older edgeskin wrote no checksum"


def test_a_key_that_came_later_changes_no_entry_that_was_written_before(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, entry)
    (older,) = json.loads(path.read_text())
    del older["cautions"], older["sha256"]  # `cautions` stands for a key that a later edgeskin adds
    older["sha256"] = hashlib.sha256(files.json_text(older).encode()).hexdigest()
    files.write_json(path, [older])
    evidence.append(path, _of_split(entry, "val"))
    assert json.loads(path.read_text())[0] == older
    assert len(evidence.read(path)) == 2


def test_what_rests_on_an_entry_names_its_checksum(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, entry)
    (value,) = json.loads(path.read_text())
    for form in ("int8", "fp32"):
        assert evidence.read(path)[0].inherited(form).inherited_sha256 == value["sha256"]


def test_earlier_entries_are_kept_to_the_byte(tmp_path, entry):
    path = tmp_path / "evidence.json"
    for split in ("val", "select", "val", "test"):
        before = json.loads(path.read_text()) if path.exists() else []
        evidence.append(path, _of_split(entry, split))
        assert json.loads(path.read_text())[:-1] == before
    assert [one.split for one in evidence.read(path)] == ["val", "select", "val", "test"]


def test_the_newest_entry_of_this_very_graph_is_found(tmp_path, entry):
    path = tmp_path / "evidence.json"
    assert evidence.find(path, GRAPH, "val") is None
    for one in (entry, _of_split(entry, "val", n=151), _of_split(entry, "val", graph_sha256=OTHER, n=700)):
        evidence.append(path, one)
    found = evidence.find(path, GRAPH, "val")
    assert found is not None
    assert found.n == 151
    assert evidence.find(path, GRAPH, "val", dataset="another") is None
    assert evidence.find(path, "c" * 64, "val") is None


def test_a_second_look_at_the_test_split_is_refused(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, _of_split(entry, "test"))
    before = path.read_bytes()
    with pytest.raises(EdgeskinError, match="touched once per release"):
        evidence.append(path, _of_split(entry, "test"))
    with pytest.raises(EdgeskinError, match="touched once per release"):
        evidence.refuse_second_test(path, GRAPH, "phantom", "test")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("first", "second"), [("val+test", "test"), ("test", "val+test")])
def test_the_test_split_cannot_be_looked_at_again_within_a_joined_split(tmp_path, entry, first, second):
    path = tmp_path / "evidence.json"
    evidence.append(path, _of_split(entry, first))
    with pytest.raises(EdgeskinError, match="touched once per release"):
        evidence.append(path, _of_split(entry, second))


def test_another_network_or_data_set_may_look_at_its_test_split(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, _of_split(entry, "test"))
    evidence.append(path, _of_split(entry, "test", graph_sha256=OTHER))
    evidence.append(path, _of_split(entry, "test", dataset="another"))
    assert len(evidence.read(path)) == 3


def test_evidence_that_cannot_be_read_is_never_overwritten(tmp_path, entry):
    path = tmp_path / "evidence.json"
    path.write_text('[{"split": "val"}]')
    with pytest.raises(GraphError, match=r"evidence\.json: 0\.graph_sha256"):
        evidence.append(path, entry)
    assert path.read_text() == '[{"split": "val"}]'


@pytest.mark.parametrize(
    ("n", "seen", "found"), [(135, None, 135), (134, None, 150), (134, ("p1",), 135), (100, None, 150), (12, None, 150)]
)
def test_a_newer_entry_of_far_fewer_images_replaces_none_of_more(tmp_path, entry, n, seen, found):
    path = tmp_path / "evidence.json"
    metrics = {name: one.model_copy(update={"n": n}) for name, one in entry.metrics.items()}
    newer = entry.model_copy(update={"n": n, "metrics": metrics, "seen_in_training": seen})
    for one in (entry, newer):
        evidence.append(path, one)
    kept = evidence.find(path, GRAPH, "val")
    assert kept is not None
    assert kept.n + len(kept.seen_in_training or ()) == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"int8": 7.65}, "no metric is beyond 1"),
        ({"float": float("inf")}, "no metric is beyond 1"),
        ({"drop": 0.0}, "between float and int8 are 0.001"),
        ({"smallest_detectable_drop": -0.1}, "is less than none"),
        ({"ci95": (0.5, float("inf"))}, "an interval without end"),
        ({"n": 151}, "mask_jaccard counts 151 of 150 images"),
    ],
)
def test_evidence_that_was_edited_to_what_cannot_be_is_refused(tmp_path, entry, changes, words):
    path = tmp_path / "evidence.json"
    figure = entry.metrics["mask_jaccard"].model_copy(update=changes)
    edited = entry.model_copy(update={"metrics": {**entry.metrics, "mask_jaccard": figure}})
    path.write_text(json.dumps([edited.model_dump()]))
    with pytest.raises(GraphError, match=words):
        evidence.read(path)


def test_less_calibration_error_is_a_drop_the_other_way_and_possible(entry):
    ece = entry.metrics["mask_jaccard"].model_copy(update={"float": 0.05, "int8": 0.07, "drop": 0.02})
    assert type(ece).model_validate(ece.model_dump()) == ece


def test_evidence_comes_back_as_an_inherited_report(entry, measured):
    report = entry.inherited("int8")
    assert report.inherited_from == entry.date
    assert report.metrics == measured.accuracy.metrics
    assert report.cautions == measured.accuracy.cautions


def test_a_float_artifact_inherits_the_float_figures_and_no_drop(entry):
    figure = entry.inherited("fp32").metrics["mask_jaccard"]
    assert (figure.float, figure.int8, figure.drop, figure.drop_upper95) == (0.766, 0.766, 0, 0)
    assert figure.ci95 == entry.metrics["mask_jaccard"].float_ci95


def test_figures_with_and_without_metadata_are_different_evidence(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, entry)
    evidence.append(path, _of_split(entry, "val", metadata="real", n=151))
    evidence.append(path, _of_split(entry, "val", metadata="unknown", n=152))
    found = {given: evidence.find(path, GRAPH, "val", metadata=given) for given in (None, "real", "unknown")}
    assert {given: one and one.n for given, one in found.items()} == {None: 150, "real": 151, "unknown": 152}
    # An entry of a network that takes the image alone is written as it always was.
    assert ["metadata" in one for one in json.loads(path.read_text())] == [False, True, True]
    assert found["real"].inherited("int8").metadata == "real"


def test_each_form_of_the_quantized_network_has_evidence_of_its_own(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, _of_split(entry, "val"))
    evidence.append(path, _of_split(entry, "val", form="w8a16", n=153))
    found = {form: evidence.find(path, GRAPH, "val", form=form) for form in ("int8", "w8a16", "int8-float16", "fp16")}
    # Float is measured beside every form.
    assert {form: one and one.n for form, one in found.items()} == {
        "int8": 150, "w8a16": 153, "int8-float16": None, "fp16": 153,
    }  # fmt: skip
    assert found["w8a16"].inherited("w8a16").form == "w8a16"
    assert found["fp16"].inherited("fp16").form is None
    assert ["form" in one for one in json.loads(path.read_text())] == [False, True]


def test_another_form_is_no_second_look_at_the_test_split(tmp_path, entry):
    path = tmp_path / "evidence.json"
    evidence.append(path, _of_split(entry, "test"))
    with pytest.raises(EdgeskinError, match="touched once per release"):
        evidence.append(path, _of_split(entry, "test", form="w8a16"))


def test_the_shipped_evidence_is_written_again_to_the_byte(tmp_path, entry):
    shown = shipped.default_release() / "evidence.json"
    path = tmp_path / "evidence.json"
    path.write_bytes(shown.read_bytes())
    evidence.append(path, entry)
    assert path.read_text().startswith(shown.read_text().removesuffix("\n]\n"))


# --- what came later ---


def _told(measured) -> AccuracyReport:
    subgroup = SubgroupFigure(
        attribute="sex", value="female", n=60, metrics=measured.accuracy.metrics, weakest={"mask_jaccard": 60}
    )
    roc = RocCurve(
        threshold=0.4, float=((0, 0), (1, 1)), int8=((0, 0), (0.5, 0.2)), float_at_threshold=(0, 1),
        int8_at_threshold=(0.5, 0.2),
    )  # fmt: skip
    return measured.accuracy.model_copy(
        update={
            "subgroups": (subgroup,),
            "curves": Curves(roc={"melanoma": roc}, jaccard=JaccardCounts(float=(1, 2), int8=(3, 0))),
            "worst": {"mask": (WorstCase(image_id="p1", score=0.1),)},
            "seen_in_training": ("p2",),
        }
    )


def test_subgroups_curves_and_worst_cases_come_back_from_evidence(tmp_path, measured):
    report = _told(measured)
    evidence.append(tmp_path / "evidence.json", EvidenceEntry.of(report, GRAPH, {}))
    (entry,) = evidence.read(tmp_path / "evidence.json")
    inherited = entry.inherited("int8")
    assert inherited.model_copy(update={"inherited_from": None, "inherited_sha256": None}) == report


def test_a_float_artifact_inherits_floats_subgroups_and_curves_but_not_the_worst_cases_of_int8(measured):
    inherited = EvidenceEntry.of(_told(measured), GRAPH, {}).inherited("fp32")
    (subgroup,) = inherited.subgroups
    figure = subgroup.metrics["mask_jaccard"]
    assert (subgroup.name, figure.float, figure.int8, figure.drop) == ("sex=female", 0.766, 0.766, 0)
    assert inherited.curves.roc["melanoma"].int8 == ((0, 0), (1, 1))
    assert inherited.curves.roc["melanoma"].int8_at_threshold == (0, 1)
    assert inherited.curves.jaccard.int8 == (1, 2)
    assert inherited.worst is None
    assert inherited.seen_in_training == ("p2",)


def test_what_an_older_edgeskin_measured_says_that_nobody_looked(measured, entry):
    later = ("subgroups", "curves", "worst", "seen_in_training")
    assert not set(later) & set(entry.model_dump())
    for form in ("int8", "fp32"):
        assert [getattr(entry.inherited(form), name) for name in later] == [None] * 4
