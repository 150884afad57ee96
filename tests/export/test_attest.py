"""A bundle that one machine built and another measures: what was pending is settled there, or fails there."""

import json
import shutil
from pathlib import Path

import elsewhere
import pytest
from small_graphs import contents

from edgeskin.benchmarks import latency
from edgeskin.benchmarks.measurements import LatencyFigure
from edgeskin.contract import bundle as bundles
from edgeskin.contract import checkout
from edgeskin.errors import BundleError, TargetError
from edgeskin.export import journey
from edgeskin.export.attest import attest
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile whose target nothing here runs, until the test says otherwise."""
    elsewhere.at(monkeypatch)
    return elsewhere.profile(tmp_path)


@pytest.fixture
def pending(phone: Path, small_graph: Graph, tmp_path: Path) -> Path:
    """A bundle that only its saved bytes speak for."""
    return journey.export(small_graph, Profile.find(str(phone)), tmp_path / "pending").folder


def test_a_device_completes_what_another_machine_began(
    pending: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(pending)
    assert journey.judge(pending, profile=str(phone)).verdict.exit_code == 4
    elsewhere.at(monkeypatch, "all", "gpu")
    monkeypatch.setattr(checkout, "commit", lambda: "c" * 40)
    done = attest(pending, name="m2")
    assert done.edgeskin_commit == "c" * 40
    assert (done.simulated, done.measurements.verified, done.uncounted) == (False, "device", None)
    hops = [hop.name for hop in done.measurements.artifact_hops]
    assert hops == ["int8.onnx → artifact"] * 3 + ["int8.onnx, gpu → artifact"] * 3
    assert [figure.name for figure in done.measurements.latency] == ["model int8", "model int8, gpu"]
    # Judged again where nothing runs it, as it was before.
    elsewhere.at(monkeypatch)
    report = journey.judge(pending, profile=str(phone))
    assert report.verdict.exit_code == 0, report.verdict.promises
    assert report.attestations == (done,)
    assert report.verification.startswith("Graph-verified where it was made, device-verified on ")
    assert {name: data for name, data in contents(pending).items() if not name.startswith("attestations/")} == before
    assert bundles.verify(pending) == ()


def test_one_processor_that_answers_wrongly_fails_the_bundle(
    pending: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all", "gpu", wrong=("gpu",))
    attest(pending, name="m2")
    report = journey.judge(pending, profile=str(phone))
    failed = {promise.name: promise for promise in report.verdict.in_state("failed")}
    assert {"device_numerics", "mean_probability_difference"} <= set(failed)
    assert failed["mean_probability_difference"].attested_by == "m2"
    assert "it first diverges at int8.onnx, gpu → artifact" in failed["mean_probability_difference"].sentence
    assert report.verdict.exit_code == 3
    assert report.verification.startswith("Not verified: ")


def test_too_slow_on_one_machine_of_two_fails_the_bundle(
    pending: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all")
    attest(pending, name="fast")
    measure = latency.measure

    def slowly(*given: object, **more: object) -> LatencyFigure:
        return measure(*given, **more).model_copy(update={"p90_ms": 1001.0, "p99_ms": 1002.0})  # type: ignore[arg-type]

    monkeypatch.setattr(latency, "measure", slowly)
    attest(pending, name="slow")
    (promise,) = journey.judge(pending, profile=str(phone)).verdict.in_state("failed")
    assert (promise.name, promise.attested_by, promise.measured) == ("latency_p90_ms", "slow", 1001)


def test_a_stand_in_is_written_and_never_counted(pending: Path, phone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = journey.judge(pending, profile=str(phone)).verdict
    elsewhere.at(monkeypatch, "all", simulated=True)
    done = attest(pending, name="stand-in")
    assert done.simulated
    assert json.loads((pending / "attestations" / "stand-in.json").read_text())["simulated"] is True
    report = journey.judge(pending, profile=str(phone))
    assert report.verdict == before
    assert "not counted: simulated" in report.attestations[0].sentence
    # Nor does one that answers wrongly fail it.
    elsewhere.at(monkeypatch, "all", wrong=("all",), simulated=True)
    attest(pending, name="stand-in")
    assert journey.judge(pending, profile=str(phone)).verdict == before


def test_a_machine_that_runs_nothing_of_it_is_refused_and_writes_nothing(pending: Path) -> None:
    before = contents(pending)
    with pytest.raises(TargetError, match=r"nothing on this machine runs elsewhere\. On an elsewhere: edgeskin attest"):
        attest(pending)
    assert contents(pending) == before


def test_speed_against_float_is_measured_with_the_graph_at_hand(
    small_graph: Graph, pending: Path, phone: Path, told_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = phone.parent / "fast.toml"
    rules.write_text("speedup_vs_fp32_min = 0.001\n")
    elsewhere.at(monkeypatch, "all")
    assert attest(pending, name="m2").measurements.speed is None
    (promise,) = journey.judge(pending, rules=str(rules), profile=str(phone)).verdict.in_state("pending")
    assert "Give the run or Graph folder it came from with --from" in promise.sentence
    with pytest.raises(BundleError, match="was not built from"):
        attest(pending, name="m2", graph=told_graph)
    assert attest(pending, name="m2", graph=small_graph).measurements.speed is not None
    assert journey.judge(pending, rules=str(rules), profile=str(phone)).verdict.exit_code == 0


def test_latency_at_other_threads_than_the_profiles_does_not_count(
    pending: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all")
    attest(pending, name="m2", threads=2)
    (promise,) = journey.judge(pending, profile=str(phone)).verdict.in_state("pending")
    assert promise.name == "latency_p90_ms"
    assert "--threads 1" in promise.sentence


def test_weights_alone_are_held_against_the_answers_that_the_bundle_carries(
    small_graph: Graph, phone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Profile.find(str(phone)).altered(precision="w8a16")
    folder = journey.export(small_graph, chosen, tmp_path / "w8a16").folder
    elsewhere.at(monkeypatch, "all", "gpu", wrong=("gpu",))
    hops = attest(folder, name="m2").measurements.artifact_hops
    assert {hop.name: hop.equivalent for hop in hops} == {
        "int8.onnx, weights alone → artifact": True,
        "int8.onnx, weights alone, gpu → artifact": False,
    }
    (folder / "reference.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"reference\.npz: changed"):
        attest(folder, name="m2")


def test_only_the_bundle_that_was_exported_is_attested(pending: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pending, tmp_path / "copy"))
    (copy / "report.md").write_text("all is well")
    with pytest.raises(BundleError, match=r"report\.md: changed"):
        attest(copy)
    assert not (copy / "attestations").exists()
    with pytest.raises(BundleError, match="small letters, digits and hyphens"):
        attest(pending, name="../outside")
    assert not (pending / "attestations").exists()


def test_an_attestation_of_another_bundle_or_a_damaged_one_is_refused_by_gate_and_attest(
    pending: Path, small_graph: Graph, phone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch, "all")
    other = journey.export(small_graph, Profile.find(str(phone)).altered(precision="fp32"), tmp_path / "fp32").folder
    attest(other, name="m2")
    text = (other / "attestations" / "m2.json").read_text()
    (pending / "attestations").mkdir()
    for content, said in ((text, "attests another bundle"), (text[:200], "Invalid JSON"), ("{}", "Field required")):
        (pending / "attestations" / "m2.json").write_text(content)
        for refuse in (lambda: journey.judge(pending, profile=str(phone)), lambda: attest(pending, name="m2")):
            with pytest.raises(BundleError, match=rf"attestations/m2\.json: .*{said}"):
                refuse()
        assert (pending / "attestations" / "m2.json").read_text() == content


def test_an_attested_bundle_of_a_target_that_runs_here_is_judged_on_both(
    bundle: Path, phone: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    attest(copy)
    rules = str(phone.parent / "elsewhere_gate.toml")
    report = journey.judge(copy, rules=rules, profile="desktop")
    assert report.verdict.exit_code == 0
    assert report.verification.count("edgeskin's executor") == 0
    assert "device_numerics" not in {promise.name for promise in report.verdict.promises}
