"""Which TensorRT this machine has, if any: what can build an engine here and run it.

Order: the Python bindings where a GPU answers them, NVIDIA's program, TensorRT-RTX where a GPU answers. The environment
variable EDGESKIN_TENSORRT (bindings, trtexec or rtx) leaves one of them alone: it is used, or
nothing runs. Nothing heavy is imported before its module and a driver are known to be there.
"""

import ctypes
import importlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from edgeskin import optional
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.targets.tensorrt.runtime import AbsentError, Runtime

VARIABLE = "EDGESKIN_TENSORRT"
Way: TypeAlias = Literal["bindings", "trtexec", "rtx"]

_DRIVER = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
"""The driver's own library."""


def find(prefer: Way | None = None) -> Runtime | None:
    """The TensorRT of this machine, None where there is none; `why_not` then says what was looked for.

    prefer: the way that is tried before the others, where the environment does not choose.

    Raises: TargetError where EDGESKIN_TENSORRT has another word, or names one that cannot be used here.
    """
    asked = _asked()
    found = _look(asked, prefer).runtime
    if found is None and asked is not None:
        raise TargetError(why_not())
    return found


def why_not() -> str:
    """A sentence for a machine where `find` finds none: what was looked for, and what to install.

    Raises: TargetError where EDGESKIN_TENSORRT has another word.
    """
    asked = _asked()
    looked = _look(asked)
    return (
        f"no TensorRT here builds and runs engines: {'; '.join(looked.refused + looked.absent)}. On a Jetson: sudo apt "
        "install nvidia-jetpack; on a PC with an NVIDIA GPU: pip install tensorrt 'edgeskin[tensorrt]', or put "
        "TensorRT's bin folder on the PATH" + (f"; or do without {VARIABLE}={asked}" if asked else "")
    )


def refused() -> str | None:
    """What is on this machine and cannot be used, and why; None where nothing is passed over.

    Raises: TargetError as `why_not`.
    """
    return "; ".join(_look(_asked()).refused) or None


def forget() -> None:
    """Look again the next time: a machine is looked at once in a process."""
    _look.cache_clear()


@dataclass(frozen=True)
class _Looked:
    """runtime: the first that can be used. Why those before it cannot: refused, what is here; absent, what is not."""

    runtime: Runtime | None
    refused: tuple[str, ...]
    absent: tuple[str, ...]


def _asked() -> Way | None:
    asked = os.environ.get(VARIABLE)
    if not asked:
        return None
    for way in _WAYS:
        if way == asked:
            return way
    raise TargetError(f"{VARIABLE}={asked} is none that edgeskin knows: {', '.join(_WAYS)}")


@cache
def _look(asked: Way | None, prefer: Way | None = None) -> _Looked:
    refused, absent = list[str](), list[str]()
    for way, found in sorted(_WAYS.items(), key=lambda each: each[0] != prefer):
        if asked in (None, way):
            try:
                return _Looked(found(), tuple(refused), tuple(absent))
            except AbsentError as error:
                absent.append(str(error))
            except EdgeskinError as error:
                refused.append(str(error))
    return _Looked(None, tuple(refused), tuple(absent))


def _bindings(module: str) -> Runtime:
    from edgeskin.targets.tensorrt.runtime.bindings import Bindings
    from edgeskin.targets.tensorrt.runtime.cuda import Cuda

    if not optional.available(module):
        raise AbsentError(f"the Python module {module} is not installed")
    if not _driver():
        raise AbsentError(f"{module} is installed, and no NVIDIA driver: {_DRIVER} cannot be loaded")
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
    found.generation, found.gpu  # noqa: B018  (asked for their errors)
    return found


_WAYS: Mapping[Way, Callable[[], Runtime]] = {
    "bindings": lambda: _bindings("tensorrt"),
    "trtexec": _trtexec,
    "rtx": lambda: _bindings("tensorrt_rtx"),
}
