"""An engine of TensorRT-RTX for named generations of desktop GPUs, built ahead of time on a machine without any.

The engine holds the network, its weights and code for those generations; the rest of the code is made on the first run,
on the GPU itself. Nothing here can run it: loading fails with cudaError 35, and so does building for `CURRENT`.

What was seen with tensorrt-rtx 1.7.1 and the released network, on two cores: 0.3 s and 11.2 MB in float, 0.9 s and
10.6 MB in int8, of which 2.8 MB are weights. Several generations at once take the same time and hardly more room. Two
builds of one network have the same size and different bytes, and one that follows a failed build in the same process is
larger by 2 to 5 MB: an engine is a cache, never evidence of what is in it.
Turing can be named and refuses the released network, because it has no float32 product of matrices ("FP32 GEMM is not
supported"); the heads end in one even in int8. A stripped plan (`STRIP_PLAN`) needs a GPU.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from edgeskin.errors import TargetError
from edgeskin.targets.tensorrt.log import log
from edgeskin.targets.tensorrt.parser import Definition, inputs

Generation: TypeAlias = Literal["turing", "ampere-server", "ampere", "ada", "blackwell", "gb10"]
"""NVIDIA's desktop GPUs that an engine can be built for: GeForce RTX 20, A100, RTX 30, 40 and 50, and DGX Spark."""

_CAPABILITIES: dict[Generation, str] = {
    "turing": "SM75",
    "ampere-server": "SM80",
    "ampere": "SM86",
    "ada": "SM89",
    "blackwell": "SM120",
    "gb10": "SM121",
}
"""TensorRT's word for each. Source: the documentation of `ComputeCapability` in tensorrt-rtx 1.7.1."""


def capability_of(generation: str) -> tuple[int, int] | None:
    """The compute capability of a generation, None for a word that is none."""
    word = _CAPABILITIES.get(generation, "")  # type: ignore[call-overload]
    return (int(word[2:-1]), int(word[-1])) if word else None


DESKTOP: tuple[Generation, ...] = ("ampere", "ada", "blackwell")
"""What most desktops have that the released network can be built for."""


@dataclass(frozen=True)
class Engine:
    """An engine file's bytes, and what was paid for them.

    generations: of GPUs that it was built for. largest_batch: the most images in one run. version: of TensorRT-RTX;
    another version refuses the file.
    """

    content: bytes
    generations: tuple[Generation, ...]
    largest_batch: int
    version: str
    build_seconds: float


def build(definition: Definition, generations: Sequence[Generation] = DESKTOP, *, largest_batch: int = 8) -> Engine:
    """Build an engine for batches of 1 to `largest_batch`, fastest at 1.

    Raises: TargetError for a generation that this TensorRT cannot name, or where it cannot build; the message has its
    own words.
    """
    library, builder = definition.library, definition.builder
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, (_, *sizes) in inputs(definition).items():
        profile.set_shape(name, (1, *sizes), (1, *sizes), (largest_batch, *sizes))
    config.add_optimization_profile(profile)
    known = library.ComputeCapability.__members__
    unknown = [each for each in generations if _CAPABILITIES.get(each) not in known]
    if unknown or not generations:
        able = ", ".join(name for name in get_args(Generation) if _CAPABILITIES[name] in known)
        raise TargetError(
            f"TensorRT-RTX {library.__version__} cannot build for {', '.join(unknown) or 'nothing'}: {able}"
        )
    config.num_compute_capabilities = len(generations)
    for place, generation in enumerate(generations):
        config.set_compute_capability(known[_CAPABILITIES[generation]], place)
    kept = log(library)
    mark, begin = len(kept.errors), time.perf_counter()
    content = builder.build_serialized_network(definition.network, config)
    seconds = time.perf_counter() - begin
    if content is None:
        raise TargetError(
            f"TensorRT-RTX {library.__version__} builds no engine for {', '.join(generations)}: {kept.since(mark)}"
        )
    return Engine(bytes(content), tuple(generations), largest_batch, str(library.__version__), seconds)
