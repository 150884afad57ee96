"""A family of recipes as a file: one base, members that differ from it, and the papers' rows beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from edgeskin import shipped
from edgeskin.benchmarks.papers import published
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, ModelCard, Name, Probability
from edgeskin.errors import EdgeskinError, RecipeError
from edgeskin.train import recipe as recipes
from edgeskin.train.recipe import Recipe

Told: TypeAlias = Literal["real", "unknown", "pattern"]
"""Which clinical fields are told where a member is measured: those of the table, none, or, without an image, only which
are unknown."""

RUN = "run"
"""The run folder beside a row."""
COSTS = ("size_mib", "latency_p50_ms")
"""The columns that an artifact has without images: what its file takes, and one pass on one thread of this machine."""


class MemberChoice(Frozen):
    """One member: the family's base with `set` on top, or another recipe. paper: `file/row` of a published figure.

    fields: what is told of a case. threshold: at or above it every sigmoid head decides yes, in place of the thresholds
    that the run chose. Members that differ in nothing else are one network, trained once.
    """

    name: str
    recipe: str | None = None
    fields: Told = "real"
    threshold: Probability | None = None
    changes: Annotated[tuple[str, ...], Field(alias="set")] = ()
    paper: str | None = None


class Family(Frozen):
    """A family file.

    base: a recipe beside the file, or a shipped one, of the members that name none. set: `key=value` overrides of every
    member, those of a member come after. metrics: the table's columns, by default those that the papers beside it
    print; `COSTS` among them are measured where they are named.
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
    """One recipe to train: a member's, or one fold of it.

    source: its file. run: its run folder. folder: where its row stands. fields, threshold: as its member's, where it is
    measured. costs: whether `COSTS` are measured.
    """

    name: str
    recipe: Recipe
    source: Path
    run: Path
    folder: Path
    fields: Told = "real"
    threshold: float | None = None
    costs: bool = False

    @property
    def as_trained(self) -> bool:
        """Whether the network is measured as it would ship, which counts as evidence of it."""
        return self.fields == "real" and self.threshold is None

    def card(self, card: ModelCard) -> ModelCard:
        """What is said of the network where it is measured."""
        if self.threshold is None:
            return card
        decided = {"threshold": self.threshold}
        heads = tuple(head.model_copy(update=decided) if head.kind == "sigmoid" else head for head in card.heads)
        return card.model_copy(update={"heads": heads})


@dataclass(frozen=True)
class Trials:
    """A member: its recipe once, or once a fold."""

    choice: MemberChoice
    each: tuple[Trial, ...]

    @property
    def average(self) -> Trial | None:
        """The folds as one network, which is measured and not trained; None for a recipe without folds, and where
        they are not measured as they would ship.

        Its row stands beside the first fold's: that recipe's hash holds how many folds there are.
        """
        first = self.each[0]
        if len(self.each) == 1 or not first.as_trained:
            return None
        name = f"{self.choice.name}, average of {len(self.each)} folds"
        return replace(first, name=name, folder=first.folder / "average")


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
    if member.fields != "real" and first.metadata is None:
        raise RecipeError(str(source), [f'fields is "{member.fields}", but this recipe is told none. Leave it out'])

    def trial(name: str, recipe: Recipe) -> Trial:
        home = own = runs / "ablations" / recipe.sha256()
        if member.fields != "real":
            own /= member.fields
        if member.threshold is not None:
            own /= f"at-{member.threshold:g}"
        made = Trial(name, recipe, source, home / RUN, own, member.fields, member.threshold)
        return replace(made, costs=made.as_trained and not set(COSTS).isdisjoint(family.metrics))

    if first.data.folds is None:
        return Trials(member, (trial(member.name, first),))
    return Trials(
        member,
        tuple(trial(f"{member.name}, fold {fold}", _fold(source, changes, fold)) for fold in range(first.data.folds)),
    )


def _fold(source: Path, changes: Sequence[str], fold: int) -> Recipe:
    return recipes.read(source, (*changes, f"data.fold={fold}"))
