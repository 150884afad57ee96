"""Which TensorRT this machine has, if any: what can build an engine here and run it.

Order: the Python bindings where a GPU answers them, NVIDIA's program, TensorRT-RTX where a GPU answers. The environment
variable EDGESKIN_TENSORRT (bindings, trtexec or rtx) leaves one of them alone. Nothing heavy is imported before its
module and a driver are known to be there.
"""

import ctypes
import importlib
import os
import platform
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

from edgeskin import optional
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.targets.tensorrt.runtime import Runtime

VARIABLE = "EDGESKIN_TENSORRT"
Way: TypeAlias = Literal["bindings", "trtexec", "rtx"]

_DRIVER = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
"""The driver's own library."""


def find() -> Runtime | None:
    """The TensorRT of this machine, None where there is none; `why_not` then says what was looked for.

    Raises: TargetError where EDGESKIN_TENSORRT has another word.
    """
    return _look()[0]


def why_not() -> str:
    """A sentence for a machine where `find` finds none: what was looked for, and what to install.

    Raises: TargetError as `find`.
    """
    asked = os.environ.get(VARIABLE)
    return (
        f"no TensorRT here builds and runs engines: {'; '.join(_look()[1])}. On a Jetson: sudo apt install "
        "nvidia-jetpack; on a PC with an NVIDIA GPU: pip install tensorrt 'edgeskin[tensorrt]', or put TensorRT's bin "
        "folder on the PATH" + (f"; or do without {VARIABLE}={asked}" if asked else "")
    )


def _look() -> tuple[Runtime | None, list[str]]:
    """The first that can be used, and why those before it cannot."""
    asked = os.environ.get(VARIABLE)
    if asked and asked not in get_args(Way):
        raise TargetError(f"{VARIABLE}={asked} is none that edgeskin knows: {', '.join(get_args(Way))}")
    refused: list[str] = []
    for way, found in _WAYS.items():
        if asked in (None, "", way):
            try:
                return found(), refused
            except EdgeskinError as error:
                refused.append(str(error))
    return None, refused


def _bindings(module: str) -> Runtime:
    from edgeskin.targets.tensorrt.runtime.bindings import Bindings
    from edgeskin.targets.tensorrt.runtime.cuda import Cuda

    if not optional.available(module):
        raise TargetError(f"the Python module {module} is not installed")
    if not _driver():
        raise TargetError(f"{module} is installed, and no NVIDIA driver: {_DRIVER} cannot be loaded")
    try:
        found = Bindings(importlib.import_module(module), Cuda.load())
    except (ImportError, OSError) as error:  # its libraries
        raise TargetError(f"{module} cannot be imported: {error}") from error
    found.gpu, found.generation  # noqa: B018  (asked for their errors)
    return found


def _driver() -> bool:
    """Whether the driver's library is here: no GPU answers without it, and looking costs nothing."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def _trtexec() -> Runtime:
    from edgeskin.targets.tensorrt.runtime.trtexec import Trtexec

    found = Trtexec.find()
    found.generation  # noqa: B018  (asked for its error)
    return found


_WAYS: Mapping[Way, Callable[[], Runtime]] = {
    "bindings": lambda: _bindings("tensorrt"),
    "trtexec": _trtexec,
    "rtx": lambda: _bindings("tensorrt_rtx"),
}
