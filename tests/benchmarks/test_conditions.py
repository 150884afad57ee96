"""What the machine was like during a figure, from made-up system files, and how long it is given to cool down."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeskin.benchmarks import conditions
from edgeskin.benchmarks.board import Now
from edgeskin.benchmarks.conditions import Moment, Watch

TICKS = os.sysconf("SC_CLK_TCK")


def lay_out(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_moment_is_read_from_the_system(tmp_path: Path) -> None:
    # Ticks: user 100, nice 1, system 20, idle 500, iowait 50, irq 2, softirq 3, steal 4; 7 guests are in user already.
    proc = lay_out(tmp_path / "proc", {"stat": "cpu  100 1 20 500 50 2 3 4 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"})
    sys = lay_out(
        tmp_path / "sys",
        {
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "800000\n",
            "devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2000000\n",
            "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1900000\n",
            "devices/system/cpu/cpu1/cpufreq/scaling_max_freq": "2400000\n",
            "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "61500\n",
        },
    )
    moment = conditions.look(proc, sys)
    assert (moment.cores_s, moment.busy_s) == (680 / TICKS, 130 / TICKS)
    assert (moment.clock_mhz, moment.clock_limit_mhz, moment.temperature_c) == (1900.0, 2400.0, 61.5)
    assert moment.throttle_events == 4


@pytest.mark.parametrize("stat", ["", "cpu\n", "cpu 1 2 x 4 5\n", "intr 1 2 3 4\n"])
def test_a_system_that_tells_nothing_gives_none_and_never_raises(tmp_path: Path, stat: str) -> None:
    moment = conditions.look(lay_out(tmp_path, {"stat": stat, "cpuinfo": "nothing\n"}), tmp_path / "none")
    assert (moment.cores_s, moment.busy_s, moment.clock_mhz, moment.clock_limit_mhz) == (None, None, None, None)


def test_without_cpufreq_the_clock_is_that_of_cpuinfo(tmp_path: Path) -> None:
    proc = lay_out(tmp_path, {"cpuinfo": "cpu MHz\t\t: 1200.5\n\ncpu MHz\t\t: 2596.1\n"})
    assert conditions.look(proc, tmp_path / "none").clock_mhz == 2596.1


def seen(*moments: Moment) -> Callable[[], Moment]:
    """Looks at one moment after the other."""
    following: Iterator[Moment] = iter(moments)
    return lambda: next(following)


@pytest.mark.parametrize(
    ("busy_s", "own_s", "share"),
    [
        (6.0, 5.0, 0.1),  # of ten seconds of cores one was spent on others
        (5.0, 5.0, 0.0),
        (4.9, 5.0, 0.0),  # ticks are coarse: less than nothing is nothing
        (10.0, 0.0, 1.0),
    ],
)
def test_what_others_took_is_the_work_of_all_cores_without_our_own(busy_s: float, own_s: float, share: float) -> None:
    before = Moment(cores_s=100.0, busy_s=50.0, own_s=7.0)
    after = Moment(cores_s=110.0, busy_s=50.0 + busy_s, own_s=7.0 + own_s)
    assert Watch(look=seen(before, after)).begin().end().others_share == pytest.approx(share)


@pytest.mark.parametrize("after", [Moment(), Moment(cores_s=100.1, busy_s=50.1)])
def test_what_is_not_told_or_too_short_to_tell_is_no_share(after: Moment) -> None:
    assert Watch(look=seen(Moment(cores_s=100.0, busy_s=50.0), after)).begin().end().others_share is None


def test_both_ends_of_a_figure_are_recorded() -> None:
    before = Moment(clock_mhz=2400, temperature_c=50, throttle_events=3, load_average=0.5, state=Now(1500, 40))
    after = Moment(clock_mhz=1800, temperature_c=80, throttle_events=8, load_average=2.0, state=Now(900, 70, ("hot",)))
    found = Watch(look=seen(before, after)).begin().end()
    assert (found.clock_mhz, found.temperature_c) == ((2400, 1800), (50, 80))
    assert (found.gpu_clock_mhz, found.gpu_temperature_c) == ((1500, 900), (40, 70))
    assert (found.throttle_events, found.newly_throttled, found.throttled) == ((3, 8), 5, ("hot",))
    assert (found.load_average, found.cool_down_s, found.cooled) == (0.5, 0.0, None)


COOL = Moment(temperature_c=50.0, clock_limit_mhz=2400.0)


def rest(*moments: Moment, rested: Moment = COOL) -> tuple[float, bool | None, float]:
    """How long was waited, whether it helped, and how long was slept."""
    slept = list[float]()
    begun = Watch(rested, seen(*moments), slept.append).begin()
    return begun.cool_down_s, begun.cooled, sum(slept)


def test_a_warm_machine_is_given_time_until_it_is_as_cool_as_it_was() -> None:
    warm, cooler = replace(COOL, temperature_c=80.0), replace(COOL, temperature_c=54.0)
    assert rest(warm, warm, warm, cooler) == (3.0, True, 3.0)
    assert rest(cooler) == (0.0, True, 0.0)


def test_a_clock_that_is_held_down_is_waited_for() -> None:
    assert rest(replace(COOL, clock_limit_mhz=1500.0), COOL) == (1.0, True, 1.0)


def test_a_warm_gpu_is_waited_for() -> None:
    before, warm = Moment(state=Now(gpu_temperature_c=40)), Moment(state=Now(gpu_temperature_c=70))
    assert rest(warm, before, rested=before) == (1.0, True, 1.0)


def test_the_wait_has_an_end_which_is_recorded() -> None:
    warm = replace(COOL, temperature_c=80.0)
    assert rest(*[warm] * 1000) == (conditions.LONGEST_REST_S, False, conditions.LONGEST_REST_S)


def test_nothing_is_waited_for_where_nothing_tells_or_nobody_asks() -> None:
    assert rest(Moment(), rested=Moment()) == (0.0, None, 0.0)
    begun = Watch(look=seen(replace(COOL, temperature_c=99.0))).begin()
    assert (begun.cool_down_s, begun.cooled) == (0.0, None)


def test_only_release_figures_wait() -> None:
    assert Watch.of("quick").rested is None
    assert Watch.of("release").rested is not None
