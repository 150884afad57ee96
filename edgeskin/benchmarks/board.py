"""What state a board and its GPU are in: power mode, clocks, heat. Best effort: what nobody tells is None.

Everything is read as any user may read it; `jetson_clocks --show`, which wants root, is not asked. Sources:
- board: /proc/device-tree/model, of Jetson and Raspberry Pi.
- Jetson's release: /etc/nv_tegra_release, `# R36 (release), REVISION: 4.3, …` (Jetson Linux).
- Jetson's power mode: /var/lib/nvpmodel/status, `pmode:0002`, and /etc/nvpmodel.conf, whose own header gives its
  format: `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`, below it `GPU MAX_FREQ -1`, where -1 is no limit; `nvpmodel -q` prints
  `NV Power Mode: 15W`.
- Jetson's clocks, in Hz: /sys/class/devfreq (Linux, sysfs-class-devfreq). `jetson_clocks` raises MinFreq of the GPU to
  MaxFreq, as its own `--show` prints before and after.
- Jetson's throttling: cooling devices of type `…-throttle-alert` and `hot-surface-alert` in /sys/class/thermal, whose
  cur_state is above 0 as long as they act (Linux, sysfs-class-thermal).
- Raspberry Pi: `vcgencmd get_throttled` (Raspberry Pi documentation, its table of bits), the same in sysfs.
- NVIDIA's desktop GPUs: `nvidia-smi --query-gpu`; the bits of its reasons are nvmlClocksEventReason… of NVML, and
  `clocks_event_reasons.active` is called `clocks_throttle_reasons.active` by older drivers.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from edgeskin.benchmarks.measurements import DeviceFacts
from edgeskin.targets.tensorrt.runtime.machine import ask, read, smi, tegra_release

_PI_BITS = {
    0: "under-voltage",
    1: "CPU clock capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage earlier since its start",
    17: "CPU clock capped earlier since its start",
    18: "throttled earlier since its start",
    19: "soft temperature limit earlier since its start",
}
_NVML_BITS = {
    0x04: "GPU at its power limit",
    0x08: "GPU slowed by its hardware",
    0x20: "GPU slowed by heat",
    0x40: "GPU slowed by heat, by its hardware",
    0x80: "GPU slowed by the power supply",
}
"""Without those that are no throttling: an idle GPU, clocks that somebody set, a display."""
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_TEGRA_GPUS = ("*gpu*", "*.gv11b", "*.gp10b", "*.ga10b", "*.gm20b")
_MODE = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", re.MULTILINE)
_GPU_LIMIT = re.compile(r"^GPU\w*\s+MAX_FREQ\s+(-?\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Board:
    """A board and its GPU, as `DeviceFacts` states them."""

    model: str | None = None
    gpu: str | None = None
    gpu_driver: str | None = None
    gpu_temperature_c: float | None = None
    power_mode: str | None = None
    fastest_power_mode: str | None = None
    clocks_pinned: bool | None = None
    throttled: tuple[str, ...] = ()


def look(proc: Path = Path("/proc"), sys: Path = Path("/sys"), root: Path = Path("/")) -> Board:
    """What the machine tells of itself. Never raises. root: above etc and var."""
    model = read(proc / "device-tree/model")
    release = tegra_release(root)
    name, driver, heat = _smi("name", "driver_version", "temperature.gpu")
    mode, fastest = _power_modes(root)
    tegra = release is not None or (model or "").startswith("NVIDIA")
    return Board(
        model=model,
        gpu=name,
        gpu_driver=driver if release is None else f"R{release}",
        gpu_temperature_c=_zone_c(sys) if tegra else number(heat),
        power_mode=mode,
        fastest_power_mode=fastest,
        clocks_pinned=_pinned(sys) if tegra else None,
        throttled=(*_alerts(sys), *_pi_throttled(sys), *_bits(_gpu_now().reasons if name else None, _NVML_BITS)),
    )


@dataclass(frozen=True)
class Now:
    """What changes from second to second. gpu_clock_mhz, gpu_temperature_c: of the first GPU."""

    gpu_clock_mhz: float | None = None
    gpu_temperature_c: float | None = None
    throttled: tuple[str, ...] = ()


def now(sys: Path = Path("/sys")) -> Now:
    """How the GPU is and what slows the machine down at this moment. Never raises."""
    hertz, heat, desktop = _devfreq(sys, "cur_freq"), _zone_c(sys), _gpu_now()
    return Now(
        gpu_clock_mhz=desktop.clock_mhz if hertz is None else hertz / 1e6,
        gpu_temperature_c=desktop.temperature_c if heat is None else heat,
        throttled=(*_alerts(sys), *_pi_throttled(sys), *_bits(desktop.reasons, _NVML_BITS)),
    )


def cautions(facts: DeviceFacts) -> tuple[str, ...]:
    """What must stand beside figures of this machine: a sentence for each thing that makes it slower than it can be."""
    found = []
    if facts.power_mode is not None and facts.fastest_power_mode not in {None, facts.power_mode}:
        found.append(
            f"The board runs in power mode {facts.power_mode}; in {facts.fastest_power_mode} its GPU may run faster "
            "(nvpmodel)."
        )
    if facts.clocks_pinned is False:
        found.append("The clocks of the GPU are not pinned, so its times vary with its load (jetson_clocks).")
    if facts.throttled:
        found.append(f"The machine was being slowed down: {', '.join(facts.throttled)}.")
    return tuple(found)


# --- reading ---


def number(text: str | None) -> float | None:
    """A number, None for any other text."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _bits(text: str | None, words: dict[int, str]) -> tuple[str, ...]:
    """The words of the bits that are set in a hexadecimal number."""
    try:
        value = int(text or "0", 16)
    except ValueError:
        return ()
    return tuple(word for mask, word in words.items() if value & mask)


