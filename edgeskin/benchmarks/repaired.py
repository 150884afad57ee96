"""What a repair found and did: layers ranked by the error they cause, and what each that went back to float changed.

It is part of a Graph folder whose int8.onnx was repaired, as `repair.json`, and of every bundle that is built from it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from edgeskin.benchmarks.markup import table, text
from edgeskin.benchmarks.measurements import Count, Measured
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import GraphError
from edgeskin.graph.folder import REPAIR
from edgeskin.graph.island import Way

Outcome: TypeAlias = Literal["passed", "pending", "failed"]
FILE = REPAIR
_WORST = 15
"""So many groups of layers are shown; the file has them all."""

_WORDS: dict[Way, str] = {
    "weights": "weights of fp32.onnx, output at its scale",
    "output": "output not rounded, own weights",
    "both": "output not rounded, weights of fp32.onnx",
}


class LayerError(Frozen):
    """What quantizing one group of layers costs, as mean difference of the probabilities from the float network.

    layers: which share a scale, in running order. alone: the error where they are quantized and nothing else is.
    given_back: how much smaller the error of the whole int8 network is with these in float; it is hidden where others
    are as wrong. None where it was not measured.
    """

    layers: tuple[str, ...]
    alone: Measured
    given_back: Measured = None


class Returned(Frozen):
    """Layers that are in float now."""

    layers: tuple[str, ...]
    way: Way

    @property
    def sentence(self) -> str:
        """Which, and how."""
        return f"{', '.join(self.layers)} ({_WORDS[self.way]})"


class RepairStep(Frozen):
    """The network after one more group of layers was tried; the first is int8 itself.

    returned: what is in float then. in_float: how many nodes compute in float, those included that read floats.
    error: as `LayerError` has it. size_mib, speedup_vs_fp32: of the artifact, None where it was not measured. drops:
    from float to this network on the images that the layers were chosen by, None where they have no truth. judged: how
    the whole gate came out, None where it was not asked.
    """

    returned: tuple[Returned, ...] = ()
    in_float: Count = 0
    error: Measured
    size_mib: Measured = None
    speedup_vs_fp32: Measured = None
    drops: dict[str, Measured] = Field(default_factory=dict)
    judged: Outcome | None = None


class Repair(Frozen):
    """How a network came to have layers in float.

    images: what the layers were chosen by, in words. n: how many. ranking: worst first. steps: the trade. returned:
    what this network has in float. kept_float: every node that computes in float for it. stopped: why there are no
    more.
    """

    images: str
    n: Count
    ranking: tuple[LayerError, ...]
    steps: tuple[RepairStep, ...]
    returned: tuple[Returned, ...]
    kept_float: tuple[str, ...]
    stopped: str

    @staticmethod
    def read(path: Path) -> "Repair | None":
        """The repair of a Graph folder; None where there is no such file. Raises: GraphError."""
        try:
            return Repair.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise GraphError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise GraphError(f"{path}: {wrong_fields(error)}. Repair the network again") from error

    def judged(self, state: Outcome) -> "Repair":
        """The same beside the verdict on its last network, which was not known when it was written."""
        if not self.steps:
            return self
        *before, last = self.steps
        update: dict[str, object] = {"steps": (*before, last.model_copy(update={"judged": state}))}
        return self.model_copy(update=update | ({"stopped": "the gate passed"} if state == "passed" else {}))

    @property
    def sentence(self) -> str:
        """What a reader of the report must know."""
        if not self.returned:
            return "A repair was tried, and no layer is better in float."
        layers = "; ".join(one.sentence for one in self.returned)
        others = len(self.kept_float) - sum(len(one.layers) for one in self.returned)
        following = f", and {others} more that read their floats" if others > 0 else ""
        return f"Repaired: in float are {layers}{following}; chosen on {self.images}."


# --- what a report shows of it ---


def dropped(steps: Sequence[RepairStep]) -> tuple[str, ...]:
    """The metrics whose drops any step has."""
    return tuple(dict.fromkeys(name for step in steps for name in step.drops))


def changes(steps: Sequence[RepairStep]) -> Iterator[str]:
    """What each step has in float that the one before it had not, and what it no longer has, in words."""
    held: dict[tuple[str, ...], Way] = {}
    for number, step in enumerate(steps):
        now = {one.layers: one.way for one in step.returned}
        added = [", ".join(layers) for layers in now if layers not in held]
        taken = [f"without {', '.join(layers)}" for layers in held if layers not in now]
        otherwise = [
            f"{', '.join(layers)}: {_WORDS[way]}" for layers, way in now.items() if held.get(layers, way) != way
        ]
        yield "; ".join([*added, *taken, *otherwise]) or ("the same" if number else "nothing")
        held = now


def markdown(repair: Repair) -> str:
    """Two tables, the ranking and the trade, and why it stopped."""
    tables = _ranking(repair.ranking), _trade(repair.steps)
    return "\n\n".join((text(repair.sentence), *tables, text(f"Stopped: {repair.stopped}.")))


def _ranking(ranking: Sequence[LayerError]) -> str:
    rows = ((", ".join(one.layers), _number(one.alone), _number(one.given_back)) for one in ranking[:_WORST])
    return table(("layers", "error alone", "given back"), rows)


def _trade(steps: Sequence[RepairStep]) -> str:
    drops = dropped(steps)
    header = (
        "in float besides",
        "nodes",
        "gate",
        "error",
        "MiB",
        "speed against fp32",
        *(f"{name} drop" for name in drops),
    )
    return table(header, [_step(step, change, drops) for step, change in zip(steps, changes(steps), strict=True)])


def _step(step: RepairStep, change: str, drops: Sequence[str]) -> Sequence[str]:
    figures = (step.error, step.size_mib, step.speedup_vs_fp32, *(step.drops.get(name) for name in drops))
    return change, str(step.in_float), step.judged or "not asked", *map(_number, figures)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
