"""What a machine with an NVIDIA GPU says of itself without CUDA: driver, board, and what nvidia-smi lists.

Sources: NVIDIA's Linux driver README, chapter "The /proc File System Interface" (/proc/driver/nvidia/version; the open
kernel modules put their name and `for x86_64` before the number); Jetson Linux Developer Guide (the first line of
/etc/nv_tegra_release is `# R36 (release), REVISION: 4.3, …`); `nvidia-smi --help-query-gpu`; CUDA C++ Programming
Guide, CUDA Environment Variables (CUDA_VISIBLE_DEVICES; its numbers are not nvidia-smi's, unless CUDA_DEVICE_ORDER says
so); Linux, proc_meminfo(5).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgeskin.targets.tensorrt.runtime import NAMELESS, Gpu

_DRIVER = re.compile(r"Kernel Module\b.*?\s(\d+\.[\d.]+)\s")
_L4T = re.compile(r"#\s*R(\d+).*?REVISION:\s*([\d.]+)")
_AVAILABLE = re.compile(r"^MemAvailable:\s*(\d+) kB", re.MULTILINE)
_SECONDS = 10
"""How long a program may take to answer."""


# --- asking ---


def read(path: Path) -> str | None:
    """A file's text without what surrounds it, None where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None


def ask(program: str, *options: str) -> str | None:
    """What a program on the PATH prints; None where it is absent, fails, or does not answer in time."""
    found = shutil.which(program)
    if found is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  (programs and options are those of the code, and no shell reads them)
            [found, *options], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def smi(fields: Sequence[str], *options: str) -> list[tuple[str | None, ...]]:
    """Facts of each GPU, by nvidia-smi's names for them; None for what it does not know, nothing where it is absent."""
    told = ask("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", *options) or ""
    rows = [[value.strip() for value in line.split(",")] for line in told.splitlines()]
    return [
        tuple(None if value.startswith("[") or value in {"", "N/A"} else value for value in row)
        for row in rows
        if len(row) == len(fields)
    ]


# --- what it is ---


def tegra_release(root: Path = Path("/")) -> str | None:
    """The release of Jetson Linux, as `36.4.3`; None on any other machine."""
    found = _L4T.match(read(root / "etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else None


def driver(root: Path = Path("/")) -> str | None:
    """The version of the Linux driver; on a Jetson the L4T release that brings it, as `L4T 36.4.3`; else None."""
    if release := tegra_release(root):
        return f"L4T {release}"
    found = _DRIVER.search(read(root / "proc/driver/nvidia/version") or "")
    return found[1] if found else None


def board(root: Path = Path("/")) -> str | None:
    """What a Jetson calls itself, as `NVIDIA Jetson Orin Nano Developer Kit`; None on any other machine."""
    if not (root / "etc/nv_tegra_release").exists():
        return None
    return read(root / "proc/device-tree/model")


def named(gpu: str) -> str:
    """A GPU's own name, with the board's on a Jetson, where it is "Orin" on each."""
    where = board()
    return gpu if where is None else f"{gpu} ({where})"


def gpu(root: Path = Path("/")) -> Gpu:
    """The GPU that CUDA takes, by nvidia-smi where it tells; on a Jetson by its board alone. Never asks CUDA.

    Where several GPUs differ, it is known only if CUDA_VISIBLE_DEVICES names one by its UUID.
    """
    if name := board(root):
        return Gpu(name, None, driver(root), None)
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    chosen = (f"--id={first}",) if first.startswith("GPU-") else ()
    rows = set(smi(("name", "compute_cap", "driver_version", "memory.total"), *chosen))
    name, capability, version, memory_mib = rows.pop() if len(rows) == 1 else (None,) * 4
    major, _, minor = (capability or "").partition(".")
    return Gpu(
        name or NAMELESS,
        (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None,
        version or driver(root),
        float(memory_mib) if memory_mib and memory_mib.isdigit() else None,
    )


def memory(root: Path = Path("/")) -> str | None:
    """How much GPU memory is free now, in words; on a Jetson that of the board, which is one. None where nobody tells.

    Of several GPUs each is listed.
    """
    if board(root):
        found = _AVAILABLE.search(read(root / "proc/meminfo") or "")
        return f"{int(found[1]) / 1024:.1f} MiB of the board's memory are free" if found else None
    told = [f"{free} MiB of {total} MiB" for free, total in smi(("memory.free", "memory.total")) if free and total]
    return f"{', '.join(told)} are free" if told else None
