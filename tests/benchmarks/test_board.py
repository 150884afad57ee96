"""The state of boards, from folders and programs that look like those of known ones."""

import stat
from pathlib import Path

import pytest

from edgeskin.benchmarks import board, device
from edgeskin.benchmarks.board import Board, Now, cautions, look
from edgeskin.benchmarks.measurements import DeviceFacts
from edgeskin.targets.tensorrt.runtime import machine

MODES = """\
# < POWER_MODEL ID=9 NAME=A_COMMENT >
< PARAM TYPE=CLOCK NAME=GPU >
MAX_FREQ /sys/devices/platform/17000000.gpu/devfreq/17000000.gpu/max_freq

< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
GPU_POWER_CONTROL_ENABLE GPU_PWR_CNTL_EN on
GPU MAX_FREQ 612000000

< POWER_MODEL ID=1 NAME=25W >
GPU MAX_FREQ 918000000

< POWER_MODEL ID=2 NAME=MAXN_SUPER >
GPU MAX_FREQ -1

< POWER_MODEL ID=3 NAME=7W >
GPU MAX_FREQ 408000000

< PM_CONFIG DEFAULT=1 >
"""  # the modes and clocks of an Orin Nano Super


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def lay_out(root: Path, contents: dict[str, str]) -> Board:
    """What is seen of a machine whose whole tree is `contents`."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return look(root / "proc", root / "sys", root)


ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n# more\n",
    "etc/nvpmodel.conf": MODES,
    "var/lib/nvpmodel/status": "pmode:0000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "612000000\n",
    "sys/class/devfreq/15340000.vic/min_freq": "1\n",
    "sys/class/devfreq/15340000.vic/max_freq": "1\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "60000\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "48500\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "sys/class/thermal/cooling_device2/type": "devfreq-17000000.gpu\n",
    "sys/class/thermal/cooling_device2/cur_state": "4\n",
}


# --- Jetson ---


def test_a_jetson_tells_its_release_power_mode_clocks_and_heat(tmp_path: Path) -> None:
    assert lay_out(tmp_path, ORIN) == Board(
        model="NVIDIA Jetson Orin Nano Developer Kit",
        gpu_driver="R36.4.3",
        gpu_temperature_c=48.5,
        power_mode="15W",
        fastest_power_mode="MAXN_SUPER",
        clocks_pinned=False,
    )


@pytest.mark.parametrize(("status", "mode"), [("pmode:0001", "25W"), ("pmode:0002", "MAXN_SUPER"), ("pmode:3", "7W")])
def test_the_power_mode_is_the_one_of_the_status(tmp_path: Path, status: str, mode: str) -> None:
    assert lay_out(tmp_path, ORIN | {"var/lib/nvpmodel/status": status}).power_mode == mode


@pytest.mark.parametrize("missing", ["var/lib/nvpmodel/status", "etc/nvpmodel.conf"])
def test_where_the_files_do_not_tell_nvpmodel_is_asked(tmp_path: Path, programs: Path, missing: str) -> None:
    program(programs, "nvpmodel", '[ "$*" = -q ] && echo "NVPM WARN: no fan" && echo "NV Power Mode: 25W" && echo 1')
    found = lay_out(tmp_path, {name: text for name, text in ORIN.items() if name != missing})
    assert found.power_mode == "25W"
    assert found.fastest_power_mode == (None if missing == "etc/nvpmodel.conf" else "MAXN_SUPER")


def test_a_mode_that_leaves_the_gpu_as_much_as_any_is_itself_the_fastest(tmp_path: Path) -> None:
    modes = "< POWER_MODEL ID=0 NAME=MODE_15W_2CORE >\nGPU MAX_FREQ 1109250000\n"
    modes += "< POWER_MODEL ID=8 NAME=MODE_20W_6CORE >\nGPU MAX_FREQ 1109250000\n"
    found = lay_out(tmp_path, ORIN | {"etc/nvpmodel.conf": modes, "var/lib/nvpmodel/status": "pmode:0008"})
    assert (found.power_mode, found.fastest_power_mode) == ("MODE_20W_6CORE", "MODE_20W_6CORE")


def test_where_no_clock_is_told_maxn_stands_above_the_others(tmp_path: Path) -> None:
    modes = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n"
    found = lay_out(tmp_path, ORIN | {"etc/nvpmodel.conf": modes, "var/lib/nvpmodel/status": "pmode:0001"})
    assert (found.power_mode, found.fastest_power_mode) == ("120W", "MAXN")


@pytest.mark.parametrize("gpu", ["17000000.gpu", "17000000.ga10b", "17000000.gv11b", "gpu-gpc-0"])
def test_a_clock_without_room_to_move_is_pinned(tmp_path: Path, gpu: str) -> None:
    clocks = {f"sys/class/devfreq/{gpu}/{end}_freq": "612000000\n" for end in ("min", "max")}
    rest = {name: text for name, text in ORIN.items() if "17000000.gpu/" not in name}
    assert lay_out(tmp_path, rest | clocks).clocks_pinned is True


def test_a_part_that_is_slowed_by_heat_is_named_and_a_fan_is_not(tmp_path: Path) -> None:
    found = lay_out(tmp_path, ORIN | {"sys/class/thermal/cooling_device1/cur_state": "1\n"})
    assert found.throttled == ("gpu throttle",)


# --- Raspberry Pi ---

PI = {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}


def test_a_raspberry_pi_tells_what_slows_it_now_and_slowed_it_before(tmp_path: Path, programs: Path) -> None:
    program(programs, "vcgencmd", '[ "$*" = get_throttled ] && echo throttled=0x50005')
    assert lay_out(tmp_path, PI) == Board(
        model="Raspberry Pi 5 Model B Rev 1.0",
        throttled=(
            "under-voltage",
            "throttled",
            "under-voltage earlier since its start",
            "throttled earlier since its start",
        ),
    )


@pytest.mark.parametrize("soc", ["soc", "soc@107c000000"])
def test_its_system_files_tell_the_same(tmp_path: Path, soc: str) -> None:
    path = f"sys/devices/platform/{soc}/{soc}:firmware/get_throttled"
    assert lay_out(tmp_path, PI | {path: "80008\n"}).throttled == (
        "soft temperature limit",
        "soft temperature limit earlier since its start",
    )
    assert lay_out(tmp_path, PI | {path: "0\n"}).throttled == ()


# --- desktop GPUs ---

SMI = """\
case "$1" in
  --query-gpu=name,*) echo "NVIDIA GeForce RTX 4090, 550.54.14, 61"; echo "NVIDIA T400, 550.54.14, 40" ;;
  --query-gpu=clocks.current.sm,temperature.gpu,{field}) echo "2520, 62, "{bits} ;;
  *) echo "Field \\"$1\\" is not a valid field to query."; exit 2 ;;
