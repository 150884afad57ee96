"""What edgeskin finds on this machine: what is installed, what can be built, what the CPU means for int8."""

import importlib.metadata
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import edgeskin
from edgeskin import shipped, targets
from edgeskin.benchmarks import device
from edgeskin.errors import EdgeskinError


@dataclass(frozen=True)
class Extra:
    """One optional part of edgeskin. missing: distributions that are not installed, () where it is complete."""

    name: str
    missing: tuple[str, ...]

    @property
    def install(self) -> str:
        """The command that brings it."""
        return f"pip install 'edgeskin[{self.name}]'"


@dataclass(frozen=True)
class TargetState:
    """One target. missing: why it cannot build here, or None. here: what can be shown of it here, where machines differ
    in that.
    """

    name: str
    missing: str | None
    here: str | None


@dataclass(frozen=True)
class Examination:
    """Everything `edgeskin doctor` says.

    release: the folder of the default release, None where there is none. releases: the names of all. data:
    EDGESKIN_DATA. runs: where runs are kept, runs_writable: whether they can be. data_exists and runs_free_mib are of
    those folders (of the nearest parent that exists).
    """

    edgeskin_version: str
    python: str
    machine: device.Machine
    extras: tuple[Extra, ...]
    targets: tuple[TargetState, ...]
    release: str | None
    releases: tuple[str, ...]
    data: str | None
    data_exists: bool
    runs: str
    runs_free_mib: float | None
    runs_writable: bool


def examine() -> Examination:
    """Look at this machine; changes nothing and imports no engine."""
    data = os.environ.get("EDGESKIN_DATA")
    runs = Path(os.environ.get("EDGESKIN_RUNS", "runs")).absolute()
    existing = next(folder for folder in (runs, *runs.parents) if folder.is_dir())
    return Examination(
        edgeskin_version=edgeskin.__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()}, {platform.machine()})",
        machine=device.machine(),
        extras=extras(),
        targets=tuple(_state(name) for name in targets.TARGETS),
        release=_release(),
        releases=tuple(shipped.releases()),
        data=data,
        data_exists=data is not None and Path(data).is_dir(),
        runs=str(runs),
        runs_free_mib=_free_mib(existing),
        runs_writable=os.access(existing, os.W_OK),
    )


def _state(name: str) -> TargetState:
    target = targets.get(name)
    try:
        return TargetState(name, target.missing(), target.here())
    except EdgeskinError as error:  # of a variable that names what is not here
        return TargetState(name, str(error), None)


def extras() -> tuple[Extra, ...]:
    """Every extra that edgeskin declares, with what of it is absent; empty where edgeskin itself is not installed."""
    try:
        metadata = importlib.metadata.metadata("edgeskin")
    except importlib.metadata.PackageNotFoundError:
        return ()
    declared = importlib.metadata.requires("edgeskin") or []
    names = metadata.get_all("Provides-Extra") or []
    return tuple(Extra(name, tuple(sorted(_absent(name, declared)))) for name in names)


def _absent(extra: str, declared: list[str]) -> set[str]:
    """Distributions that `extra` asks for and that are not installed; extras of edgeskin within it count as theirs."""
    absent: set[str] = set()
    for requirement in declared:
        wanted, _, marker = requirement.partition(";")
        if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", marker) is None:
            continue
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", wanted)
        assert match is not None, f"{requirement}: not a requirement"
        name, parts = match.groups()
        if name == "edgeskin":
            for part in (parts or "").split(","):
                absent |= _absent(part.strip(), declared)
        elif not _installed(name):
            absent.add(name)
    return absent


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _release() -> str | None:
    try:
        return str(shipped.default_release())
    except EdgeskinError:
        return None


def _free_mib(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return None
