"""A release: only what passed, under a plain name, never in the place of another."""

from pathlib import Path

import pytest
from small_graphs import contents

from edgeskin.benchmarks.report import Report
from edgeskin.errors import BundleError, EdgeskinError, GraphError
from edgeskin.export import journey
from edgeskin.export.profile import Profile
from edgeskin.export.release import for_target, release
from edgeskin.graph.folder import PARTS, Graph


def test_a_graph_that_passed_is_kept_to_the_byte(graph: Graph, profile: Profile, tmp_path: Path) -> None:
    (graph.folder / "run.sha256").write_text("of the run it was traced from")
    place = release(graph, "clinic-1", tmp_path / "release", profile)
    expected = {name: data for name, data in contents(graph.folder).items() if name.split("/")[0] in PARTS}
    written = contents(place)
    assert written.pop("MODEL_CARD.md").startswith(b"# small ")
    kept = Report.model_validate_json(written.pop("report.json"))
    assert (kept.graph_sha256, kept.verdict.state) == (graph.sha256, "passed")
    assert written == expected
    assert Graph.open(place).sha256 == graph.sha256
    assert not (tmp_path / "release" / "default").exists()
    release(graph, "clinic-2", tmp_path / "release", profile, make_default=True)
    assert (tmp_path / "release" / "default").read_text() == "clinic-2\n"
    assert sorted(path.name for path in (tmp_path / "release").iterdir()) == ["clinic-1", "clinic-2", "default"]


@pytest.mark.parametrize(("pending", "state"), [(frozenset(), "failed"), (frozenset({"accuracy"}), "pending")])
def test_what_has_not_passed_is_not_released(graph: Graph, tmp_path: Path, pending: frozenset[str], state: str) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text("minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.9\n")
    strict = Profile.default("onnx").altered(gate=str(gate)).model_copy(update={"may_be_pending": pending})
    with pytest.raises(BundleError, match=rf"its gate says {state}(.|\n)*{state} melanoma_auroc: not measured"):
        release(graph, "clinic-1", tmp_path / "release", strict)
    assert not (tmp_path / "release").exists()


def test_a_release_is_never_replaced_and_nothing_is_judged_for_it(
    graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journey, "export", lambda *_, **__: pytest.fail("it was judged"))
    (tmp_path / "clinic-1").mkdir()
    with pytest.raises(BundleError, match="a release is never replaced"):
        release(graph, "clinic-1", tmp_path, profile)
    for name in ("Clinic", "../clinic", "clinic/1", "clinic_1", "default.", ""):
        with pytest.raises(BundleError, match="small letters, digits and hyphens"):
            release(graph, name, tmp_path, profile)


def test_a_graph_that_changes_while_it_is_judged_is_not_released(
    graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    def tamper(words: str) -> None:
        if words.startswith("measuring"):
            card = graph.folder / "model.json"
            card.write_text(card.read_text().replace("Tests only.", "Diagnosis."))

    with pytest.raises(GraphError, match="was changed while it was judged"):
        release(graph, "clinic-1", tmp_path / "release", profile, say=tamper)
    assert list((tmp_path / "release").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(graph: Graph, profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeskinError, match="file"):
        release(graph, "clinic-1", tmp_path / "file", profile)


@pytest.mark.parametrize(
    ("usual", "told"),
    [("iphone", "photo_iphone"), ("tensorrt", "photo_tensorrt"), ("default", "photo"), ("/gates/ours.toml", "photo")],
)
def test_the_gate_of_a_release_is_told_as_the_target_can_hold_it(usual: str, told: str) -> None:
    assert for_target("photo", usual) == told
