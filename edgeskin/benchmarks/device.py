"""What this machine is, so that a figure is read in its light. Best effort: what the system does not tell is None."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeskin.benchmarks import board
from edgeskin.benchmarks.board import number
from edgeskin.benchmarks.measurements import DeviceFacts
from edgeskin.targets.tensorrt.runtime.machine import ask, read

INTEGER_FLAGS = {
    "avx2": "int8 kernels; without VNNI they multiply and add in two steps",
    "avx512f": "512-bit vectors, for float and int8",
    "avx512_vnni": "int8 dot products in one instruction, exact",
    "avx_vnni": "int8 dot products in one instruction, exact",
    "amx_int8": "int8 matrix tiles",
    "asimddp": "int8 dot products in one instruction, exact",
    "i8mm": "int8 matrix multiplication",
}
"""The CPU flags that decide how fast and how exact int8 runs, as Linux spells them, and what each means."""

_EXACT_ON_X86 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_ENGINES = {  # module: distributions that bring it
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnx": ("onnx",),
    "torch": ("torch",),
    "torchao": ("torchao",),
    "ai_edge_litert": ("ai-edge-litert",),
    "coremltools": ("coremltools",),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx"),
    "numpy": ("numpy",),
    "cv2": ("opencv-python-headless", "opencv-python"),
    "PIL": ("pillow",),
}
_DARWIN_FLAGS = {
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}


@dataclass(frozen=True)
class Machine:
    """A machine in full: what a report states (`facts`) and what explains a strange figure.

    logical_cores: of the whole machine; facts.cores are those this process may use. load_average: of the last minute.
    throttle_events: times the CPU was slowed by heat since boot. saturation: the sentence of `saturation_note`.
    """

    facts: DeviceFacts
    kernel: str
    logical_cores: int
    memory_mib: float | None
    load_average: float | None
    throttle_events: int | None
    saturation: str | None


def facts(proc: Path = Path("/proc"), sys: Path = Path("/sys"), root: Path = Path("/")) -> DeviceFacts:
    """The machine as reports state it. Never raises for what the system does not tell. root: above etc and var."""
    cpuinfo = _cpuinfo(proc)
    seen = board.look(proc, sys, root)
    cpufreq = sys / "devices/system/cpu/cpu0/cpufreq"
    kilohertz = number(read(cpufreq / "scaling_cur_freq"))
    return DeviceFacts(
        cpu=_cpu_name(cpuinfo, proc),
        flags=_flags(cpuinfo),
        cores=usable_cores(),
        governor=read(cpufreq / "scaling_governor"),
        clock_mhz=number(cpuinfo.get("cpu MHz")) if kilohertz is None else kilohertz / 1000,
        temperature_c=temperature_c(sys),
        os=_os_name(),
        python=platform.python_version(),
        engines=engine_versions(),
        board=seen.model,
        gpu=seen.gpu,
        gpu_driver=seen.gpu_driver,
        gpu_temperature_c=seen.gpu_temperature_c,
        power_mode=seen.power_mode,
        fastest_power_mode=seen.fastest_power_mode,
        clocks_pinned=seen.clocks_pinned,
        throttled=seen.throttled,
    )


def machine(proc: Path = Path("/proc"), sys: Path = Path("/sys"), root: Path = Path("/")) -> Machine:
    """Everything known about this machine. Never raises for what the system does not tell."""
    known = facts(proc, sys, root)
    return Machine(
        facts=known,
        kernel=f"{platform.system()} {platform.release()}",
        logical_cores=os.cpu_count() or 1,
        memory_mib=_memory_mib(proc),
        load_average=load_average(),
        throttle_events=throttle_events(sys),
        saturation=saturation_note(known.flags),
    )


def usable_cores() -> int:
    """Logical cores this process may use: fewer than the machine's inside a container or under taskset."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def engine_versions() -> dict[str, str]:
    """Installed engines by module name, found without importing any."""
    found = {}
    for module, distributions in _ENGINES.items():
        for distribution in distributions:
            try:
                found[module] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def saturation_note(flags: Iterable[str], architecture: str | None = None) -> str | None:
    """One sentence where uint8 × int8 products can saturate: on x86 without VNNI; None where they cannot.

    architecture: as platform.machine() spells it, this machine's by default.
    """
    x86 = (architecture or platform.machine()).lower() in {"x86_64", "amd64", "i386", "i686"}
    if not x86 or _EXACT_ON_X86 & set(flags):
        return None
    return (
        "This CPU has no VNNI: plain uint8 × int8 kernels saturate at 16 bits here, so onnxruntime runs with "
        "session.x64quantprecision=1, which is exact but slower; int8 latency is not that of a CPU with VNNI."
    )


def _sysctl(key: str) -> str | None:
    """A value of macOS' sysctl; None elsewhere, or where the key is unknown."""
    return ask("sysctl", "-n", key) if platform.system() == "Darwin" else None


def _cpuinfo(proc: Path) -> Mapping[str, str]:
    """The fields of the first processor, and of the board where Arm systems name it at the end."""
    fields: dict[str, str] = {}
    for line in (read(proc / "cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _cpu_name(cpuinfo: Mapping[str, str], proc: Path) -> str:
    model = read(proc / "device-tree/model")  # a Jetson or Raspberry Pi says here what it is
    name = cpuinfo.get("model name") or cpuinfo.get("Hardware") or _sysctl("machdep.cpu.brand_string")
    known = [part for part in (model, name) if part]
    return ", ".join(known) or platform.processor() or platform.machine() or "unknown"


def _flags(cpuinfo: Mapping[str, str]) -> tuple[str, ...]:
    present = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    if platform.system() == "Darwin":
        present |= {flag for key, flag in _DARWIN_FLAGS.items() if _sysctl(key) == "1"}
    return tuple(flag for flag in INTEGER_FLAGS if flag in present)


def temperature_c(sys: Path = Path("/sys")) -> float | None:
    """The hottest sensor of the CPU, where the system tells which sensors those are."""
    zones = [(read(zone / "type"), zone / "temp") for zone in sys.glob("class/thermal/thermal_zone*")]
    chips = [
        (read(chip / "name"), path) for chip in sys.glob("class/hwmon/hwmon*") for path in chip.glob("temp*_input")
    ]
    known = ("cpu", "x86_pkg", "soc", "coretemp", "k10temp", "zenpower")
    millidegrees = [
        number(read(path)) for kind, path in zones + chips if kind is not None and kind.lower().startswith(known)
    ]
    plausible = [value / 1000 for value in millidegrees if value is not None and 0 < value < 150_000]
    return max(plausible, default=None)


def throttle_events(sys: Path = Path("/sys")) -> int | None:
    """Times that heat slowed the CPU since its start, of all cores together; None where the system does not tell."""
    throttles = [number(read(path)) for path in sys.glob("devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")]
    counted = [int(count) for count in throttles if count is not None]
    return sum(counted) if counted else None


def _memory_mib(proc: Path) -> float | None:
    for line in (read(proc / "meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            kib = number(line.split()[1])
            return None if kib is None else kib / 1024
    bytes_ = number(_sysctl("hw.memsize"))
    return None if bytes_ is None else bytes_ / 2**20


def load_average() -> float | None:
    """Programs that ran or waited to run, on average over the last minute."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows has none
        return None


def _os_name() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
    return f"{name}, {platform.system()} {platform.release()}"
