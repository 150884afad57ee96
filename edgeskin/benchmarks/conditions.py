"""What the machine was like while a figure was taken, and the rest it gets before the next.

Best effort: what the system does not tell is None. Sources: proc_stat(5) for the time of the cores, in ticks;
Linux, admin-guide/pm/cpufreq for the clocks, in kHz.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeskin.benchmarks import board, device
from edgeskin.benchmarks.board import Now, number
from edgeskin.benchmarks.measurements import Conditions
from edgeskin.targets.tensorrt.runtime.machine import read

LONGEST_REST_S = 120.0
"""How long a machine may take to cool down; a figure behind that is taken all the same, and says so."""
_STEP_S = 1.0
_WARMER_C = 5.0
"""A sensor's noise, and the rest of a warmth that no clock answers to."""
_SHORTEST_S = 0.2
"""Of less time the ticks of the cores, a hundredth of a second each, tell nothing."""


@dataclass(frozen=True)
class Moment:
    """A machine at one moment; see `Conditions`.

    clock_limit_mhz: the highest clock that the system leaves its fastest core now. cores_s, busy_s: time of all cores
    together since the start, and what of it they worked. own_s: what of that this process and its children worked.
    """

    clock_mhz: float | None = None
    clock_limit_mhz: float | None = None
    temperature_c: float | None = None
    throttle_events: int | None = None
    load_average: float | None = None
    cores_s: float | None = None
    busy_s: float | None = None
    own_s: float = 0.0
    state: Now = field(default_factory=Now)

    def rested(self, before: "Moment") -> bool | None:
        """Whether it is as cool, and as free in its clock, as it was then; None where nothing tells."""
        heat = (
            (self.temperature_c, before.temperature_c),
            (self.state.gpu_temperature_c, before.state.gpu_temperature_c),
        )
        told = [now <= then + _WARMER_C for now, then in heat if now is not None and then is not None]
        if self.clock_limit_mhz is not None and before.clock_limit_mhz is not None:
            told.append(self.clock_limit_mhz >= before.clock_limit_mhz)
        return all(told) if told else None


def look(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Moment:
    """The machine now. Never raises."""
    cores_s, busy_s = _cores(proc)
    spent = os.times()
    return Moment(
        clock_mhz=_fastest(sys, "scaling_cur_freq") or _cpuinfo_mhz(proc),
        clock_limit_mhz=_fastest(sys, "scaling_max_freq"),
        temperature_c=device.temperature_c(sys),
        throttle_events=device.throttle_events(sys),
        load_average=device.load_average(),
        cores_s=cores_s,
        busy_s=busy_s,
        own_s=spent.user + spent.system + spent.children_user + spent.children_system,
        state=board.now(sys),
    )


@dataclass(frozen=True)
class Begun:
    """A figure that is being taken: the moment it began, and the rest before it."""

    look: Callable[[], Moment]
    before: Moment
    cool_down_s: float
    cooled: bool | None

    def end(self) -> Conditions:
        """What the machine was like from then until now."""
        before, after = self.before, self.look()
        return Conditions(
            clock_mhz=(before.clock_mhz, after.clock_mhz),
            temperature_c=(before.temperature_c, after.temperature_c),
            gpu_clock_mhz=(before.state.gpu_clock_mhz, after.state.gpu_clock_mhz),
            gpu_temperature_c=(before.state.gpu_temperature_c, after.state.gpu_temperature_c),
            throttle_events=(before.throttle_events, after.throttle_events),
            throttled=after.state.throttled,
            load_average=before.load_average,
            others_share=_others_share(before, after),
            cool_down_s=self.cool_down_s,
            cooled=self.cooled,
        )


@dataclass(frozen=True)
class Watch:
    """Looks at the machine before and behind each figure.

    rested: how the machine was before the first; it is given time to be so again before each, None for no time.
    """

    rested: Moment | None = None
    look: Callable[[], Moment] = look
    sleep: Callable[[float], None] = time.sleep

    @staticmethod
    def of(mode: Literal["quick", "release"]) -> "Watch":
        """The watch of a whole measuring: only release figures wait for the machine to cool down."""
        return Watch(rested=look() if mode == "release" else None)

    def begin(self) -> Begun:
        """Wait until the machine has rested, at most `LONGEST_REST_S`, and look at it."""
        now = self.look()
        if self.rested is None:
            return Begun(self.look, now, 0.0, None)
        waited = 0.0
        while (cooled := now.rested(self.rested)) is False and waited < LONGEST_REST_S:
            self.sleep(_STEP_S)
            waited += _STEP_S
            now = self.look()
        return Begun(self.look, now, waited, cooled)


def _others_share(before: Moment, after: Moment) -> float | None:
    if before.cores_s is None or after.cores_s is None or before.busy_s is None or after.busy_s is None:
        return None
    passed = after.cores_s - before.cores_s
    if passed < _SHORTEST_S:
        return None
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return min(max(others / passed, 0.0), 1.0)


def _cores(proc: Path) -> tuple[float | None, float | None]:
    """Time of all cores and what of it they worked, in seconds: the line `cpu` of /proc/stat, whose fields are user,
    nice, system, idle, iowait, irq, softirq and steal; the guests behind them are part of user.
    """
    first, *fields = ((read(proc / "stat") or "").splitlines() or [""])[0].split() or [""]
    ticks = [number(field) for field in fields[:8]]
    if first != "cpu" or len(ticks) < 4 or any(tick is None for tick in ticks):
        return None, None
    counted = [tick or 0.0 for tick in ticks]
    per_second = os.sysconf("SC_CLK_TCK")
    return sum(counted) / per_second, (sum(counted) - sum(counted[3:5])) / per_second


def _fastest(sys: Path, name: str) -> float | None:
    """A clock of the core that has it highest, in MHz."""
    kilohertz = (number(read(path)) for path in sys.glob(f"devices/system/cpu/cpu[0-9]*/cpufreq/{name}"))
    return max((value / 1000 for value in kilohertz if value is not None), default=None)


def _cpuinfo_mhz(proc: Path) -> float | None:
    lines = (line.partition(":") for line in (read(proc / "cpuinfo") or "").splitlines())
    clocks = (number(value) for key, _, value in lines if key.strip() == "cpu MHz")
    return max((clock for clock in clocks if clock is not None), default=None)
