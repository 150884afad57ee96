"""The same journey to an iPhone, on a machine that cannot run it: graph-verified, and the rest left to a Mac."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_graphs import GATE, contents

pytest.importorskip("coremltools")
from coreml_packages import unswept
from coreml_stand_in import PROCESSORS, StandIn, on_a_mac

from edgeskin.contract import bundle as bundles
from edgeskin.errors import TargetError
from edgeskin.export import journey
from edgeskin.export.attest import attest
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Compute
from edgeskin.targets.coreml import engine, package

ON_A_MAC = {"device_numerics", "latency_p90_ms", "peak_memory_mib"}
"""The promises of the gate below that only a device can keep."""


@pytest.fixture(scope="module", autouse=True)
def _unswept() -> Iterator[None]:
    with unswept():
        yield


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """Without the promise of accuracy, for which the small network has no evidence."""
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "gate.toml").write_text(GATE + "latency_p90_ms_max = 1000\n")
    return Profile.find("iphone").altered(gate=str(tmp_path / "gate.toml"))


@pytest.fixture
def pending(small_graph: Graph, profile: Profile, tmp_path: Path) -> Path:
    """A bundle that waits for a Mac."""
    return journey.export(small_graph, profile, tmp_path / "pending").folder


@pytest.mark.parametrize(
    ("precision", "compute", "judge"),
    [
        ("int8", None, "int8.onnx in float16 → artifact"),
        ("int8", "float32", "int8.onnx → artifact"),
        ("w8a16", None, "int8.onnx, weights alone → artifact"),
        ("fp16", None, "fp32.onnx → artifact"),
        ("fp32", None, "fp32.onnx → artifact"),
    ],
)
def test_every_form_is_graph_verified_and_waits_for_a_mac(
    precision: str, compute: Compute | None, judge: str, small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    chosen = profile.altered(precision=precision, compute=compute)
    done = journey.export(small_graph, chosen, tmp_path / "bundle")
    measured = done.report.measurements
    assert done.verdict.exit_code == 4, [promise.sentence for promise in done.verdict.in_state("failed")]
    assert {promise.name for promise in done.verdict.in_state("pending")} == ON_A_MAC
    assert (measured.verified, measured.reads_back, measured.equivalent) == ("graph", True, True)
    assert {hop.name for hop in measured.artifact_hops} == {judge}
    assert (measured.latency, measured.memory, measured.placement) == ((), None, None)
    assert (done.report.target, done.report.precision, done.report.artifact) == ("coreml", precision, "model.mlpackage")
    assert "On a Mac: edgeskin attest BUNDLE" in done.verdict.in_state("pending")[0].sentence
    assert bundles.verify(done.folder) == ()


def test_by_the_shipped_gate_nothing_fails_but_accuracy_without_evidence(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    done = journey.export(small_graph, profile.altered(gate="iphone"), tmp_path / "bundle")
    assert {promise.section for promise in done.verdict.in_state("failed")} == {"accuracy"}
    assert {promise.name for promise in done.verdict.in_state("pending")} == ON_A_MAC


def test_weights_that_were_saved_otherwise_fail_without_a_device(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = package.write

    def wrongly(path: Path, specification: bytes, weights: bytes) -> None:
        write(path, specification, weights[:-1] + bytes([weights[-1] ^ 1]))

    monkeypatch.setattr(package, "write", wrongly)
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    assert "read_back_differences" in {promise.name for promise in done.verdict.in_state("failed")}
    assert done.verdict.exit_code == 3


def test_a_stand_in_for_core_ml_is_no_device(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = on_a_mac(monkeypatch)
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    assert loaded
    assert done.report.measurements.verified == "graph"
    assert {promise.name for promise in done.verdict.in_state("pending")} == ON_A_MAC
    assert done.verdict.exit_code == 4
    assert "Device-verified" not in (done.folder / "report.md").read_text()


def test_what_a_stand_in_attests_is_listed_and_not_counted(pending: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, bytes_before = journey.judge(pending).verdict, contents(pending)
    on_a_mac(monkeypatch)
    done = attest(pending, name="stand-in")
    assert done.simulated
    assert {hop.equivalent for hop in done.measurements.artifact_hops} == {True}
    report = journey.judge(pending)
    assert report.verdict == before
    assert report.attestations == (done,)
    assert "not counted: simulated, a stand-in answered in the place of an engine" in done.sentence
    assert {name: data for name, data in contents(pending).items() if "attestations/" not in name} == bytes_before
    assert bundles.verify(pending) == ()


def test_an_engine_completes_the_bundle_on_every_processor(pending: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a Mac would do, by a stand-in that does not say so."""

    class Engine(StandIn):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.simulated = False

    on_a_mac(monkeypatch, stand_in=Engine)
    done = attest(pending, name="m2")
    assert (done.simulated, done.measurements.verified) == (False, "device")
    hops = dict.fromkeys(hop.name for hop in done.measurements.artifact_hops)
    assert list(hops) == [
        f"int8.onnx in float16{label} → artifact" for label in ("", ", cpu", ", gpu", ", neural engine")
    ]
    assert [figure.name for figure in done.measurements.latency] == [
        "model int8", "model int8, cpu", "model int8, gpu", "model int8, neural engine"
    ]  # fmt: skip
    assert len(hops) == len(PROCESSORS)
    report = journey.judge(pending)
    assert report.verdict.exit_code == 0, report.verdict.promises
    assert report.verification.startswith("Graph-verified where it was made, device-verified on ")


def test_an_engine_that_computes_wrongly_on_one_processor_fails_the_bundle(
    pending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine(StandIn):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.simulated = False

        def predict(self, features):  # type: ignore[no-untyped-def]
            found = super().predict(features)
            return {name: values * 0.9 for name, values in found.items()} if self.processor == "gpu" else found

    on_a_mac(monkeypatch, stand_in=Engine)
    attest(pending, name="m2")
    report = journey.judge(pending)
    failed = {promise.name: promise.sentence for promise in report.verdict.in_state("failed")}
    assert "it first diverges at int8.onnx in float16, gpu → artifact" in failed["mean_probability_difference"]
    assert report.verdict.exit_code == 3


def test_nothing_on_this_machine_runs_it_and_attest_says_where_it_can_be(pending: Path) -> None:
    assert engine.processors() == ()
    with pytest.raises(TargetError, match=r"nothing on this machine runs coreml\. On a Mac: edgeskin attest .*pending"):
        attest(pending)
