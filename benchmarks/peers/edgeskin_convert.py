"""Build a `.tflite` with edgeskin; run inside an environment that holds nothing but `edgeskin[onnx,tflite]`.

    python edgeskin_convert.py {int8,fp32} GRAPH OUT.tflite

The last line of standard output is JSON: the seconds each step took, or why it failed.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path


def convert(precision: str, graph: Path, out: Path) -> dict[str, float]:
    """Write `out` and tell the seconds of importing and converting."""
    begin = time.perf_counter()
    from edgeskin import targets
    from edgeskin.graph.folder import Graph

    target = targets.get("tflite")
    imported = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        built = target.build(Graph.open(graph), targets.precision_of(target, precision), Path(folder))
        shutil.copyfile(built.path, out)
    return {"import": imported - begin, "convert": time.perf_counter() - imported}


if __name__ == "__main__":
    try:
        answer: dict[str, object] = {"seconds": convert(sys.argv[1], *map(Path, sys.argv[2:]))}
    except Exception as error:  # noqa: BLE001 -- shown beside the others, as theirs are
        answer = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
