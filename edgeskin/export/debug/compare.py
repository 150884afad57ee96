"""Two forms of one network beside each other, every tensor, in two views.

Carried: each form runs its own whole network. Single roundings snowball, so that alone names no node. Alone: a node is
fed the very values that the other side had, so that only what it does itself is seen.

A node of an engine is judged by what it was really given: our executor computes the same node from the engine's own
values, exactly, and each value must be a right rounding of that. Right is the nearest integer, or the next one where
the exact result lies within `HALFWAY` of the middle between both: there engines round as they like.

Two files are judged by what they say of each node. What they say alike they compute alike.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks import numerics
from edgeskin.benchmarks.measurements import NumericsHop
from edgeskin.contract.second_pass import Float32, Outputs, UInt8
from edgeskin.export.debug.differences import differences
from edgeskin.export.debug.engines import Engine
from edgeskin.export.debug.step import Step, TensorError
from edgeskin.export.golden import Golden
from edgeskin.graph import execute
from edgeskin.graph.execute import Executor, Real
from edgeskin.graph.ir import Array, Concat, Network, Node, Requantize, Resize
from edgeskin.targets.base import IMAGE, METADATA

Values: TypeAlias = Mapping[str, Array]

HALFWAY = 0.01
"""How far from the middle between two integers an engine's float32 may round either way, in steps."""
WRONG, WRONG_MOVED = 1e-4, 0.04
"""The share of integers, ties apart, that an engine may have one step off; the second for what joins, resizes or
requantizes. It is what the tests of every target demand of each operator alone."""
FLOAT = 2e-5
"""How far a float may lie from ours, as a share of its tensor's largest magnitude: float32 sums in another order. Of
clinic-1 at fp32 and fp16, no value of onnxruntime or LiteRT is farther than 2.6e-6."""


@dataclass
class Sums:
    """One tensor over all cases, in real numbers."""

    network: Network
    node: Node
    place: int
    values: int = 0
    power: float = 0.0
    carried: float = 0.0
    alone: float = 0.0
    checked: int = 0
    wrong: int = 0
    farthest: float = 0.0
    largest: float = 0.0

    @property
    def name(self) -> str:
        """Of the tensor."""
        return self.node.output

    @property
    def scale(self) -> float | None:
        """One step of the tensor; None of a float."""
        quantization = self.network.result(self.node).quantization
        return None if quantization is None else float(quantization.scale)

    def add_carried(self, before: Real, after: Real) -> None:
        """Both sides, each from its own whole network."""
        self.values += before.size
        self.power += float(np.square(before).sum())
        self.carried += float(np.square(after - before).sum())

    def add_alone(self, expected: Real, found: Real, wrong: npt.NDArray[np.bool_] | None = None) -> None:
        """The node alone. wrong: where `found` is no right rounding; by default wherever it differs."""
        apart = np.abs(found - expected)
        amiss = apart if wrong is None else apart * wrong
        self.checked += apart.size
        self.wrong += int(np.count_nonzero(amiss))
        self.alone += float(np.square(apart).sum())
        self.farthest = max(self.farthest, float(amiss.max(initial=0)))
        self.largest = max(self.largest, float(np.abs(expected).max(initial=0)))

    def error(self, *, otherwise: tuple[str, ...] = (), diverges: bool | None = None) -> TensorError:
        """What is told of the tensor."""
        floor = self.values * (self.scale or 1e-6) ** 2
        unit = max(self.power, floor)
        return TensorError(
            node=self.node.name,
            kind=self.node.kind,
            tensor=self.node.output,
            place=self.place,
            carried=float(np.sqrt(self.carried / unit)) if self.values else None,
            alone=float(np.sqrt(self.alone / unit)) if self.values and self.checked else None,
            wrong=self.wrong / self.checked if self.checked else None,
            farthest=self._farthest if self.checked else None,
            otherwise=otherwise,
            diverges=diverges,
        )

    @property
    def computes_otherwise(self) -> bool | None:
        """Whether an engine's kernel is no right rounding of the node; None where nobody could tell."""
        if not self.checked:
            return None
        if self.scale is None:
            return self._farthest > FLOAT
        moved = isinstance(self.node.operator, Concat | Resize | Requantize)
        return self._farthest > 1.5 or self.wrong / self.checked > (WRONG_MOVED if moved else WRONG)

    @property
    def _farthest(self) -> float:
        """In steps; of a float as a share of the largest magnitude."""
        return self.farthest / (self.scale or max(self.largest, 1e-6))


