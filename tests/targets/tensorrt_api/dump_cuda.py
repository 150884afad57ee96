"""Write down what cuda-python has, as it says itself: the pins that the tests hold `runtime/cuda.py` to.

python tests/targets/tensorrt_api/dump_cuda.py "cuda-python 13.4.4" > cuda-13.4.json
"""

import importlib
import re
import sys
from typing import Any

from dump import written

FUNCTIONS = (
    "cudaDriverGetVersion",
    "cudaEventCreate",
    "cudaEventDestroy",
    "cudaEventElapsedTime",
    "cudaEventRecord",
    "cudaEventSynchronize",
    "cudaFree",
    "cudaFreeHost",
    "cudaGetDeviceProperties",
    "cudaGetErrorString",
    "cudaGraphDestroy",
    "cudaGraphExecDestroy",
    "cudaGraphInstantiate",
    "cudaGraphInstantiateWithFlags",
    "cudaGraphLaunch",
    "cudaMalloc",
    "cudaMallocHost",
    "cudaMemGetInfo",
    "cudaMemcpyAsync",
    "cudaRuntimeGetVersion",
    "cudaStreamBeginCapture",
    "cudaStreamCreateWithFlags",
    "cudaStreamDestroy",
    "cudaStreamEndCapture",
    "cudaStreamSynchronize",
)
ENUMS = {
    "cudaError_t": (
        "cudaSuccess",
        "cudaErrorInvalidValue",
        "cudaErrorMemoryAllocation",
        "cudaErrorInsufficientDriver",
        "cudaErrorNoDevice",
        "cudaErrorStreamCaptureUnsupported",
        "cudaErrorStreamCaptureInvalidated",
    ),
    "cudaMemcpyKind": ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"),
    "cudaStreamCaptureMode": ("cudaStreamCaptureModeThreadLocal",),
}
CONSTANTS = ("cudaStreamNonBlocking",)
PROPERTIES = ("major", "minor", "name", "totalGlobalMem")


def dump(source: str) -> dict[str, Any]:
    """Parameters of each function as its documentation's first line names them; the numbers behind words."""
    library = importlib.import_module("cuda.bindings.runtime")
    heads = {name: getattr(library, name).__doc__.partition("\n")[0] for name in FUNCTIONS}
    of_device = dir(library.cudaDeviceProp)
    return {
        "source": source,
        "functions": {
            name: [re.findall(r"\w+", each.partition(":")[0])[-1] for each in re.findall(r"[^(),]+", head)[1:]]
            for name, head in heads.items()
        },
        "enums": {
            kind: {word: int(getattr(getattr(library, kind), word)) for word in words} for kind, words in ENUMS.items()
        },
        "constants": {name: int(getattr(library, name)) for name in CONSTANTS},
        "properties": [name for name in PROPERTIES if name in of_device],
    }


if __name__ == "__main__":
    print(written(dump(sys.argv[1])))
