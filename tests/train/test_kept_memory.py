import subprocess
import sys

import pytest

COUNT = """
import resource
import numpy as np
from edgeskin.train.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
assert keep_freed_memory()
np.ones(2**23)
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is on Linux alone")
def test_memory_that_was_freed_is_not_asked_of_the_system_again() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10
