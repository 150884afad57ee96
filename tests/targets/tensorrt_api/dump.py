"""Write down what a TensorRT module has, as it says itself: the pins that the tests hold the adapter to.

    python tests/targets/tensorrt_api/dump.py tensorrt_bindings "tensorrt-cu12-bindings 10.3.0" > 10.3.json

A module of NVIDIA's bindings imports without TensorRT where the loader finds libraries of the names that it needs;
empty ones do, because pybind11 says what there is before anything is called.
"""

import importlib
import inspect
import json
import re
import sys
from typing import Any

CLASSES = (
    "Builder",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
ENUMS = (
    "BuilderFlag",
    "ComputeCapability",
    "DataType",
    "LayerInformationFormat",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorIOMode",
)


def signatures(name: str, text: str) -> list[list[str]]:
    """The parameters of each overload, `?` behind those that may be left out."""
    found = re.findall(rf"^(?:\d+\. )?{name}\(self: [^,)]+(?:, (.*))?\) -> ", text, re.MULTILINE)
    return [[parameter(each) for each in re.split(r", (?=\w+: )", given) if each] for given in found]


def parameter(text: str) -> str:
    """`flags: int = 0` as `flags?`."""
    return text.partition(":")[0] + ("?" if " = " in text else "")


def members(kind: type) -> dict[str, Any]:
    """Each public member: the overloads of a method, `r` or `rw` of a property; without what adds layers by hand."""
    found: dict[str, Any] = {}
    for name in dir(kind):
        if name.startswith("add_") and kind.__name__ == "INetworkDefinition":
            continue
        static = inspect.getattr_static(kind, name)
        if isinstance(static, property):
            found[name] = "r" if static.fset is None else "rw"
        elif (name == "__init__" or not name.startswith("_")) and (said := signatures(name, static.__doc__ or "")):
            found[name] = said
    return found


def dump(module: str, source: str) -> dict[str, Any]:
    """All of it. A class or an enumeration that the module lacks is left out."""
    library = importlib.import_module(module)
    return {
        "source": source,
        "version": library.__version__,
        "enums": {each: list(getattr(library, each).__members__) for each in ENUMS if hasattr(library, each)},
        "classes": {each: members(getattr(library, each)) for each in CLASSES if hasattr(library, each)},
    }


def written(value: Any, margin: str = "") -> str:
    """JSON with a line for each member."""
    if not isinstance(value, dict):
        return json.dumps(value)
    deeper = margin + " "
    lines = (f"{deeper}{json.dumps(key)}: {written(each, deeper)}" for key, each in sorted(value.items()))
    return "{\n" + ",\n".join(lines) + f"\n{margin}}}"


if __name__ == "__main__":
    print(written(dump(*sys.argv[1:])))
