"""The recipe: everything that decides how a network is trained, as one TOML file."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, HeadSpec, MaskCleanup, Name
from edgeskin.contract.preprocess import Preprocessing
from edgeskin.contract.region import SecondPass
from edgeskin.errors import RecipeError
from edgeskin.models.spec import HeadLayout, NetworkSpec
from edgeskin.train.recipe.check import problems
from edgeskin.train.recipe.data import Augmentation, DataChoice, MetadataChoice
from edgeskin.train.recipe.heads import HeadChoice
from edgeskin.train.recipe.learning import Balance, Distillation, Phase, QatPhase, Sampling

__all__ = ["Augmentation", "HeadChoice", "Phase", "QatPhase", "Recipe", "read"]


class CardText(Frozen):
    """What the model card says about the network that this recipe makes; `name` is what it is released as."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    intended_use: str
    licence: str
    notes: tuple[str, ...] = ()


class Recipe(Frozen):
    """A whole recipe. Keys unknown to it are errors."""

    format: Literal[1] = 1
    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    data: DataChoice
    metadata: MetadataChoice | None = None
    preprocessing: Preprocessing = ()
    second_pass: SecondPass | None = None
    network: NetworkSpec = NetworkSpec()
    heads: Annotated[dict[Name, HeadChoice], Field(min_length=1)]
    balance: Balance | None = None
    distill: Distillation | None = None
    sampling: Sampling | None = None
    augment: Augmentation = Augmentation()
    float_phase: Annotated[Phase, Field(alias="float")]
    qat: QatPhase
    cleanup: MaskCleanup = MaskCleanup()
    card: CardText

    def problems(self) -> list[str]:
        """A sentence for every mistake that shows only when the tables are seen together."""
        return problems(self.heads, self.network, self.metadata, self.sampling, self.balance, self.second_pass)

    def sha256(self) -> str:
        """What names the recipe. Values that are the default do not count, so that a new option renames no recipe.

        A default that is changed would: raise `format` with it.
        """
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude_defaults=True).encode()).hexdigest()

    @property
    def super_resolution(self) -> str | None:
        """The name of the auxiliary head, if there is one."""
        return next((name for name, head in self.heads.items() if head.auxiliary), None)

    def head_layouts(self) -> tuple[HeadLayout, ...]:
        """The heads as the network builds them."""
        return tuple(HeadLayout(spec, self.heads[spec.name].hidden) for spec in self.head_specs())

    def head_specs(self) -> tuple[HeadSpec, ...]:
        """The heads as the network and the model card know them; auxiliary ones are not among them."""
        return tuple(head.spec(name) for name, head in self.heads.items() if not head.auxiliary)


Check: TypeAlias = Callable[[Recipe], list[str]]
"""A further look at a recipe whose values are valid: a sentence for every mistake."""


def read(path: Path, overrides: tuple[str, ...] = (), check: Check | None = None) -> Recipe:
    """Read a recipe, what it extends, and apply `key.path=value` overrides.

    `extends = "other.toml"`, beside it, or the name of a shipped one, makes a recipe say only what differs;
    `key = false` takes a table away.
    check: what else must hold, told together with the rest.

    Raises: RecipeError with every mistake at once.
    """
    table = declaration.extended(path, "recipes", _list_follows)
    for assignment in overrides:
        declaration.override(table, assignment, str(path))
    recipe = declaration.validate(table, Recipe, str(path))
    found = recipe.problems() + (check(recipe) if check is not None else [])
    if found:
        raise RecipeError(str(path), found)
    return recipe


def _list_follows(table: declaration.Table, before: Path, now: Path) -> None:
    """A list stands beside the recipe that names it, not beside the one that extends that."""
    data = table.get("data")
    if isinstance(data, dict) and isinstance(data.get("exclude"), str):
        data["exclude"] = Path(os.path.relpath(before / data["exclude"], now)).as_posix()
