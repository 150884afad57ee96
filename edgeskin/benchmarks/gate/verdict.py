"""How every promise came out, and what that makes of a bundle."""

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from edgeskin.benchmarks.budget import Budget, NamedDevice, of_device
from edgeskin.benchmarks.gate.accuracy import accuracy_terms, counted_accuracy
from edgeskin.benchmarks.gate.numerics import numerics_terms
from edgeskin.benchmarks.gate.resources import resource_terms
from edgeskin.benchmarks.gate.rules import Gate
from edgeskin.benchmarks.gate.subgroups import subgroup_terms
from edgeskin.benchmarks.gate.term import Comparison, Section, Term
from edgeskin.benchmarks.measurements import Measured, Measurements
from edgeskin.contract.model import Frozen, ModelCard
from edgeskin.targets.base import Precision

State: TypeAlias = Literal["passed", "inherited", "reported", "pending", "failed"]
"""`reported`: of too few cases to be judged, and shown all the same."""
Outcome: TypeAlias = Literal["passed", "pending", "failed"]

_EXIT_CODES: dict[Outcome, Literal[0, 3, 4]] = {"passed": 0, "failed": 3, "pending": 4}
_ROUNDING = 1e-9
"""0.85 − 0.83 is 0.020000000000000018 in binary, and that is a drop of 0.02."""


class Promise(Frozen):
    """One number against one limit, and how it came out.

    measured: None where it was not measured. attested_by: the attestation that it was measured by, None where that was
    when the bundle was made. sentence: the same for a reader. why_not: why it was not measured, where that is known.
    """

    name: str
    section: Section
    comparison: Comparison
    limit: float
    measured: Measured
    state: State
    sentence: str
    attested_by: str | None = None
    why_not: str = ""


class Verdict(Frozen):
    """How a bundle came out of its gate. Passed means that every promise that was judged passed or was inherited, and
    that there was one.
    """

    state: Outcome
    promises: tuple[Promise, ...]

    @property
    def exit_code(self) -> Literal[0, 3, 4]:
        """0 passed, 3 failed, 4 pending on a device."""
        return _EXIT_CODES[self.state]

    def in_state(self, state: State) -> tuple[Promise, ...]:
        """The promises that came out as `state`."""
        return tuple(promise for promise in self.promises if promise.state == state)

    def told(self, state: State) -> tuple[tuple[str, str], ...]:
        """What came out as `state`: names and a sentence, one for all promises that one reason left unmeasured."""
        groups: dict[str, list[Promise]] = {}
        for promise in self.in_state(state):
            groups.setdefault(promise.why_not or promise.name, []).append(promise)
        return tuple(
            (_named(same), same[0].sentence if len(same) == 1 else f"not measured: {why_not}")
            for why_not, same in groups.items()
        )

    @property
    def against(self) -> tuple[tuple[State, str, str], ...]:
        """What stands against it: state, names and sentence as `told`, what failed first."""
        states: tuple[State, ...] = ("failed", "pending")
        return tuple((state, *line) for state in states for line in self.told(state))

    @property
    def trouble(self) -> str:
        """What stands against it, each on a line of its own below that of an error."""
        return "".join(f"\n  {state} {names}: {sentence}" for state, names, sentence in self.against)

    def at(self, place: Path) -> "Verdict":
        """The same for whoever knows where the bundle lies: hints name that place instead of BUNDLE."""
        path = shlex.quote(str(place))

        def filled(promise: Promise) -> Promise:
            texts = {"sentence": promise.sentence, "why_not": promise.why_not}
            return promise.model_copy(update={name: text.replace("BUNDLE", path) for name, text in texts.items()})

        return self.model_copy(update={"promises": tuple(map(filled, self.promises))})


_FEW = 3
"""Of more promises than these that one reason left unmeasured the first is named."""


def _named(promises: Sequence[Promise]) -> str:
    if len(promises) > _FEW:
        return f"{promises[0].name} and {len(promises) - 1} more"
    return ", ".join(promise.name for promise in promises)


