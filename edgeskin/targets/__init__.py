"""Where a network can be built to run: one room or file a target, one line each in the table below."""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import cast, get_args

from edgeskin.errors import TargetError
from edgeskin.targets.base import Precision, Target

TARGETS: Mapping[str, str] = {
    "onnx": "edgeskin.targets.onnx:OnnxTarget",
    "tflite": "edgeskin.targets.tflite:TfliteTarget",
}
"""The word on the command line -> the class that carries it out, imported at use."""


def get(name: str, *, raw_outputs: bool = False) -> Target:
    """The target of that name.

    raw_outputs: as one whose artifacts end at integer logits. Raises: TargetError that lists the known targets and the
    nearest one; for raw outputs of a target that has none.
    """
    if name not in TARGETS:
        near = get_close_matches(name, TARGETS, n=1, cutoff=0.5)
        tip = f" Did you mean {near[0]}?" if near else ""
        raise TargetError(f"{name}: no such target. Known: {', '.join(TARGETS)}.{tip}")
    module, _, class_name = TARGETS[name].partition(":")
    found = getattr(importlib.import_module(module), class_name)
    if not raw_outputs:
        return cast("Target", found())
    if not hasattr(found, "raw_outputs"):
        raise TargetError(f"{name} has no raw outputs. Leave out --raw-outputs, or give --target tflite")
    return cast("Target", found(raw_outputs=True))


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
