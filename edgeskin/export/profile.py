"""Profiles: what to build for which device, and what its gate may leave open there."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeskin import shipped
from edgeskin.benchmarks.gate import Section
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, Name
from edgeskin.errors import EdgeskinError
from edgeskin.targets.base import Precision


class Profile(Frozen):
    """One device or kind of device.

    target: the word on the command line. gate: path or shipped name. threads: the network runs with, in every figure.
    split: what accuracy is judged on, `select+val` being all that may choose nothing and is not test.
    may_be_pending: sections that only the device can measure; unmeasured they are pending, not failed.
    accept_inherited: whether accuracy may rest on the Graph's evidence where no data is given.
    """

    name: Name
    description: str
    target: str
    precision: Precision = "int8"
    gate: str = "default"
    split: str = "select+val"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    may_be_pending: frozenset[Section] = frozenset()
    accept_inherited: bool = False

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
        """The profile a target has where none is named: the first shipped one for it, by name.

        Raises: EdgeskinError where there is none.
        """
        shipped_profiles = [Profile.read(path) for path in sorted(shipped.folder("profiles").glob("*.toml"))]
        for profile in shipped_profiles:
            if profile.target == target:
                return profile
        known = sorted({profile.target for profile in shipped_profiles})
        raise EdgeskinError(f"no profile is shipped for the target {target}. Known targets: {', '.join(known)}")
