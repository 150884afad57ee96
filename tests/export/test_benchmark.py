"""What is timed of a finished bundle, and what is said of what cannot be."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgeskin import targets
from edgeskin.benchmarks import cold, latency
from edgeskin.benchmarks.measurements import ColdStart, Measurements
from edgeskin.benchmarks.memory import NotMeasured
from edgeskin.contract.bundle import Bundle
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.export import benchmark as room
from edgeskin.export import golden
from edgeskin.export.benchmark import benchmark
from edgeskin.targets.base import Float32, UInt8
from edgeskin.targets.onnx import OnnxSession, OnnxTarget

MODEL, PHOTO = "model int8", "photo to findings"


def rows(found: Measurements) -> list[tuple[str, int, int]]:
    return [(figure.name, figure.threads, figure.batch) for figure in found.latency]


def test_a_bundle_is_timed_with_the_threads_that_are_asked_for_alone(bundle: Path) -> None:
    found = benchmark(bundle, 2, "quick")
    assert rows(found) == [(MODEL, 2, 1), (PHOTO, 2, 1)]
    assert found.cold_start is None
    assert found.not_measured == {}


def test_more_threads_are_timed_once_each_with_a_session_of_their_own(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[int]()
    start = OnnxSession.__init__

    def counting(session: OnnxSession, path: Path, *, threads: int = 1, plain: bool = False) -> None:
        opened.append(threads)
        start(session, path, threads=threads, plain=plain)

    monkeypatch.setattr(OnnxSession, "__init__", counting)
    found = benchmark(bundle, 2, "quick", more_threads=(1, 2, 3))
    assert rows(found) == [(MODEL, 2, 1), (PHOTO, 2, 1), (MODEL, 1, 1), (PHOTO, 1, 1), (MODEL, 3, 1), (PHOTO, 3, 1)]
    assert opened == [2, 1, 3]


def test_the_network_is_given_several_pictures_at_once_for_its_throughput(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = set[tuple[int, ...]]()
    run = OnnxSession.run

    def noting(session: OnnxSession, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        given.add(image.shape)
        return run(session, image, metadata)

    monkeypatch.setattr(OnnxSession, "run", noting)
    found = benchmark(bundle, 1, "quick", batches=(1, 2, 8))
    assert rows(found) == [(MODEL, 1, 1), (PHOTO, 1, 1), (f"{MODEL}, batch 2", 1, 2), (f"{MODEL}, batch 8", 1, 8)]
    assert {shape[0] for shape in given} == {1, 2, 8}
    assert found.model_latency("int8") == found.latency[0]


def test_the_pictures_are_the_golden_cases_in_their_order_over_and_over(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    cases = golden.read(opened.golden, opened.card).cases
    image, metadata = room._pictures(cases, len(cases) + 2)
    expected = [*cases, *cases[:2]]
    np.testing.assert_array_equal(image, np.concatenate([case.inputs[0] for case in expected]))
    assert metadata is None


@dataclass(frozen=True)
class Particular(OnnxTarget):
    one_at_a_time: bool = True
    own_threads: str | None = "it"


def test_a_target_that_takes_one_picture_or_chooses_its_threads_says_so(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(targets.TARGETS, "onnx", f"{__name__}:Particular")
    found = benchmark(bundle, 1, "quick", more_threads=(2,), batches=(4, 8))
    assert rows(found) == [(MODEL, 1, 1), (PHOTO, 1, 1)]
    assert found.not_measured == {
        "other numbers of threads": "it chooses its own",
        f"{MODEL}, batch 4": "onnx takes one picture at a time",
        f"{MODEL}, batch 8": "onnx takes one picture at a time",
    }


def test_more_pictures_than_an_engine_takes_leave_the_other_figures(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxSession.run

    def refusing(session: OnnxSession, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        if len(image) > 4:
            raise TargetError("built for 1 to 4 pictures at once")
        return run(session, image, metadata)

    monkeypatch.setattr(OnnxSession, "run", refusing)
    found = benchmark(bundle, 1, "quick", batches=(8, 4))
    assert rows(found)[2:] == [(f"{MODEL}, batch 4", 1, 4)]
    assert found.not_measured == {f"{MODEL}, batch 8": "built for 1 to 4 pictures at once"}


def test_a_cold_start_is_there_where_it_is_asked_for_or_the_reason_is(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = ColdStart(threads=1, load_ms=100, first_run_ms=20, total_ms=120, slowest_ms=150, starts=5)
    monkeypatch.setattr(cold, "measure", lambda *_, **__: started)
    assert benchmark(bundle, 1, "quick").cold_start is None
    assert benchmark(bundle, 1, "quick", cold_start=True).cold_start == started
    monkeypatch.setattr(cold, "measure", lambda *_, **__: NotMeasured("no process"))
    found = benchmark(bundle, 1, "quick", cold_start=True)
    assert (found.cold_start, found.not_measured) == (None, {"cold start": "no process"})


def test_a_clock_that_steps_backwards_is_an_error_and_no_figure(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_time", lambda run, clock, name: latency._sure(-5.0, name))
    with pytest.raises(EdgeskinError, match="model int8: the clock says that a run took -5 ms"):
        benchmark(bundle, 1, "quick")


def test_every_figure_tells_what_the_machine_was_like(bundle: Path) -> None:
    found = benchmark(bundle, 1, "quick")
    assert all(figure.conditions is not None and figure.histogram is not None for figure in found.latency)
    assert Measurements.model_validate_json(found.model_dump_json()) == found
