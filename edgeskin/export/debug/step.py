"""What was compared along the chain of forms, as values: for people, for `--json`, and for the picture."""

from collections.abc import Iterator
from typing import Literal

from edgeskin.benchmarks.measurements import Count, Measured, NumericsHop
from edgeskin.contract.bundle import Precision
from edgeskin.contract.frozen import Frozen


class TensorError(Frozen):
    """What one node writes, on both sides of a step.

    place: of the node in running order, from 0. Errors are relative: the root of the mean square of the difference, in
    units of that of the tensor itself.
    carried: each side runs its own whole network, so that single roundings snowball. alone: the node of the later side,
    fed what the earlier side (or, of an engine, the engine itself) computed for its inputs; None where some of that is
    not known.
    wrong: alone, the share of values that are no right rounding. farthest: alone, the largest difference in steps of
    the tensor's scale; of a float tensor, as a share of its largest magnitude.
    otherwise: what the later side's file says of the node that the earlier one does not say.
    diverges: whether the node computes something else; None where the step is only shown.
    """

    node: str
    kind: str
    tensor: str
    place: Count
    carried: Measured = None
    alone: Measured = None
    wrong: Measured = None
    farthest: Measured = None
    otherwise: tuple[str, ...] = ()
    diverges: bool | None = None

    @property
    def severity(self) -> tuple[bool, float, float]:
        """What ranks tensors: those that diverge, then what a node causes alone, then what is carried to it."""
        return bool(self.diverges), self.alone or 0.0, self.carried or 0.0


class Step(Frozen):
    """One form of the network beside the next.

    judged: whether both are to compute the same. tensors: in running order; empty where outputs alone were compared,
    and `notes` says why. outputs: of the whole networks, by head.
    """

    name: str
    judged: bool
    tensors: tuple[TensorError, ...] = ()
    outputs: tuple[NumericsHop, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def divergent(self) -> tuple[TensorError, ...]:
        """The nodes that compute something else, in running order."""
        return tuple(tensor for tensor in self.tensors if tensor.diverges)

    @property
    def diverges(self) -> bool:
        """Whether a node computes something else, or the outputs are not equivalent."""
        return bool(self.divergent) or any(hop.equivalent is False for hop in self.outputs)

    @property
    def ranked(self) -> tuple[TensorError, ...]:
        """The tensors, worst first."""
        return tuple(sorted(self.tensors, key=lambda tensor: tensor.severity, reverse=True))

    @property
    def nodes(self) -> int:
        """How many nodes the network has, as far as the step saw them."""
        return 1 + max((tensor.place for tensor in self.tensors), default=-1)


class Divergence(Frozen):
    """The first place where the chain computes something else.

    node, kind: None where the outputs alone tell. reasons: one sentence each.
    """

    step: str
    tensor: str
    node: str | None = None
    kind: str | None = None
    reasons: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The node, or the output, and the step."""
        return f"{self.tensor if self.node is None else f'{self.node} ({self.kind})'}, in {self.step}"


class Diagnosis(Frozen):
    """A bundle compared with itself and with what it came from, tensor by tensor.

    cases: the golden cases that were shown. not_compared: why an engine's own step is missing, in a sentence.
    """

    format: Literal[1] = 1
    bundle: str
    target: str
    precision: Precision
    cases: tuple[str, ...]
    steps: tuple[Step, ...]
    not_compared: str | None = None

    @property
    def first(self) -> Divergence | None:
        """The first divergence along the chain; None where there is none."""
        return next(self._divergences(), None)

    @property
    def exit_code(self) -> int:
        """3 where something diverges, 4 where an engine elsewhere must still be compared, else 0."""
        return 3 if self.first is not None else 4 if self.not_compared is not None else 0

    @property
    def verdict(self) -> str:
        """What was found, in a line."""
        if self.first is not None:
            return f"first divergence: {self.first.where}"
        if self.not_compared is not None:
            return f"pending: nothing diverges so far, but {self.not_compared}"
        return "nothing diverges"

    def _divergences(self) -> Iterator[Divergence]:
        for step in self.steps:
            for tensor in step.divergent:
                reasons = tensor.otherwise or (_sentence(tensor),)
                yield Divergence(
                    step=step.name, tensor=tensor.tensor, node=tensor.node, kind=tensor.kind, reasons=reasons
                )
            for hop in step.outputs:
                if hop.equivalent is False:
                    reason = f"its answers are not equivalent (mean difference {hop.mean_abs:.3g})"
                    yield Divergence(step=step.name, tensor=hop.tensor, reasons=(reason,))


def _sentence(tensor: TensorError) -> str:
    """How a node computes otherwise than what it says."""
    assert tensor.wrong is not None
    assert tensor.farthest is not None
    return f"{tensor.wrong:.3%} of its values are wrong, by up to {tensor.farthest:.3g} steps, on equal inputs"
