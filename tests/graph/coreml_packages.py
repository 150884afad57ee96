"""Core ML packages for tests: of networks without a model card, and made without what makes making them slow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeskin.graph.ir import Network
from edgeskin.targets.base import Compute
from edgeskin.targets.coreml import package
from edgeskin.targets.coreml.convert import convert
from edgeskin.targets.coreml.lower import lower
from edgeskin.targets.coreml.note import Note


@contextmanager
def unswept() -> Iterator[None]:
    """Every conversion sweeps all of memory, which takes three quarters of its time where torch is loaded."""
    from coremltools.converters import _converters_entry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_converters_entry.gc, "collect", lambda *_: 0)
        yield


def written(network: Network, folder: Path, compute: Compute = "float32") -> tuple[Path, Note]:
    """A package of a network without a model card."""
    lowered = lower(network, half=compute == "float16")
    specification, weights = convert(lowered.program, network)
    path = folder / "model.mlpackage"
    package.write(path, specification.SerializeToString(deterministic=True), weights)
    return path, Note("", "int8", compute, lowered.nodes, lowered.tensors)
