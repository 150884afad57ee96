"""A family of recipes as a file: one base, members that differ from it, and the papers' rows beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeskin import shipped
from edgeskin.benchmarks.papers import published
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, Name
from edgeskin.errors import EdgeskinError, RecipeError
from edgeskin.train import recipe as recipes
from edgeskin.train.recipe import Recipe


class MemberChoice(Frozen):
    """One member: the family's base with `set` on top, or another recipe. paper: `file/row` of a published figure."""

    name: str
    recipe: str | None = None
    changes: Annotated[tuple[str, ...], Field(alias="set")] = ()
    paper: str | None = None


class Family(Frozen):
    """A family file.

    base: a recipe beside the file, or a shipped one, of the members that name none. set: `key=value` overrides of every
    member, those of a member come after. metrics: the table's columns, by default those that the papers beside it
    print.
    """

    format: Literal[1] = 1
    name: Name
    base: str | None = None
    changes: Annotated[tuple[str, ...], Field(alias="set")] = ()
    metrics: tuple[str, ...] = ()
    members: Annotated[tuple[MemberChoice, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Family":
        names = [member.name for member in self.members]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"members: each needs a name of its own; there are several called {', '.join(twice)}")
        bare = [member.name for member in self.members if member.recipe is None]
        if bare and self.base is None:
            raise ValueError(f"members: {', '.join(bare)} needs a recipe; write one, or a base for all")
        return self


@dataclass(frozen=True)
class Trial:
    """One recipe to train: a member's, or one fold of it. source: its file. folder: where its row and run stand."""

    name: str
    recipe: Recipe
    source: Path
    folder: Path


@dataclass(frozen=True)
class Trials:
    """A member: its recipe once, or once a fold."""

    choice: MemberChoice
    each: tuple[Trial, ...]

    @property
    def average(self) -> Trial | None:
        """The folds as one network, which is measured and not trained; None for a recipe without folds.

        Its row stands beside the first fold's: that recipe's hash holds how many folds there are.
        """
        if len(self.each) == 1:
            return None
        first = self.each[0]
        name = f"{self.choice.name}, average of {len(self.each)} folds"
        return Trial(name, first.recipe, first.source, first.folder / "average")


def read(path: Path, runs: Path) -> tuple[Family, tuple[Trials, ...]]:
    """What a family asks for: for every member one trial, or one a fold; each stands in `ablations/<hash>` of `runs`.

    Raises: RecipeError with the mistakes of all members at once.
    """
    family = declaration.read(path, Family)
    problems: list[str] = []
    trials: list[Trials] = []
    for member in family.members:
        try:
            trials.append(_trials(path, family, member, runs))
            if member.paper is not None:
                published(member.paper, path.parent)
        except RecipeError as error:
            problems += [f"{member.name}: {problem}" for problem in error.problems]
        except EdgeskinError as error:
            problems.append(f"{member.name}: {error}")
    if problems:
        raise RecipeError(str(path), problems)
    return family, tuple(trials)


def _trials(path: Path, family: Family, member: MemberChoice, runs: Path) -> Trials:
    word = member.recipe or family.base
    assert word is not None, "a family demands a base of members without a recipe"
    beside = path.parent / word
    source = beside if beside.is_file() else shipped.find("recipes", word)
    changes = (*family.changes, *member.changes)
    first = recipes.read(source, changes)
    if first.data.folds is None:
        return Trials(member, (_trial(member.name, first, source, runs),))
    return Trials(
        member,
        tuple(
            _trial(f"{member.name}, fold {fold}", _fold(source, changes, fold), source, runs)
            for fold in range(first.data.folds)
        ),
    )


def _trial(name: str, recipe: Recipe, source: Path, runs: Path) -> Trial:
    return Trial(name, recipe, source, runs / "ablations" / recipe.sha256())


def _fold(source: Path, changes: Sequence[str], fold: int) -> Recipe:
    return recipes.read(source, (*changes, f"data.fold={fold}"))
