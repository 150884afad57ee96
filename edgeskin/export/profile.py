"""Profiles: what to build for which device, and what its gate may leave open there."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeskin import shipped, targets
from edgeskin.benchmarks.budget import Budget, NamedDevice
from edgeskin.benchmarks.gate import Section
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, Name
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.targets import Choice
from edgeskin.targets.base import Compute, Precision


class Profile(Frozen):
    """One device or kind of device.

    target: the word on the command line. is_default: used for its target where no profile is named; `default` in a
    file. gate: path or shipped name. device: the machine whose latency, memory and placement count; None where any
    machine's do. budget: what the device leaves to the network, beside the gate. threads: the network runs with, in
    every figure.
    split: what accuracy is judged on, never test: that is for `edgeskin evaluate`, once a release.
    may_be_pending: sections that only the device can measure; unmeasured they are pending, not failed.
    accept_inherited: whether accuracy may rest on the Graph's evidence where no data is given.
    raw_outputs: whether the artifact ends at its heads' integer logits, for an app to compute the rest. compute: the
    float between the operators of an int8 artifact, where its target has the choice; None is the target's own. gpus:
    generations of GPUs to build an engine for ahead of time, by the target's words.
    """

    name: Name
    description: str
    target: str
    is_default: Annotated[bool, Field(alias="default")] = False
    precision: Precision = "int8"
    gate: str = "default"
    device: NamedDevice | None = None
    budget: Budget = Budget()
    split: str = "select+val"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    may_be_pending: frozenset[Section] = frozenset()
    accept_inherited: bool = False
    raw_outputs: bool = False
    compute: Compute | None = None
    gpus: tuple[str, ...] = ()

    @property
    def choices(self) -> dict[str, Choice]:
        """What it asks of its target, for `targets.get`."""
        return {"raw_outputs": self.raw_outputs, "compute": self.compute, "gpus": self.gpus}

    @property
    def suffix(self) -> str:
        """What the name of its bundle ends with, beside the precision."""
        return "-raw" * self.raw_outputs + (f"-{self.compute}" if self.compute else "")

    @staticmethod
    def read(path: Path) -> "Profile":
        """Read a profile. Raises: RecipeError with all its mistakes, each with the nearest valid key."""
        return declaration.read(path, Profile)

    @staticmethod
    def find(name: str) -> "Profile":
        """A profile by path or shipped name. Raises: EdgeskinError that lists the shipped; RecipeError as `read`."""
        return Profile.read(shipped.find("profiles", name))

    @staticmethod
    def default(target: str) -> "Profile":
        """The profile a target has where none is named: the shipped one that says so.

        Raises: TargetError where there is no such target; EdgeskinError where no profile is its default.
        """
        targets.get(target)
        for path in sorted(shipped.folder("profiles").glob("*.toml")):
            profile = Profile.read(path)
            if profile.is_default and profile.target == target:
                return profile
        raise EdgeskinError(f"no profile is shipped for the target {target}. Give one with --profile FILE")

    def altered(
        self,
        *,
        precision: str | None = None,
        gate: str | None = None,
        split: str | None = None,
        raw_outputs: bool | None = None,
        compute: Compute | None = None,
        gpus: tuple[str, ...] | None = None,
    ) -> "Profile":
        """The same device with other choices; None leaves the profile's own.

        Raises: TargetError for a precision that the target does not build, for a choice that it has not.
        """
        word = precision or self.precision
        raw = self.raw_outputs if raw_outputs is None else raw_outputs
        if raw and word != "int8":
            raise TargetError(f"raw outputs are int8, and {word} was asked for. Give --no-raw-outputs, or int8")
        chosen = self.model_copy(
            update={"raw_outputs": raw, "compute": compute or self.compute, "gpus": self.gpus if gpus is None else gpus}
        )
        target = targets.get(self.target, **chosen.choices)
        if chosen.compute is not None and word != "int8":
            raise TargetError(f"{word} has a float of its own; only int8 can be computed in {chosen.compute}")
        return chosen.model_copy(
            update={
                "precision": targets.precision_of(target, word),
                "gate": gate or self.gate,
                "split": split or self.split,
            }
        )


ALL = "all"
"""The word for every target that can be built here."""
_ALL = tuple(name for name in targets.TARGETS if name not in targets.BY_NAME_ALONE)


def profiles_for(target: str, name: str | None = None) -> tuple[Profile, ...]:
    """The profiles that a target on the command line means: its own, or one for each that can be built here (`all`).

    name: a profile by path or shipped name instead of the target's own.

    Raises: TargetError for an unknown target, or where `all` finds none that can be built; EdgeskinError where the
    profile is for another target.
    """
    if target != ALL:
        profile = Profile.default(target) if name is None else Profile.find(name)
        if profile.target != targets.get(target).name:
            raise EdgeskinError(f"the profile {profile.name} is for {profile.target}. Give --target {profile.target}")
        return (profile,)
    if name is not None:
        raise EdgeskinError(f"the profile {name} is for one target. Name that target instead of {ALL}")
    missing = unbuildable()
    buildable = tuple(Profile.default(known) for known in _ALL if known not in missing)
    if not buildable:
        sentences = "; ".join(f"{known}: {sentence}" for known, sentence in missing.items())
        raise EdgeskinError(f"no target can be built here. {sentences}")
    return buildable


def unbuildable() -> dict[str, str]:
    """The targets that cannot be built here, and why."""
    missing = {known: targets.get(known).missing() for known in _ALL}
    return {known: sentence for known, sentence in missing.items() if sentence is not None}
