"""Cold starts, by processes that tell what the tests want; test_memory.py has a real one."""

from pathlib import Path

import pytest

from edgeskin.benchmarks import cold, memory
from edgeskin.benchmarks.measurements import ColdStart
from edgeskin.benchmarks.memory import Alone, NotMeasured
from edgeskin.targets.base import Artifact

ARTIFACT = Artifact(Path("none"), "onnx", "int8", "0" * 64)


def starts(monkeypatch: pytest.MonkeyPatch, *told: Alone | NotMeasured) -> None:
    following = iter(told)
    monkeypatch.setattr(memory, "alone", lambda *_, **__: next(following))
    monkeypatch.setitem(cold.STARTS, "quick", 3)


def one(load_ms: float, first_run_ms: float) -> Alone:
    return Alone(10.0, 20.0, None, load_ms, first_run_ms)


def test_a_cold_start_is_the_median_of_processes_and_the_first_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    starts(monkeypatch, one(9000, 900), one(100, 10), one(300, 40), one(120, 20))
    assert cold.measure(ARTIFACT, 64, "quick", threads=2) == ColdStart(
        threads=2, load_ms=120, first_run_ms=20, total_ms=140, slowest_ms=340, starts=3
    )


@pytest.mark.parametrize("wrong", [one(0, 10), one(100, 0), one(-5, 10), one(100, -1)])
def test_a_clock_that_steps_backwards_gives_no_cold_start(monkeypatch: pytest.MonkeyPatch, wrong: Alone) -> None:
    starts(monkeypatch, one(100, 10), wrong, one(100, 10), one(100, 10))
    found = cold.measure(ARTIFACT, 64, "quick")
    assert isinstance(found, NotMeasured)
    assert "steps backwards" in found.reason


def test_a_process_that_fails_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    starts(monkeypatch, one(100, 10), NotMeasured("it failed"))
    assert cold.measure(ARTIFACT, 64, "quick") == NotMeasured("it failed")
