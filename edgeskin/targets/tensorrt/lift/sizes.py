"""What the layers compute that handle shapes: whole numbers, known but for the batch.

TensorRT computes shapes by layers too, in integers, out of order. They are followed twice, once for a batch of 5 and
once for one of 7: what comes out the same is a number, what comes out as those is the batch, and anything else depends
on the batch in a way that no network of ours does.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.graph.ir import BATCH
from edgeskin.targets.tensorrt.layers import Layer, Layers

Integers: TypeAlias = npt.NDArray[np.int64]
Given: TypeAlias = list[Integers | None]

INTEGER_KINDS = ("INT32", "INT64", "BOOL")
"""The types of shapes; none of a network's own values has one."""
_BATCHES = (5, 7)
_PAIRS: Mapping[str, np.ufunc] = {
    "SUM": np.add,
    "SUB": np.subtract,
    "PROD": np.multiply,
    "MIN": np.minimum,
    "MAX": np.maximum,
}


class Sizes:
    """The integers of one definition, each followed back when it is asked for."""

    def __init__(self, layers: Layers) -> None:
        self._producers = {layer.output.name: layer for layer in layers.layers}
        self._shapes = {value.name: value.shape for value in layers.inputs}
        self._shapes |= {layer.output.name: layer.output.shape for layer in layers.layers}
        self._known: dict[tuple[str, int], Integers] = {}

    def of(self, name: str) -> tuple[int | str, ...]:
        """The integers that are called so; BATCH for one that is the batch. Raises: GraphError naming a layer."""
        one, other = (self._at(name, batch).reshape(-1) for batch in _BATCHES)
        found: list[int | str] = []
        for pair in zip(one.tolist(), other.tolist(), strict=True):
            if pair[0] != pair[1] and pair != _BATCHES:
                raise self._producers[name].refuse(f"is {pair[0]} or {pair[1]} for a batch of 5 or 7")
            found.append(BATCH if pair == _BATCHES else pair[0])
        return tuple(found)

    def _at(self, name: str, batch: int) -> Integers:
        if (name, batch) not in self._known:
            self._known[name, batch] = self._compute(self._producers[name], batch)
        return self._known[name, batch]

    def _compute(self, layer: Layer, batch: int) -> Integers:
        if layer.kind == "SHAPE":
            shape = self._shapes[str(layer.inputs[0])]
            if -1 in shape[1:]:
                raise layer.refuse(f"reads a shape {shape} of which more than the batch is unknown")
            return np.asarray([batch if size == -1 else size for size in shape])
        given = [None if name is None else self._at(name, batch) for name in layer.inputs]
        rule = _RULES.get(layer.kind)
        found = None if rule is None else rule(layer, given)
        if found is None:
            raise layer.refuse("computes a shape in a way that is not understood")
        return found


# --- what each kind makes of integers; None where it is set to something else ---


def _constant(layer: Layer, _: Given) -> Integers:
    weights = layer.settings["weights"]
    assert isinstance(weights, np.ndarray), "weights that are no array"
    return weights.astype(np.int64).reshape(_whole(layer, "shape"))


def _elementwise(layer: Layer, given: Given) -> Integers | None:
    pair, (left, right) = _PAIRS.get(str(layer.settings["op"])), given
    return None if pair is None or left is None or right is None else np.asarray(pair(left, right), np.int64)


def _gather(layer: Layer, given: Given) -> Integers | None:
    row, places = given
    plain = (layer.settings["mode"], layer.settings["num_elementwise_dims"], layer.settings["axis"]) == (
        "DEFAULT",
        0,
        0,
    )
    return row[places] if plain and row is not None and row.ndim == 1 else None


def _slice(layer: Layer, given: Given) -> Integers | None:
    row = given[0]
    if row is None or row.ndim != 1 or layer.settings["mode"] != "STRICT_BOUNDS":
        return None
    start, size, step = (
        _whole(layer, setting)[0] if computed is None else int(computed[0])
        for computed, setting in zip((*given, None, None, None)[1:4], ("start", "shape", "stride"), strict=True)
    )
    return row[start : start + size * step : step]


def _concatenate(_: Layer, given: Given) -> Integers:
    return np.concatenate([each for each in given if each is not None])


_RULES: Mapping[str, Callable[[Layer, Given], Integers | None]] = {
    "CAST": lambda _, given: given[0],
    "CONCATENATION": _concatenate,
    "CONSTANT": _constant,
    "ELEMENTWISE": _elementwise,
    "GATHER": _gather,
    "IDENTITY": lambda _, given: given[0],
    "SLICE": _slice,
}


def _whole(layer: Layer, setting: str) -> tuple[int, ...]:
    value = layer.settings[setting]
    assert isinstance(value, tuple), f"no {setting}"
    return tuple(int(each) for each in value)