class _Sides:
    """Runs both sides of a step at once and hands out their outputs one after the other."""

    def __init__(self, both: Callable[[UInt8, Float32 | None], tuple[Outputs, Outputs]]) -> None:
        self._both = both
        self._later = deque[Outputs]()

    def compare(self, name: str, cases: Golden) -> tuple[NumericsHop, ...]:
        """Run all cases, and compare the outputs; shown, because equivalence is a mean over all golden cases."""
        before, after = cases.run(self._before), cases.run(self._after)
        return numerics.compare(name, before, after, cases.card, rule=None)

    def _before(self, image: UInt8, metadata: Float32 | None) -> Outputs:
        before, after = self._both(image, metadata)
        self._later.append(after)
        return before

    def _after(self, image: UInt8, metadata: Float32 | None) -> Outputs:  # noqa: ARG002  (it was run with `_before`)
        return self._later.popleft()


def networks(
    name: str,
    before: Network,
    after: Network,
    cases: Golden,
    *,
    judged: bool,
    half: bool = False,
    notes: tuple[str, ...] = (),
) -> Step:
    """Two networks in the executor.

    judged: by what both say of each node; else they differ by design and are only shown. half: as `Executor`.
    """
    otherwise = differences(before, after) if judged else {}
    sums = sums_of(after)
    if judged and not otherwise:
        rows = tuple(each.error(diverges=False).model_copy(update=_NOTHING) for each in sums)
        return Step(name=name, judged=True, tensors=rows, notes=notes)
    one, other = Executor(before, half=half), Executor(after, half=half)

    def both(image: UInt8, metadata: Float32 | None) -> tuple[Outputs, Outputs]:
        feeds = feeds_of(image, metadata)
        first, second = one.run(feeds), other.run(feeds)
        reals = _reals(before, first, after)
        given = {each: _as_held(before, first, after, each, value) for each, value in reals.items()}
        for each in sums:
            written = each.name
            if written not in reals or reals[written].shape != second[written].shape:
                continue
            tensor = after.tensors[written]
            each.add_carried(reals[written], execute.real(tensor, second[written]))
            if _is_fed(after, each.node, given):
                found = execute.apply(after, each.node, given, half=half)
                each.add_alone(reals[written], execute.real(tensor, found))
        return _outputs(before, first), _outputs(after, second)

    hops = _Sides(both).compare(name, cases)
    if not judged:
        rows = tuple(each.error().model_copy(update={"wrong": None}) for each in sums)  # by design they are not equal
        return Step(name=name, judged=False, tensors=rows, outputs=hops, notes=notes)
    rows = tuple(each.error(otherwise=otherwise.get(each.name, ()), diverges=each.name in otherwise) for each in sums)
    lost = tuple(_lost(before, place, otherwise) for place, node in enumerate(before.nodes) if not _kept(node, after))
    return Step(name=name, judged=True, tensors=(*rows, *lost), outputs=hops, notes=notes)


_NOTHING = {"carried": 0.0, "alone": 0.0, "wrong": 0.0, "farthest": 0.0}
"""What is between two files that say the same: they compute the same, and nothing needs to be run to know it."""


