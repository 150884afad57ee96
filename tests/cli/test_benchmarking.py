"""benchmark's words, and its figures as a table."""

from collections.abc import Iterator

import pytest

from edgeskin.benchmarks import device, latency
from edgeskin.benchmarks.measurements import ColdStart, Conditions, DeviceFacts, LatencyFigure, Measurements, SpeedRatio
from edgeskin.cli import measured
from edgeskin.cli.benchmark import _numbers

FACTS = DeviceFacts(
    cpu="A CPU",
    flags=("avx2",),
    cores=4,
    governor="performance",
    clock_mhz=2400,
    temperature_c=61.4,
    os="L",
    python="3",
)


def figure(name: str = "model int8", threads: int = 1, batch: int = 1, **seen: object) -> LatencyFigure:
    conditions = Conditions.model_validate(seen)
    return latency.of([9.5, 10.0, 10.5], "quick", name, threads, batch=batch, conditions=conditions)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1", (1,)),
        ("4", (4,)),
        ("1,2,4", (1, 2, 4)),
        ("4,1,4", (4, 1)),
        ("1..4", (1, 2, 3, 4)),
        ("8,1..2", (8, 1, 2)),
        ("1..N", (1, 2, 3)),
        ("2..N", (2, 3)),
        ("3..N", (3,)),
    ],
)
def test_numbers_are_a_list_of_numbers_and_ranges(text: str, numbers: tuple[int, ...]) -> None:
    assert _numbers(text, "--threads", 3) == numbers


WRONG = ("0", "", "a", "1,", "4..1", "0..2", "1..", "..4", "-1", "1.5", "2000", "N", "1..N..3", "1...3")


@pytest.mark.parametrize("text", [*WRONG, "4..N"])
def test_anything_else_is_told_how_to_write_it(edgeskin, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(device, "usable_cores", lambda: 3)
    done = edgeskin("benchmark", "bundle", f"--threads={text}")
    assert (done.code, done.out) == (2, "")
    assert f"error: Invalid value for '--threads': {text}: write numbers from 1 to 1024: 2, or 1,2,4" in done.err


@pytest.mark.parametrize("text", ["1..N", "0", "many"])
def test_a_batch_has_no_end_of_its_own(edgeskin, text: str) -> None:
    done = edgeskin("benchmark", "bundle", "--batch", text)
    assert done.code == 2
    assert f"error: Invalid value for '--batch': {text}: write numbers" in done.err
    assert "all cores" not in done.err


def test_figures_are_a_table_whose_columns_are_aligned() -> None:
    shown = Measurements(
        device=FACTS,
        latency=(figure(), figure(threads=16), figure("model int8, batch 8", batch=8)),
        cold_start=ColdStart(threads=1, load_ms=100, first_run_ms=20, total_ms=121.5, slowest_ms=150, starts=5),
        size_mib=2.5,
        not_measured={"memory": "no process", "cold": "no process"},
    )
    assert list(measured.lines(shown)) == [
        "A CPU, 4 cores, avx2",
        "governor performance, clock 2400 MHz, temperature 61 °C",
        "                     threads  batch  p50 ms  p90 ms  p99 ms  scatter  pictures/s  samples",
        "model int8                 1      1   10.00   10.40   10.49       5%       100.0  3 in 0.0 s, quick",
        "model int8                16      1   10.00   10.40   10.49       5%       100.0  3 in 0.0 s, quick",
        "model int8, batch 8        1      8   10.00   10.40   10.49       5%       800.0  3 in 0.0 s, quick",
        "cold start: 121.50 ms = load 100.00 + first run 20.00, slowest 150.00 (medians of 5 processes, threads: 1; "
        "Python and edgeskin were up, all files in memory)",
        "size: 2.50 MiB",
        "not measured, memory, cold: no process",
    ]


def test_how_much_faster_it_is_than_float_is_told_and_doubted_where_the_machine_was_busy() -> None:
    ratio = SpeedRatio(speedup_vs_fp32=1.5, low=1.4, high=1.6, pairs=50, threads=1)
    told = "speed: 1.50× as fast as fp32 (95 % interval 1.4 – 1.6, 50 interleaved pairs, threads: 1)"
    assert list(measured.lines(Measurements(speed=ratio))) == [told]
    busy = ratio.model_copy(update={"conditions": Conditions(others_share=0.5)})
    assert list(measured.lines(Measurements(speed=busy))) == [f"{told} ⚠"]


def test_what_was_not_told_is_a_dash_and_nothing_at_all_no_line() -> None:
    untold = figure().model_copy(update={"p50_ms": None, "p90_ms": None, "p99_ms": None, "mean_ms": None, "cv": None})
    *_, row = measured.lines(Measurements(latency=(untold,)))
    assert row.split()[4:9] == ["–"] * 5
    assert list(measured.lines(Measurements())) == []


def warned(*figures: LatencyFigure) -> Iterator[str]:
    return measured.warnings(Measurements(latency=figures, device=FACTS))


def test_a_few_doubtful_figures_are_doubted_one_by_one() -> None:
    busy = figure(others_share=0.5)
    doubt = latency.warning(busy)
    assert doubt is not None
    assert list(warned(busy, figure(), busy)) == [f"warning: {doubt}", f"warning: {doubt}"]


def test_many_are_doubted_in_one_line() -> None:
    assert list(warned(figure(others_share=0.5), figure(others_share=0.7), figure(cooled=False), figure())) == [
        "warning: 3 of 4 figures are not to be trusted: they scatter by up to 5%, other work took up to 70% of all "
        "cores' time, the machine was hot or slowed down in 1; stop other work on this machine, let it cool down and "
        "measure again"
    ]


def test_a_machine_that_is_only_busy_needs_no_rest() -> None:
    (line,) = warned(*[figure(others_share=0.5)] * 3)
    assert line.endswith(
        "other work took up to 50% of all cores' time; stop other work on this machine and measure again"
    )


def test_more_threads_than_cores_are_warned_of_in_one_line() -> None:
    assert list(warned(figure(threads=4))) == []  # as many as its cores
    assert list(warned(figure(threads=64), figure(), figure(threads=5))) == [
        "warning: 64 threads take turns on 4 cores: times at more than 4 are those of no machine that has as many cores"
    ]


def test_a_quiet_machine_is_not_warned_of() -> None:
    assert list(warned(figure(), figure(), figure())) == []