# --- Jetson ---


def _power_modes(root: Path) -> tuple[str | None, str | None]:
    """The mode it is in, and the one that leaves its GPU the highest clock."""
    _, *parts = _MODE.split(read(root / "etc/nvpmodel.conf") or "")
    modes = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    names = {int(place): name for place, name, _ in modes}
    limits = {name: _gpu_limit(name, settings) for _, name, settings in modes}
    status = re.search(r"pmode:(\d+)", read(root / "var/lib/nvpmodel/status") or "")
    mode = None if status is None else names.get(int(status[1]))
    if mode is None:
        said = re.search(r"NV Power Mode:\s*(\S+)", ask("nvpmodel", "-q") or "")
        mode = None if said is None else said[1]
    fastest = max(limits, key=lambda name: (limits[name], name == mode), default=None)
    return mode, fastest


def _gpu_limit(name: str, settings: str) -> float:
    """The highest clock that a mode leaves the GPU, in Hz; without one that is told, MAXN stands above all others."""
    told = _GPU_LIMIT.search(settings)
    if told is not None and int(told[1]) >= 0:
        return float(told[1])
    return math.inf if told is not None or name.startswith("MAXN") else 0.0


def _pinned(sys: Path) -> bool | None:
    """Whether the GPU's clock has no room to move."""
    lowest, highest = _devfreq(sys, "min_freq"), _devfreq(sys, "max_freq")
    return None if lowest is None or highest is None else lowest == highest


def _devfreq(sys: Path, name: str) -> float | None:
    """A frequency of a Jetson's GPU, in Hz."""
    places = (place for kind in _TEGRA_GPUS for place in sys.glob(f"class/devfreq/{kind}"))
    return next((value for place in places if (value := number(read(place / name))) is not None), None)


def _zone_c(sys: Path) -> float | None:
    """The GPU's temperature on a Jetson."""
    zones = sys.glob("class/thermal/thermal_zone*")
    found = [number(read(zone / "temp")) for zone in zones if (read(zone / "type") or "").lower().startswith("gpu")]
    return max((value / 1000 for value in found if value is not None and 0 < value < 150_000), default=None)


def _alerts(sys: Path) -> tuple[str, ...]:
    """The parts of a Jetson that are slowed down by heat now."""
    devices = ((read(place / "type") or "", place / "cur_state") for place in sys.glob("class/thermal/cooling_device*"))
    acting = (kind for kind, state in devices if kind.endswith("-alert") and (number(read(state)) or 0) > 0)
    return tuple(sorted({kind.removesuffix("-alert").replace("-", " ") for kind in acting}))


# --- Raspberry Pi ---


def _pi_throttled(sys: Path) -> tuple[str, ...]:
    told = [read(path) for path in sys.glob("devices/platform/*/*firmware*/get_throttled")]
    value = told[0] if told else (ask("vcgencmd", "get_throttled") or "").partition("=")[2]
    return _bits(value, {1 << bit: word for bit, word in _PI_BITS.items()})


# --- NVIDIA's desktop GPUs ---


def _smi(*fields: str) -> tuple[str | None, ...]:
    """Facts of the first GPU, by nvidia-smi's names for them; None for what it does not know."""
    return next(iter(smi(fields)), (None,) * len(fields))


@dataclass(frozen=True)
class _Gpu:
    clock_mhz: float | None = None
    temperature_c: float | None = None
    reasons: str | None = None


def _gpu_now() -> _Gpu:
    """What nvidia-smi tells of the first GPU; a driver answers nothing at all where it does not know one field."""
    for field in _REASONS:
        clock, heat, reasons = _smi("clocks.current.sm", "temperature.gpu", field)
        if reasons is not None:
            return _Gpu(number(clock), number(heat), reasons)
    clock, heat = _smi("clocks.current.sm", "temperature.gpu")
    return _Gpu(number(clock), number(heat))