def with_engine(name: str, network: Network, engine: Engine, cases: Golden, *, half: bool = False) -> Step:
    """A network in the executor, and in an engine that shows its tensors."""
    executor, sums, disturbed = Executor(network, half=half), sums_of(network), list[float]()

    def both(image: UInt8, metadata: Float32 | None) -> tuple[Outputs, Outputs]:
        values = executor.run(feeds_of(image, metadata))
        found = {**{each: values[each] for each in network.inputs}, **engine.run(image, metadata)}
        answers = engine.unwatched.run(image, metadata)
        disturbed.extend(_farthest(answers[each], found[each]) for each in network.outputs if each in found)
        watch(sums, network, values, found, half=half)
        return _outputs(network, values), answers

    hops = _Sides(both).compare(name, cases)
    rows = tuple(each.error(diverges=each.computes_otherwise) for each in sums)
    notes = []
    if max(disturbed, default=0) > 0:
        notes.append(f"asked for every tensor, it answers otherwise than alone, by up to {max(disturbed):.2g}")
    hidden = sum(row.alone is None for row in rows)
    if hidden:
        notes.append(f"{hidden} of {len(rows)} tensors are not shown by this engine")
    return Step(name=name, judged=True, tensors=rows, outputs=hops, notes=tuple(notes))


def _farthest(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def watch(sums: Iterable[Sums], network: Network, values: Values, found: Values, *, half: bool = False) -> None:
    """Add what an engine has of one case. values: all that the executor has; found: what the engine shows of it."""
    for each in sums:
        written, tensor = each.name, network.result(each.node)
        if written not in found:
            continue
        each.add_carried(execute.real(tensor, values[written]), execute.real(tensor, found[written]))
        if _is_fed(network, each.node, found):
            expected = execute.apply(network, each.node, found, half=half)
            wrong = _wrong(network, each.node, found, expected, half)
            each.add_alone(execute.real(tensor, expected), execute.real(tensor, found[written]), wrong)


def sums_of(network: Network) -> tuple[Sums, ...]:
    """One for each node, in running order."""
    return tuple(Sums(network, node, place) for place, node in enumerate(network.nodes))


def _wrong(network: Network, node: Node, values: Values, expected: Array, half: bool) -> npt.NDArray[np.bool_] | None:
    """Where an engine's integers are no right rounding of the exact result; None of floats, which are not rounded."""
    result, found = network.result(node), values[node.output]
    if result.quantization is None:
        return None
    apart = np.asarray(found != expected)
    if apart.any():
        floating = {**network.tensors, result.name: replace(result, quantization=None)}
        exact = execute.apply(replace(network, tensors=floating), node, values, half=half)
        steps = np.clip(exact.astype(np.float64) / float(result.quantization.scale), -128, 127)
        apart &= np.abs(found.astype(np.float64) - steps) > 0.5 + HALFWAY
    return apart


def feeds_of(image: UInt8, metadata: Float32 | None) -> dict[str, Array]:
    """The inputs by name."""
    return {IMAGE: image} if metadata is None else {IMAGE: image, METADATA: metadata}


def _outputs(network: Network, values: Values) -> dict[str, Float32]:
    tensors = network.tensors
    return {name: execute.real(tensors[name], values[name]).astype(np.float32) for name in network.outputs}


def _reals(before: Network, values: Values, after: Network) -> dict[str, Real]:
    """What the earlier side computed, by the later side's names; what that only requantizes was not rounded before."""
    found = {name: execute.real(before.tensors[name], value) for name, value in values.items()}
    for node in after.nodes:
        if node.output not in found and isinstance(node.operator, Requantize) and node.inputs[0] in found:
            found[node.output] = found[node.inputs[0]]
    return {name: value for name, value in found.items() if name in after.tensors}


def _as_held(before: Network, values: Values, after: Network, name: str, value: Real) -> Array:
    """What the earlier side computed, as the later side's tensor holds it."""
    tensor, was = after.tensors[name], before.tensors.get(name)
    if was is not None and was.quantization == tensor.quantization:
        return values[name]
    return execute.stored(tensor, value)


def _is_fed(network: Network, node: Node, values: Values) -> bool:
    """Whether all that a node reads is known."""
    return all(tensor.is_constant or tensor.name in values for tensor in network.operands(node))


def _kept(node: Node, after: Network) -> bool:
    return after.producer(node.output) is not None


def _lost(before: Network, place: int, otherwise: Mapping[str, tuple[str, ...]]) -> TensorError:
    node = before.nodes[place]
    return TensorError(
        node=node.name,
        kind=node.kind,
        tensor=node.output,
        place=place,
        otherwise=otherwise[node.output],
        diverges=True,
    )
