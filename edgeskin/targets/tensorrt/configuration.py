"""What every engine is built with, on a GPU for it or ahead of time for others."""

from collections.abc import Mapping
from typing import Any


def configure(library: Any, builder: Any, inputs: Mapping[str, tuple[int, ...]], largest_batch: int) -> Any:
    """A builder's configuration for batches of 1 to `largest_batch`, fastest at 1, whose engine tells of its layers.

    inputs: shapes by name, without the batch.
    """
    config = builder.create_builder_config()
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    config.clear_flag(library.BuilderFlag.TF32)  # it is on by itself, and would make float32 less than it says
    profile = builder.create_optimization_profile()
    for name, shape in inputs.items():
        profile.set_shape(name, (1, *shape), (1, *shape), (largest_batch, *shape))
    config.add_optimization_profile(profile)
    return config
