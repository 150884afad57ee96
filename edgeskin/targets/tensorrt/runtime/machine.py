"""What a machine with an NVIDIA GPU says of itself without CUDA: driver, board, and what nvidia-smi lists.

Sources: NVIDIA's Linux driver README, chapter "The /proc File System Interface" (/proc/driver/nvidia/version; the open
kernel modules put their name and `for x86_64` before the number); Jetson Linux Developer Guide (the first line of
/etc/nv_tegra_release is `# R36 (release), REVISION: 4.3, …`); `nvidia-smi --help-query-gpu`.
"""

import re
import shutil
import subprocess
from pathlib import Path

from edgeskin.targets.tensorrt.runtime import Gpu

_DRIVER = re.compile(r"Kernel Module\b.*?\s(\d+\.[\d.]+)\s")
_L4T = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_QUERY = ("name", "compute_cap", "driver_version", "memory.total")
_PATIENCE_S = 10


def driver(root: Path = Path("/")) -> str | None:
    """The version of the Linux driver; on a Jetson the L4T release that brings it, as `L4T 36.4.3`; else None."""
    if found := _L4T.match(_text(root / "etc/nv_tegra_release")):
        return f"L4T {found[1]}.{found[2]}"
    found = _DRIVER.search(_text(root / "proc/driver/nvidia/version"))
    return found[1] if found else None


def board(root: Path = Path("/")) -> str | None:
    """What a Jetson calls itself, as `NVIDIA Jetson Orin Nano Developer Kit`; None on any other machine."""
    if not (root / "etc/nv_tegra_release").exists():
        return None
    return _text(root / "proc/device-tree/model").strip("\0\n ") or None


def gpu(root: Path = Path("/")) -> Gpu:
    """The first GPU, by nvidia-smi where it tells; on a Jetson by its board alone. Never asks CUDA."""
    name = board(root)
    if name is None and (row := _listed()):
        listed, capability, version, memory_mib = row
        major, _, minor = capability.partition(".")
        known = major.isdigit() and minor.isdigit()
        return Gpu(
            listed,
            (int(major), int(minor)) if known else None,
            version,
            float(memory_mib) if memory_mib.isdigit() else None,
        )
    return Gpu(name or "an NVIDIA GPU that does not say its name", None, driver(root), None)


def _listed() -> list[str] | None:
    """What nvidia-smi says of the first GPU, in the order of `_QUERY`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    line = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(  # noqa: S603  (nvidia-smi with our own options, and no shell reads them)
            line, capture_output=True, check=False, text=True, errors="replace", timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    row = [part.strip() for part in done.stdout.strip().split(",")]
    return row if done.returncode == 0 and len(row) == len(_QUERY) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