def judge(
    measurements: Measurements,
    gate: Gate,
    card: ModelCard,
    precision: Precision,
    *,
    may_be_pending: Collection[Section] = (),
    accept_inherited: bool = False,
    attested: Mapping[str, Measurements] | None = None,
    budget: Budget | None = None,
    device: NamedDevice | None = None,
) -> Verdict:
    """Hold what was measured against the gate.

    budget: limits of the device besides; of two limits on one figure the tighter holds. device: the machine whose
    latency, memory and placement count, as `of_device` has it; any, where none is named.
    attested: what devices measured of the same bytes later, by the name of the attestation. A promise that was measured
    anywhere and is bad there has failed; otherwise one that was measured anywhere is good.

    Measured and bad is failed. Not measured is failed, or pending where its section is in `may_be_pending`. Accuracy
    that rests on evidence counts only where `accept_inherited` says so and the artifact is equivalent on the golden
    cases, wherever it was run; otherwise it was not measured. Nor was it on images that the network has learnt from.
    Failed beats pending. A gate that promises nothing of this network, or nothing that could be judged, is not a pass.
    """
    measurements = of_device(measurements, device)
    overlaid = {name: measurements.overlaid(of_device(later, device)) for name, later in (attested or {}).items()}
    equivalent = all(figures.equivalent is True for figures in (measurements, *overlaid.values()))

    def settled(figures: Measurements, attested_by: str | None = None) -> Iterator[Promise]:
        terms = [
            *accuracy_terms(counted := counted_accuracy(figures, card, accept_inherited, equivalent), gate, card),
            *subgroup_terms(counted, gate.subgroup, card),
            *(numerics_terms(figures, card, measurements.verified) if gate.equivalent else ()),
            *resource_terms(figures, gate, precision, budget or Budget()),
        ]
        return (_settle(term, may_be_pending, attested_by) for term in terms)

    later = (settled(figures, name) for name, figures in overlaid.items())
    promises = tuple(map(_weightiest, zip(settled(measurements), *later, strict=True)))
    states = {promise.state for promise in promises}
    if states <= {"reported"} or "failed" in states:
        return Verdict(state="failed", promises=promises)
    return Verdict(state="pending" if "pending" in states else "passed", promises=promises)


def _weightiest(same: Sequence[Promise]) -> Promise:
    """One promise as it came out by every machine: a bad figure, else a good one, else what the last to try says."""
    measured = [promise for promise in same if promise.measured is not None]
    return next((promise for promise in measured if promise.state == "failed"), measured[0] if measured else same[-1])


def _settle(term: Term, may_be_pending: Collection[Section], attested_by: str | None) -> Promise:
    limit = f"{term.comparison} {term.limit:.6g}{f' ({term.source})' if term.source else ''}"
    measured, why_not = term.measured, term.why_not
    if measured is not None and not _possible(term.section, measured):
        measured, why_not = None, f"{measured:.6g} is no measurement"
    state: State
    if term.too_few:
        state = "reported"
        figure = "not measured" if measured is None else f"{measured:.6g}"
        sentence = f"{figure}, of {term.too_few}: reported and not judged; it would have to be {limit}"
    elif measured is None:
        state = "pending" if term.section in may_be_pending else "failed"
        sentence = f"not measured, and must be {limit}{': ' + why_not if why_not else ''}"
    else:
        over = measured - term.limit if term.comparison == "at most" else term.limit - measured
        good = over <= _ROUNDING
        state = ("inherited" if term.inherited_from else "passed") if good else "failed"
        source = f", from the evidence of {term.inherited_from}" if term.inherited_from else ""
        sentence = f"{measured:.6g}{source}; {'is' if good else 'must be'} {limit}"
        sentence += f" ({term.where})" if term.where and not good else ""
        sentence += f"; {term.unsure}" if term.unsure else ""
        sentence = f"on {attested_by}: {sentence}" if attested_by else sentence
    return Promise(
        name=term.name,
        section=term.section,
        comparison=term.comparison,
        limit=term.limit,
        measured=measured,
        state=state,
        sentence=sentence,
        attested_by=None if measured is None else attested_by,
        why_not="" if measured is not None or term.too_few else why_not,
    )


def _possible(section: Section, figure: float) -> bool:
    """Whether anything can measure so: no time, size or memory is nothing or less, as by a clock that steps back."""
    return math.isfinite(figure) and (section not in {"latency", "size", "memory"} or figure > 0)
