"""Apple's Core ML, as far as it is used: what it runs on here, a model loaded for it, where its operators go.

All that only macOS has is in this file, so that a stand-in can take its place in tests.
"""

import importlib
import platform
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeskin.errors import TargetError
from edgeskin.optional import missing, require

LEAST = 14
"""The first macOS that has the operators of iOS 17."""
ALL = "all"
UNITS: Mapping[str, str] = {ALL: "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "neural engine": "CPU_AND_NE"}
"""Each processor, and the compute unit of Core ML that allows it: the CPU is allowed in every one."""
_DEVICES: Mapping[str, str] = {
    "MLCPUComputeDevice": "cpu",
    "MLGPUComputeDevice": "gpu",
    "MLNeuralEngineComputeDevice": "neural engine",
}


class Model(Protocol):
    """A loaded model. simulated: whether something else than Core ML answers."""

    simulated: bool

    def predict(self, features: Mapping[str, object]) -> Mapping[str, npt.NDArray[np.float32]]:
        """The outputs by name, for a picture of Pillow and an array of metadata by name."""
        ...

    def placed(self) -> Mapping[str, str] | None:
        """Where each operator is to run, by the name of its output; None where this system does not tell."""
        ...


def why_not() -> str | None:
    """One sentence why nothing runs a package here, or None."""
    if sys.platform != "darwin":
        return "Core ML runs on Apple's systems alone. On a Mac: edgeskin attest BUNDLE"
    version = platform.mac_ver()[0]
    if int(version.partition(".")[0] or 0) < LEAST:
        return f"Core ML runs these operators from macOS {LEAST} on, and this is macOS {version}. Update it"
    absent = missing("coremltools")
    if absent is not None:
        return absent
    try:
        importlib.import_module("coremltools.libcoremlpython")
    except ImportError:
        return "coremltools is here without its bindings to Core ML. Use a Python for which it has a wheel"
    return None


def processors() -> tuple[str, ...]:
    """What Core ML can use on this machine, all together first; nothing where it does not run."""
    if why_not() is not None:
        return ()
    devices = require("coremltools").models.compute_device.MLComputeDevice.get_all_compute_devices()
    present = {_DEVICES.get(type(device).__name__) for device in devices}
    return (ALL, *(name for name in UNITS if name in present))


def load(path: Path, processor: str) -> Model:
    """A package, compiled and loaded for a processor. Raises: TargetError with what Core ML says against it."""
    tools = require("coremltools")
    units = getattr(tools.ComputeUnit, UNITS[processor])
    try:
        with warnings.catch_warnings():
            # All that coremltools does where Core ML refuses a package.
            warnings.filterwarnings("error", "You will not be able to run predict", RuntimeWarning)
            loaded = tools.models.MLModel(str(path), compute_units=units)
        loaded.get_compiled_model_path()  # which raises where nothing was loaded, be it without a word
    except Exception as error:  # Core ML raises bare RuntimeErrors, and coremltools bare Exceptions
        raise TargetError(f"{path}: Core ML cannot load it for {processor}: {_in_a_line(error)}") from error
    return _AppleModel(loaded, units, path)


def _in_a_line(error: Exception) -> str:
    """What Core ML says, which may be the print of a dictionary."""
    return " ".join(str(error).split())


@dataclass
class _AppleModel:
    """A model of coremltools, which has no types."""

    loaded: Any
    units: Any
    path: Path
    simulated: bool = False

    def predict(self, features: Mapping[str, object]) -> Mapping[str, npt.NDArray[np.float32]]:
        try:
            found: Mapping[str, npt.NDArray[np.float32]] = self.loaded.predict(dict(features))
        except RuntimeError as error:
            raise TargetError(f"{self.path}: Core ML cannot run it: {_in_a_line(error)}") from error
        return found

    def placed(self) -> Mapping[str, str] | None:
        plans = require("coremltools").models.compute_plan.MLComputePlan
        try:
            plan = plans.load_from_path(self.loaded.get_compiled_model_path(), compute_units=self.units)
        except (RuntimeError, ValueError):  # a system older than macOS 14.4 has no plans
            return None
        found = {}
        for operation in plan.model_structure.program.functions["main"].block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is not None:
                device = type(usage.preferred_compute_device).__name__
                found[operation.outputs[0].name] = _DEVICES.get(device, device)
        return found
