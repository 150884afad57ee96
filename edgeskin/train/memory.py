"""What this process does with memory that it has freed."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of mallopt, as malloc.h has them."""


def keep_freed_memory() -> bool:
    """Keep it for the next step of training, in place of giving it back to the system; whether the allocator agreed.

    By default glibc maps every large tensor anew, and the system clears it page by page: more than half of a
    quantization-aware step on a processor. For a program whose business is training: it holds for the whole process,
    whose memory then only grows. Elsewhere than on Linux with glibc nothing is changed.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
