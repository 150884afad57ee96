"""What a gate file may ask of a bundle."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from edgeskin import shipped
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, Name

Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Limit(Frozen):
    """How much worse int8 may be than float: the drop itself, and its one-sided 95 % paired bootstrap bound."""

    estimate: Share
    bound: Share

    @model_validator(mode="after")
    def _in_order(self) -> "Limit":
        if self.bound < self.estimate:
            raise ValueError(f"bound {self.bound:g} is below estimate {self.estimate:g}, which could never be reached")
        return self


class Drops(Frozen):
    """Limits from float to int8 on the same images; each holds for every head of the kind it fits."""

    mask_jaccard: Limit | None = None
    mask_dice: Limit | None = None
    auroc: Limit | None = None
    sensitivity: Limit | None = None
    sensitivity_at_specificity_80: Limit | None = None
    balanced_accuracy: Limit | None = None
    ece: Limit | None = None


FITS: dict[str, tuple[str, ...]] = {
    "mask_jaccard": ("mask",),
    "mask_dice": ("mask",),
    "auroc": ("sigmoid",),
    "sensitivity": ("sigmoid",),
    "sensitivity_at_specificity_80": ("sigmoid",),
    "balanced_accuracy": ("softmax",),
    "ece": ("sigmoid", "softmax"),
}
"""The kinds of head each limit of `Drops` speaks of."""


def _higher_is_better(name: str) -> str:
    if name.endswith("_ece"):
        raise ValueError(f"a floor is for metrics where more is better; write ceiling.{name}, or limit drop.ece")
    return name


def _lower_is_better(name: str) -> str:
    if not name.endswith("_ece"):
        raise ValueError(f"a ceiling is for metrics where less is better, as <head>_ece; write floor.{name}")
    return name


Floors: TypeAlias = dict[Annotated[Name, AfterValidator(_higher_is_better)], Share]
"""The least value of a metric of the network that ships, by its full name (`melanoma_auroc`)."""


class Subgroups(Frozen):
    """What must hold of every subgroup that is large enough to be judged; a smaller one is reported.

    minimum: so many cases must count for a metric. minimum_per_class: and so many of each class that it needs.
    attributes: those that must be told and judged; where none is named, all that the data set tells, of which one
    subgroup at least must be large enough for each limit.
    """

    minimum: Annotated[int, Field(ge=1)] = 50
    minimum_per_class: Annotated[int, Field(ge=1)] = 10
    attributes: tuple[Name, ...] = ()
    floor: Floors = Field(default_factory=dict)
    drop: Drops = Drops()


class Gate(Frozen):
    """What must hold of one bundle; what is left out is not promised.

    minimum: so many images must count for a metric that is limited below, and minimum_per_class of each class that it
    needs; of fewer it was not measured. Their defaults hold also where a file leaves them out.
    drop: float → int8. floor: as `Floors`. ceiling: the same for what is better where it is less (`melanoma_ece`).
    subgroup: besides, of every subgroup.
    equivalent: the artifact computes what the network it was built from computes, as `Equivalence` defines it; where
    the machine that built it cannot run it, a device must have computed it besides.
    integer_convolutions_min: share of the convolutions that must run as integer kernels (int8 only).
    float_operators_max: how many operators may run in float although the network quantizes them (int8 only).
    undelegated_max: how many operators a delegate may leave to the processor; not measured where an engine has none.
    speedup_vs_fp32_min: of the median itself; where its interval holds the limit, the promise says so. Not asked of an
    fp32 artifact. latency_p90_ms_max: of the network alone, at the profile's threads.
    """

    description: str = ""
    minimum: Annotated[int, Field(ge=1)] = 100
    minimum_per_class: Annotated[int, Field(ge=1)] = 15
    drop: Drops = Drops()
    floor: Floors = Field(default_factory=dict)
    ceiling: dict[Annotated[Name, AfterValidator(_lower_is_better)], Share] = Field(default_factory=dict)
    subgroup: Subgroups = Subgroups()
    equivalent: bool = False
    speedup_vs_fp32_min: Positive | None = None
    latency_p90_ms_max: Positive | None = None
    size_mib_max: Positive | None = None
    peak_memory_mib_max: Positive | None = None
    integer_convolutions_min: Share | None = None
    float_operators_max: Annotated[int, Field(ge=0)] | None = None
    undelegated_max: Annotated[int, Field(ge=0)] | None = None

    @property
    def sha256(self) -> str:
        """Of what it asks, whatever the file is called and how it is laid out."""
        asked = self.model_dump(mode="json", exclude={"description"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def read(path: Path) -> "Gate":
        """Read a gate file and what it extends, as `declaration.extended` does.

        Raises: RecipeError with all its mistakes, each with the nearest valid key.
        """
        return declaration.validate(declaration.extended(path, "gates"), Gate, str(path))

    @staticmethod
    def find(name: str) -> "Gate":
        """A gate by path or shipped name. Raises: EdgeskinError that lists the shipped ones; RecipeError as `read`."""
        return Gate.read(shipped.find("gates", name))
