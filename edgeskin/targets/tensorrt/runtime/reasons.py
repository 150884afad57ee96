"""Why TensorRT failed, from what it said, and what to do.

Its words are quoted in issues of NVIDIA/TensorRT: another version (2195, 2041), another GPU (564, 2176, 3130: it
expects what this GPU is and got what the engine is for), a file that is no engine (2915, 1596), a driver that is absent
or too old (2913), and memory that is not there. What it says with other words is passed on as it is.
"""

import re

_AGAIN = "Build it again on this machine"
_OTHER_VERSION = re.compile(
    r"not compatible with this version of TensorRT(?:, expecting \w+ version (\S+) got (\S+?),)?"
    r"|Version tag does not match"
)
_OTHER_GPU = re.compile(r"generated on an incompatible device, expecting compute (\S+) got compute (\S+?),")
_NO_ENGINE = re.compile(r"magic ?tag|Serialization (?:assertion|Error)", re.IGNORECASE)
_ASKED_BYTES = re.compile(r"Requested amount of GPU memory \((\d+) bytes\)")
_OUT_OF_MEMORY = re.compile(rf"out ?of ?memory|{_ASKED_BYTES.pattern}", re.IGNORECASE)
_NO_DRIVER = re.compile(
    r"CUDA initialization failure with error:? (?:35|100)\b|driver version is insufficient", re.IGNORECASE
)
NOT_STARTED = (
    "CUDA does not start: there is no NVIDIA driver, or it is too old for the CUDA that this TensorRT is for. Update "
    "the driver, or install the TensorRT for the CUDA that nvidia-smi names"
)
"""TensorRT has a CUDA of its own, which may be newer than that of cuda-python."""


def why(log: str, memory: str | None = None) -> str | None:
    """The reason in a sentence with what to do, None where nothing in a log tells.

    memory: what is free, in words, where the caller knows.
    """
    if other := _OTHER_VERSION.search(log):
        versions = f": it is of {other[2]}, this is {other[1]}" if other[1] else ""
        return f"the engine was built by another version of TensorRT{versions}. {_AGAIN}"
    if other := _OTHER_GPU.search(log):
        return f"the engine was built for a GPU of compute capability {other[2]}, and this one has {other[1]}. {_AGAIN}"
    if _NO_ENGINE.search(log):
        return f"the file is damaged, or no engine at all. {_AGAIN}"
    if _OUT_OF_MEMORY.search(log):
        asked = _ASKED_BYTES.search(log)
        return out_of_memory(int(asked[1]) if asked else None, memory)
    return NOT_STARTED if _NO_DRIVER.search(log) else None


def out_of_memory(asked_bytes: int | None, memory: str | None) -> str:
    """What to do where GPU memory is not there. memory: what is free, in words, None where nobody knows."""
    asked = "it does not say how much was asked for"
    if asked_bytes is not None:
        asked = f"{asked_bytes / 2**20:.1f} MiB were asked for at once"
    free = f", {memory}" if memory else ""
    return f"out of memory: {asked}{free}. Close other programs, or build for a smaller batch"
