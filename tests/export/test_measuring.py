"""What is measured of an artifact on its way into a bundle: a lying clock, other engines beside it, release figures."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_graphs import contents

from edgeskin import targets
from edgeskin.benchmarks import beside, cold, latency
from edgeskin.benchmarks.beside import Beside
from edgeskin.benchmarks.measurements import ColdStart
from edgeskin.benchmarks.memory import NotMeasured
from edgeskin.errors import EdgeskinError
from edgeskin.export import attest as attesting
from edgeskin.export import journey
from edgeskin.targets.onnx import OnnxTarget

if TYPE_CHECKING:
    from edgeskin.export.profile import Profile
    from edgeskin.graph.folder import Graph

STARTED = ColdStart(threads=1, load_ms=100, first_run_ms=20, total_ms=120, slowest_ms=150, starts=5)


@pytest.mark.parametrize("timed", [latency.measure, latency.ratio])
@pytest.mark.parametrize("step_ns", [0, -1_000_000_000])
def test_a_clock_that_stands_still_or_steps_backwards_gives_no_bundle_and_no_attestation(
    small_graph: "Graph",
    profile: "Profile",
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: latency.Run,
    step_ns: int,
) -> None:
    forwards = (number * 1_000_000 for number in range(7))
    backwards = (5_000_000 + number * step_ns for number in itertools.count())
    clock = itertools.chain(forwards, backwards)
    monkeypatch.setitem(timed.__kwdefaults__, "clock", lambda: next(clock))
    monkeypatch.setattr(attesting, "_threads_of", lambda _: 1)
    before = contents(bundle)
    with pytest.raises(EdgeskinError, match="the clock says that a run took"):
        journey.export(small_graph, profile, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EdgeskinError, match="the clock says that a run took"):
        attesting.attest(bundle, graph=small_graph)
    assert contents(bundle) == before


@dataclass(frozen=True)
class BesideOthers(OnnxTarget):
    beside_others: bool = True


def test_other_engines_of_a_gpu_stand_beside_the_target_they_are_for_and_no_other(
    small_graph: "Graph", profile: "Profile", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = latency.of([1.0, 2.0], "quick", "torch fp32, cuda", 1)
    found = Beside((figure,), {"onnxruntime int8, CUDA": "no such provider"})
    monkeypatch.setattr(beside, "beside", lambda *_, **__: found)
    alone = journey.export(small_graph, profile, tmp_path / "alone").report.measurements
    assert [each.name for each in alone.latency] == ["model int8", "model fp32"]
    monkeypatch.setitem(targets.TARGETS, "onnx", f"{__name__}:BesideOthers")
    exported = journey.export(small_graph, profile, tmp_path / "bundle")
    together = exported.report.measurements
    assert [each.name for each in together.latency] == ["model int8", "model fp32", "torch fp32, cuda"]
    assert together.not_measured["onnxruntime int8, CUDA"] == "no such provider"
    assert exported.verdict.state == "passed"


def test_quick_figures_go_without_a_cold_start_and_release_figures_have_one(
    small_graph: "Graph", bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(latency.EFFORTS, "release", latency.EFFORTS["quick"])
    monkeypatch.setattr(latency, "of_network", lambda *_, **__: ())  # a release figure takes a minute
    monkeypatch.setattr(attesting.attestation, "write", lambda *_: None)
    monkeypatch.setattr(cold, "measure", lambda *_, **__: STARTED)
    assert attesting.attest(bundle, threads=1).measurements.cold_start is None
    assert attesting.attest(bundle, threads=1, mode="release").measurements.cold_start == STARTED
    monkeypatch.setattr(cold, "measure", lambda *_, **__: NotMeasured("no process"))
    measured = attesting.attest(bundle, threads=1, mode="release").measurements
    assert (measured.cold_start, measured.not_measured["cold start"]) == (None, "no process")
