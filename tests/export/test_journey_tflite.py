"""The same journey to a phone: built, compared, told where it ran; raw logits said to be such."""

import json
from pathlib import Path

import pytest
from small_graphs import GATE

from edgeskin.benchmarks.report import Report
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.export import journey
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.screen.predictor import Predictor
from edgeskin.targets import base
from edgeskin.targets.tflite.session import TfliteSession

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """Without the promise of equivalence: at the small network's scales, powers of two, every fourth sum is a tie."""
    (tmp_path / "gate.toml").write_text(GATE.replace("equivalent = true\n", ""))
    return Profile.find("android").altered(gate=str(tmp_path / "gate.toml"))


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_every_precision_reads_back_and_passes_where_it_promises_no_accuracy(
    precision: str, small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    done = journey.export(small_graph, profile.altered(precision=precision), tmp_path / "bundle")
    report = Report.read(tmp_path / "bundle" / "report.json")
    assert done.verdict.state == "passed", [promise.sentence for promise in done.verdict.in_state("failed")]
    assert (report.target, report.precision, report.artifact) == ("tflite", precision, "model.tflite")
    assert report.measurements.reads_back
    assert report.measurements.equivalent is not None
    assert report.measurements.equivalent or precision == "int8"
    assert all(hop.mean_abs is not None and hop.mean_abs < 0.005 for hop in report.measurements.artifact_hops)
    placement = report.measurements.placement
    assert placement is not None
    assert (placement.partitions, placement.undelegated) == (1, ())
    assert "- run outside it: nothing" in (tmp_path / "bundle" / "report.md").read_text()


def test_a_photo_is_screened_by_the_bundle(small_graph: Graph, profile: Profile, tmp_path: Path) -> None:
    journey.export(small_graph, profile, tmp_path / "bundle")
    photo = tmp_path / "bundle" / "golden" / "photos" / "00.png"
    (answer,) = Predictor.open(tmp_path / "bundle").predict([photo])
    assert set(json.loads(answer.line())["heads"]) == {"diagnosis", "melanoma"}


def test_raw_outputs_are_told_in_the_report(small_graph: Graph, profile: Profile, tmp_path: Path) -> None:
    done = journey.export(small_graph, profile.altered(raw_outputs=True), tmp_path / "bundle")
    assert done.verdict.state == "passed"
    assert any("int8 logits" in caution for caution in done.report.cautions)
    with pytest.raises(TargetError, match="raw outputs are int8, and fp16 was asked for"):
        profile.altered(raw_outputs=True, precision="fp16")
    with pytest.raises(EdgeskinError, match="onnx has no raw outputs"):
        Profile.find("desktop").altered(raw_outputs=True)


def test_what_runs_outside_the_delegate_is_counted_and_warned_of(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outside(self: TfliteSession) -> base.Placement:
        undelegated = (*(f"layer.{number} (CONV_2D)" for number in range(6)), "door (QUANTIZE)")
        return base.Placement("some runtime", 6, 6, (), 2, undelegated, "a reason")

    monkeypatch.setattr(TfliteSession, "placement", outside)
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    assert any(
        caution.startswith("7 operators run outside the delegate (some runtime; a reason): slower")
        for caution in done.report.cautions
    )
    assert (
        "- run outside it: 7 operators: 6 CONV_2D, 1 QUANTIZE; a reason"
        in (tmp_path / "bundle" / "report.md").read_text()
    )
