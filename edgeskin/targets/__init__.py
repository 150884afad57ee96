"""Where a network can be built to run: one room or file a target, one line each in the table below."""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeAlias, cast, get_args

from edgeskin.errors import TargetError
from edgeskin.targets.base import Precision, Target

TARGETS: Mapping[str, str] = {
    "onnx": "edgeskin.targets.onnx:OnnxTarget",
    "tflite": "edgeskin.targets.tflite:TfliteTarget",
    "coreml": "edgeskin.targets.coreml:CoremlTarget",
    "tensorrt": "edgeskin.targets.tensorrt.target:TensorrtTarget",
    "torch-tensorrt": "edgeskin.targets.tensorrt.torch_tensorrt:TorchTensorrtTarget",
}
"""The word on the command line -> the class that carries it out, imported at use."""
BY_NAME_ALONE = frozenset({"torch-tensorrt"})
"""What `all` leaves out: a second way to a target, for those who ask for it."""


Choice: TypeAlias = bool | str | tuple[str, ...] | None
"""What is asked of a target by name; what is empty asks for nothing."""
_ASKED: Mapping[str, str] = {
    "raw_outputs": "raw outputs",
    "compute": "choice of what it computes in",
    "gpus": "engines built ahead of time for GPUs",
}
"""The choices that only some targets have, in words."""


def get(name: str, **asked: Choice) -> Target:
    """The target of that name.

    asked: `raw_outputs`, for artifacts that end at integer logits; `compute`, the float between an int8 artifact's
    operators; `gpus`, the generations that an engine is built for ahead of time.

    Raises: TargetError that lists the known targets and the nearest one; for a choice that it has not, or not so.
    """
    if name not in TARGETS:
        near = get_close_matches(name, TARGETS, n=1, cutoff=0.5)
        tip = f" Did you mean {near[0]}?" if near else ""
        raise TargetError(f"{name}: no such target. Known: {', '.join(TARGETS)}.{tip}")
    found = _class_of(name)
    chosen = {word: value for word, value in asked.items() if value}
    for word in chosen:
        if not hasattr(found, word):
            others = " or ".join(each for each in TARGETS if hasattr(_class_of(each), word))
            flag = word.replace("_", "-")
            raise TargetError(f"{name} has no {_ASKED[word]}. Leave out --{flag}, or give --target {others}")
    return cast("Target", found(**chosen))


def _class_of(name: str) -> type:
    module, _, class_name = TARGETS[name].partition(":")
    found: type = getattr(importlib.import_module(module), class_name)
    return found


def precision_of(target: Target, word: str) -> Precision:
    """A word of the command line as one of the target's precisions; another is refused, never replaced.

    Raises: TargetError that lists what the target builds and the nearest word.
    """
    for known in target.precisions:
        if known == word:
            return known
    known_elsewhere = word in get_args(Precision)
    near = [] if known_elsewhere else get_close_matches(word, target.precisions, n=1, cutoff=0.5)
    tip = f" Did you mean {near[0]}?" if near else ""
    raise TargetError(f"{target.name} builds no {word}. It builds {', '.join(sorted(target.precisions))}.{tip}")
