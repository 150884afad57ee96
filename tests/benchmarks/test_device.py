"""Facts about a machine, from folders that look like those of known machines."""

from pathlib import Path

import numpy as np
import pytest

from edgeskin.benchmarks import device


def lay_out(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_laptop_tells_its_flags_governor_clock_and_heat(tmp_path: Path) -> None:
    proc = lay_out(
        tmp_path / "proc",
        {
            "cpuinfo": "processor\t: 0\nmodel name\t: Core i7-1185G7\ncpu MHz\t\t: 1200.0\n"
            "flags\t\t: sse avx2 avx512f avx512_vnni\n\nprocessor\t: 1\nmodel name\t: other\n",
            "meminfo": "MemTotal:       16384 kB\nMemFree: 1 kB\n",
        },
    )
    sys = lay_out(
        tmp_path / "sys",
        {
            "devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2800000\n",
            "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
            "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
            "class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
            "class/thermal/thermal_zone0/temp": "61500\n",
            "class/thermal/thermal_zone1/type": "iwlwifi_1\n",
            "class/thermal/thermal_zone1/temp": "99000\n",
        },
    )
    machine = device.machine(proc, sys)
    assert machine.facts.cpu == "Core i7-1185G7"
    assert machine.facts.flags == ("avx2", "avx512f", "avx512_vnni")
    assert (machine.facts.governor, machine.facts.clock_mhz, machine.facts.temperature_c) == ("powersave", 2800.0, 61.5)
    assert (machine.memory_mib, machine.throttle_events) == (16.0, 7)


def test_a_jetson_tells_its_board_and_arm_features(tmp_path: Path) -> None:
    proc = lay_out(
        tmp_path,
        {
            "cpuinfo": "processor : 0\nBogoMIPS : 62.50\nFeatures : fp asimd asimddp i8mm\n",
            "device-tree/model": "NVIDIA Jetson Orin Nano\0",
        },
    )
    facts = device.facts(proc, tmp_path / "none")
    assert facts.cpu == "NVIDIA Jetson Orin Nano"
    assert facts.flags == ("asimddp", "i8mm")


def test_a_machine_that_tells_nothing_gives_none_and_never_raises(tmp_path: Path) -> None:
    machine = device.machine(tmp_path / "no-proc", tmp_path / "no-sys")
    assert (machine.facts.governor, machine.facts.temperature_c, machine.throttle_events) == (None, None, None)
    assert machine.facts.cpu
    assert machine.facts.cores >= 1


def test_nonsense_in_the_system_files_is_not_a_figure(tmp_path: Path) -> None:
    sys = lay_out(
        tmp_path,
        {
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>\n",
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "-274000\n",
        },
    )
    facts = device.facts(tmp_path / "no-proc", sys)
    assert (facts.clock_mhz, facts.temperature_c) == (None, None)


@pytest.mark.parametrize("flags", [("avx2",), ("avx2", "avx512f"), ()])
def test_x86_without_vnni_is_told_about_saturation(flags: tuple[str, ...]) -> None:
    assert "session.x64quantprecision=1" in (device.saturation_note(flags, "x86_64") or "")


@pytest.mark.parametrize(
    ("flags", "architecture"), [(("avx512_vnni",), "x86_64"), (("avx_vnni",), "AMD64"), ((), "aarch64")]
)
def test_a_cpu_that_cannot_saturate_is_told_nothing(flags: tuple[str, ...], architecture: str) -> None:
    assert device.saturation_note(flags, architecture) is None


def test_engines_are_listed_by_the_version_they_report_themselves() -> None:
    assert device.engine_versions()["numpy"] == np.__version__
