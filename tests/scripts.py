"""Scripts of benchmarks/ as modules: they stand in no package."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def loaded(path: str) -> Iterator[ModuleType]:
    """A script, by its path below benchmarks/, for as long as a fixture that yields from this stands.

    Its name in sys.modules, where its dataclasses look for their types, is nobody else's.
    """
    name = "benchmarks_" + path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]