esac
"""


@pytest.mark.parametrize("field", ["clocks_event_reasons.active", "clocks_throttle_reasons.active"])
def test_a_desktop_tells_its_first_gpu_by_both_drivers_words(tmp_path: Path, programs: Path, field: str) -> None:
    program(programs, "nvidia-smi", SMI.format(field=field, bits="0x0000000000000064"))
    assert lay_out(tmp_path, {}) == Board(
        gpu="NVIDIA GeForce RTX 4090",
        gpu_driver="550.54.14",
        gpu_temperature_c=61.0,
        throttled=("GPU at its power limit", "GPU slowed by heat", "GPU slowed by heat, by its hardware"),
    )


@pytest.mark.parametrize("bits", ["0x0000000000000000", "0x0000000000000001", "0x0000000000000102", "[N/A]"])
def test_an_idle_gpu_or_chosen_clocks_are_no_throttling(tmp_path: Path, programs: Path, bits: str) -> None:
    program(programs, "nvidia-smi", SMI.format(field="clocks_event_reasons.active", bits=f"'{bits}'"))
    assert lay_out(tmp_path, {}).throttled == ()


def test_a_desktops_gpu_at_a_moment(tmp_path: Path, programs: Path) -> None:
    program(programs, "nvidia-smi", SMI.format(field="clocks_throttle_reasons.active", bits="0x20"))
    assert board.now(tmp_path) == Now(gpu_clock_mhz=2520.0, gpu_temperature_c=62.0, throttled=("GPU slowed by heat",))


def test_a_jetson_at_a_moment(tmp_path: Path) -> None:
    lay_out(tmp_path, ORIN | {"sys/class/devfreq/17000000.gpu/cur_freq": "408000000\n"})
    assert board.now(tmp_path / "sys") == Now(gpu_clock_mhz=408.0, gpu_temperature_c=48.5, throttled=())


def test_a_moment_of_which_nobody_tells_is_empty(tmp_path: Path) -> None:
    assert board.now(tmp_path) == Now()


def test_a_jetsons_nvidia_smi_that_knows_little_gives_the_name_alone(tmp_path: Path, programs: Path) -> None:
    program(
        programs, "nvidia-smi", 'case "$1" in *name*) echo "Orin (nvgpu), 540.4.0, [N/A]" ;; *) echo "[N/A]" ;; esac'
    )
    found = lay_out(tmp_path, ORIN)
    assert (found.gpu, found.gpu_driver, found.gpu_temperature_c) == ("Orin (nvgpu)", "R36.4.3", 48.5)


# --- nothing, nonsense ---


def test_a_machine_that_tells_nothing_is_a_board_without_facts(tmp_path: Path) -> None:
    assert lay_out(tmp_path, {}) == Board()


NONSENSE = {
    "etc/nv_tegra_release": "unknown\n",
    "etc/nvpmodel.conf": "< POWER_MODEL >\n",
    "var/lib/nvpmodel/status": "pmode:x\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "<unknown>\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "612000000\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device1/cur_state": "?\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "?\n",
    "proc/device-tree/model": "NVIDIA Jetson\0",
}


def test_nonsense_is_no_fact(tmp_path: Path, programs: Path) -> None:
    for name in ("nvidia-smi", "nvpmodel", "vcgencmd"):
        program(programs, name, "echo nonsense, of a program")
    assert lay_out(tmp_path, NONSENSE) == Board(model="NVIDIA Jetson")


@pytest.mark.parametrize("script", ["exit 9", "sleep 9", "printf '\\377, \\377, 1'; exit 1"])
def test_a_program_that_fails_or_hangs_says_nothing(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(machine, "_SECONDS", 0.2)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")  # for sleep
    program(programs, "nvidia-smi", script)
    assert lay_out(tmp_path, {}).gpu is None


def test_a_file_that_is_no_program_says_nothing(tmp_path: Path, programs: Path) -> None:
    program(programs, "nvidia-smi", "")
    (programs / "nvidia-smi").write_bytes(b"\x7fELF nothing")
    assert lay_out(tmp_path, {}).gpu is None


# --- what a report says of it ---


def test_facts_hold_what_was_seen(tmp_path: Path) -> None:
    lay_out(tmp_path, ORIN)
    facts = device.facts(tmp_path / "proc", tmp_path / "sys", tmp_path)
    assert (facts.board, facts.gpu, facts.gpu_driver) == ("NVIDIA Jetson Orin Nano Developer Kit", None, "R36.4.3")
    assert (facts.power_mode, facts.fastest_power_mode, facts.clocks_pinned) == ("15W", "MAXN_SUPER", False)
    assert facts.gpu_temperature_c == 48.5
    assert device.machine(tmp_path / "proc", tmp_path / "sys", tmp_path).facts == facts


def test_a_board_in_a_low_mode_with_loose_clocks_that_throttles_gets_three_cautions() -> None:
    slow = DeviceFacts(
        cpu="A", cores=6, os="L", python="3", power_mode="15W", fastest_power_mode="MAXN_SUPER", clocks_pinned=False,
        throttled=("gpu throttle", "under-voltage"),
    )  # fmt: skip
    assert cautions(slow) == (
        "The board runs in power mode 15W; in MAXN_SUPER its GPU may run faster (nvpmodel).",
        "The clocks of the GPU are not pinned, so its times vary with its load (jetson_clocks).",
        "The machine was being slowed down: gpu throttle, under-voltage.",
    )


@pytest.mark.parametrize(("mode", "fastest"), [("MAXN", "MAXN"), (None, "MAXN"), ("15W", None), (None, None)])
def test_a_board_at_its_fastest_or_one_that_does_not_tell_gets_none(mode: str | None, fastest: str | None) -> None:
    facts = DeviceFacts(
        cpu="A", cores=6, os="L", python="3", power_mode=mode, fastest_power_mode=fastest, clocks_pinned=True
    )
    assert cautions(facts) == ()


def test_facts_of_an_older_report_are_read() -> None:
    old = {"cpu": "A", "flags": [], "cores": 2, "os": "L", "python": "3.11", "engines": {}}
    assert DeviceFacts.model_validate(old).throttled == ()
