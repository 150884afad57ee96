"""What nothing on this machine runs is verified by its saved bytes, and what only a device tells stays open."""

from dataclasses import replace
from pathlib import Path

import elsewhere
import pytest

from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport, MetricFigure
from edgeskin.export import journey
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.write import write_onnx

WHERE = "nothing on this machine runs elsewhere. On an elsewhere: edgeskin attest BUNDLE"


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A profile whose target nothing here runs, until the test says otherwise."""
    elsewhere.at(monkeypatch)
    return Profile.find(str(elsewhere.profile(tmp_path)))


def test_what_nothing_here_runs_is_graph_verified_and_pending(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    measured = exported.report.measurements
    assert measured.verified == "graph"
    assert {hop.name for hop in measured.artifact_hops} == {"int8.onnx → artifact"}
    assert (measured.equivalent, measured.reads_back) == (True, True)
    assert measured.size_mib == (tmp_path / "bundle" / "model.onnx").stat().st_size / 2**20
    assert (measured.latency, measured.speed, measured.memory, measured.placement) == ((), None, None, None)
    pending = {promise.name: promise.sentence for promise in exported.verdict.in_state("pending")}
    assert set(pending) == {"device_numerics", "latency_p90_ms", "peak_memory_mib", "integer_convolutions"}
    assert all(sentence.endswith(f": {WHERE}") for sentence in pending.values())
    assert exported.verdict.at(tmp_path / "b").told("pending") == (
        ("device_numerics and 3 more", f"not measured: {WHERE.replace('BUNDLE', str(tmp_path / 'b'))}"),
    )
    assert exported.verdict.exit_code == 4
    told = (tmp_path / "bundle" / "report.md").read_text()
    assert "\nGraph-verified: the saved bytes, parsed back and run by edgeskin's executor. No device has run it" in told
    assert f"Latency: not measured: {WHERE}." in told
    assert "Device-verified" not in told
    assert "Attest: edgeskin attest" in told


def test_a_device_is_demanded_where_the_profile_leaves_nothing_open(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    strict = profile.model_copy(update={"may_be_pending": frozenset({"latency", "memory", "placement"})})
    exported = journey.export(small_graph, strict, tmp_path / "bundle")
    assert [promise.name for promise in exported.verdict.in_state("failed")] == ["device_numerics"]
    assert exported.verdict.exit_code == 3


def test_saved_bytes_that_compute_something_else_fail_without_a_device(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupted(network: Network, path: Path, **options: object) -> None:
        weight = network.tensors["heads.melanoma.logits.weight"]
        assert weight.data is not None
        write_onnx(replace(network, tensors={**network.tensors, weight.name: replace(weight, data=-weight.data)}), path)

    monkeypatch.setattr("edgeskin.targets.onnx.write_onnx", corrupted)
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    failed = {promise.name for promise in exported.verdict.in_state("failed")}
    assert {"read_back_differences", "mean_probability_difference"} <= failed
    assert exported.report.verification.startswith("Not verified: the artifact computes something else")


def test_every_processor_is_compared_and_timed(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all", "gpu")
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    measured = exported.report.measurements
    assert exported.verdict.state == "passed", exported.verdict.promises
    assert measured.verified == "device"
    names = [hop.name for hop in measured.artifact_hops]
    assert names == ["int8.onnx → artifact"] * 3 + ["int8.onnx, gpu → artifact"] * 3
    assert [figure.name for figure in measured.latency] == ["model int8", "model int8, gpu", "model fp32"]
    assert measured.placement is not None


def test_one_processor_that_answers_wrongly_fails(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all", "gpu", wrong=("gpu",))
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    first = exported.report.measurements.first_divergence
    assert first is not None
    assert first.name == "int8.onnx, gpu → artifact"
    assert "mean_probability_difference" in {promise.name for promise in exported.verdict.in_state("failed")}


def test_an_engine_that_does_not_tell_its_integers_leaves_them_unmeasured(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all", tells_integers=False)
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    (promise,) = exported.verdict.in_state("pending")
    said = "not measured: CPUExecutionProvider does not tell which convolutions run on integers"
    assert promise.name == "integer_convolutions"
    assert promise.sentence == f"not measured, and must be at least 0.9{said.removeprefix('not measured')}"
    assert f"- integer convolutions: {said}" in (tmp_path / "bundle" / "report.md").read_text()


def test_a_stand_in_for_an_engine_is_no_device(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all", simulated=True)
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    assert exported.report.measurements.verified == "graph"
    assert exported.verdict.exit_code == 4


def test_with_data_the_executor_answers_for_the_artifact_and_the_report_says_so(
    small_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path
) -> None:
    done = journey.export(small_graph, profile.altered(split="val"), tmp_path / "bundle", data=phantom_data)
    here = journey.export(
        small_graph, Profile.default("onnx").altered(split="val"), tmp_path / "onnx", data=phantom_data
    )
    accuracy, by_engine = (each.report.measurements.accuracy for each in (done, here))
    assert accuracy is not None
    assert by_engine is not None
    assert (accuracy.n, accuracy.inherited_from) == (9, None)
    assert accuracy.metrics["mask_jaccard"].float == by_engine.metrics["mask_jaccard"].float
    assert accuracy.metrics["mask_jaccard"].int8 == pytest.approx(by_engine.metrics["mask_jaccard"].int8, abs=0.01)
    said = "Accuracy is that of the artifact's saved bytes in edgeskin's executor; no device computed it."
    assert said in done.report.cautions
    assert said not in here.report.cautions


def test_weights_alone_in_int8_are_compared_with_what_they_compute_in_float(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    exported = journey.export(small_graph, profile.altered(precision="w8a16"), tmp_path / "bundle")
    measured = exported.report.measurements
    assert {hop.name for hop in measured.artifact_hops} == {"int8.onnx, weights alone → artifact"}
    assert measured.equivalent
    # Its activations are not rounded: held against int8's answers it would differ by more than it does here.
    assert all(hop.mean_abs is not None and hop.mean_abs < 1e-5 for hop in measured.artifact_hops)
    assert all(hop.engine_gap is not None and hop.engine_gap.mean_abs for hop in measured.artifact_hops)


def test_weights_alone_inherit_their_own_evidence_and_none_of_int8(
    graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    figure = MetricFigure(float=0.8, int8=0.8, drop=0, drop_upper95=0, n=9)
    report = AccuracyReport(
        dataset="generic", split="select+val", n=9, data_list_sha256="2" * 64, metrics={"melanoma_auroc": figure}
    )
    evidence.append(graph.evidence, EvidenceEntry.of(report, graph.sha256, {}))
    floor = profile.altered(gate=str(tmp_path / "floor.toml"))
    (tmp_path / "floor.toml").write_text("minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.5\n")
    (promise,) = journey.export(graph, floor.altered(precision="w8a16"), tmp_path / "one").verdict.promises
    assert promise.state == "failed"
    assert "there is no evidence for this graph of w8a16 on select+val" in promise.sentence
    (promise,) = journey.export(graph, floor, tmp_path / "other").verdict.promises
    assert promise.state == "inherited"
    own = report.model_copy(
        update={"form": "w8a16", "metrics": {"melanoma_auroc": MetricFigure(float=0.8, int8=0.7, n=9)}}
    )
    evidence.append(graph.evidence, EvidenceEntry.of(own, graph.sha256, {}))
    (promise,) = journey.export(graph, floor.altered(precision="w8a16"), tmp_path / "one").verdict.promises
    assert (promise.state, promise.measured) == ("inherited", 0.7)
    (promise,) = journey.export(graph, floor, tmp_path / "other").verdict.promises
    assert (promise.state, promise.measured) == ("inherited", 0.8)
