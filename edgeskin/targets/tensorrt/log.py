"""What TensorRT says while it works, kept instead of printed.

It has one logger in a process: the first that it is given, for as long as anything that was made with it lives.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

_ERRORS = ("INTERNAL_ERROR", "ERROR")
_EXPECTED = "cudaError 35"
"""What is logged again and again on a machine without a driver, whatever is asked."""


@dataclass(frozen=True)
class Log:
    """logger: for TensorRT. errors: everything that it called an error, in order."""

    logger: Any
    errors: list[str] = field(default_factory=list)

    def since(self, mark: int) -> str:
        """The errors from the `mark`th on, each once."""
        found = dict.fromkeys(without_gpu(text) for text in self.errors[mark:])
        return "; ".join(text for text in found if text) or "it does not say why"


def without_gpu(text: str) -> str:
    """What TensorRT says, without the lines that mean no more than that this machine has no driver."""
    return "\n".join(line for line in text.splitlines() if _EXPECTED not in line)


@cache
def log(library: Any) -> Log:
    """The log of a module, `tensorrt_rtx` or `tensorrt`."""
    errors: list[str] = []

    class Kept(library.ILogger):  # type: ignore[misc]  # a class of a module that is imported at use
        def __init__(self) -> None:
            library.ILogger.__init__(self)  # pybind11 demands it by name

        def log(self, severity: Any, text: str) -> None:
            if severity.name in _ERRORS:
                errors.append(text)

    return Log(Kept(), errors)
