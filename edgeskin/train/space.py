"""A search space: which keys of a recipe are tried, and over what; all its mistakes before anything is trained."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue, PositiveInt, model_validator

from edgeskin import shipped
from edgeskin.contract import declaration
from edgeskin.contract.frozen import Frozen, Name
from edgeskin.errors import EdgeskinError, RecipeError
from edgeskin.train import recipe as recipes
from edgeskin.train.recipe import Check, Recipe

WORDS = {"low", "high", "log", "choices"}
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]
Number: TypeAlias = int | float


class Dimension(Frozen):
    """What one key may be: a number from `low` to `high`, both included, or one of `choices`, written as a plain list.

    Numbers are whole where both ends are written whole: 0 and 1 are two values, 0.0 and 1.0 all between. log: evenly
    on a logarithmic axis.
    """

    low: JsonValue = None
    high: JsonValue = None
    log: bool = False
    choices: tuple[JsonValue, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _is_written(cls, value: object) -> object:
        if isinstance(value, list):
            return {"choices": value}
        if not isinstance(value, dict):
            raise ValueError(f"is {value!r}; write {{ low = …, high = … }} or a list of values")
        if not WORDS & set(value):
            raise ValueError('is a table of other keys; write the whole key in quotes: "float.learning_rate" = { … }')
        return value

    @model_validator(mode="after")
    def _has_something_to_try(self) -> "Dimension":
        if self.choices:
            texts = [toml(choice) for choice in self.choices]
            if any(isinstance(choice, dict) or choice is None for choice in self.choices):
                raise ValueError("a choice is a value or a list; for a table, search over its keys")
            if len(set(texts)) < max(2, len(texts)):
                raise ValueError(f"choices are {', '.join(texts)}; write at least two, each once")
            return self
        low, high = (_number(name, value) for name, value in (("low", self.low), ("high", self.high)))
        if low >= high:
            raise ValueError(f"low is {low}, high is {high}; low must be the smaller")
        if self.log and low <= 0:
            raise ValueError(f"low is {low}; a logarithmic axis begins above 0")
        return self

    @property
    def ends(self) -> tuple[Number, Number] | None:
        """Both ends of a range; None of choices."""
        if self.choices:
            return None
        low, high = _number("low", self.low), _number("high", self.high)
        return (low, high) if self.whole else (float(low), float(high))

    @property
    def whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def extremes(self) -> tuple[str, ...]:
        """The values, in TOML, between which all others lie: both ends, or every choice."""
        return tuple(toml(value) for value in self.ends or self.choices)


def _number(name: str, value: JsonValue) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {'missing' if value is None else repr(value)}; write a number")
    return value


def toml(value: object) -> str:
    """A value as TOML spells it, which is also how `--set` takes it; tables are not among them."""
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


class Pruner(Frozen):
    """When a trial is given up: `median`, where its best `select` score so far is below the median of the others'.

    startup_trials: so many are trained to their end first. warmup_epochs: of each trial, never given up.
    """

    kind: Literal["median", "none"] = "median"
    startup_trials: PositiveInt = 5
    warmup_epochs: Annotated[int, Field(ge=0)] = 3


class SearchSpace(Frozen):
    """A search file.

    recipe: beside the file, or a shipped one. set: `key=value` overrides of every trial. trials: how many.
    seed: of what is tried; every trial trains with the recipe's own.
    """

    format: Literal[1] = 1
    name: Name
    recipe: str
    changes: Annotated[tuple[str, ...], Field(alias="set")] = ()
    trials: PositiveInt = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    pruner: Pruner = Pruner()
    space: Annotated[dict[Key, Dimension], Field(min_length=1)]

    @model_validator(mode="after")
    def _keys_stand_apart(self) -> "SearchSpace":
        table: declaration.Table = {}
        for change in self.changes:
            declaration.override(table, change, self.name)
        if any("{" in change.partition("=")[2] for change in self.changes):
            raise ValueError("set: a table cannot be set as a whole; write its keys one by one")
        keys = [*self.space, *(key for key, _ in leaves(table))]
        for key in keys:
            within = next((other for other in keys if other.startswith(f"{key}.")), None)
            if within is not None:
                raise ValueError(f"{key} and {within}: one is part of the other; search over one of them")
        return self


@dataclass(frozen=True)
class Ground:
    """A space that was tried at its ends. base: the recipe's file. corner: the recipe with every key at its first end.

    float_epochs: the most that the float phase of a trial may have.
    """

    space: SearchSpace
    base: Path
    corner: Recipe
    float_epochs: int

    def recipe(self, assignments: tuple[str, ...]) -> Recipe:
        """The recipe of one trial. Raises: RecipeError where the values do not fit each other."""
        return recipes.read(self.base, (*self.space.changes, *assignments))


def leaves(table: declaration.Table, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted keys and their values."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def base_of(path: Path, space: SearchSpace) -> Path:
    """The recipe that a search file names: beside it, or shipped. Raises: RecipeError where there is none."""
    beside = path.parent / space.recipe
    if beside.is_file():
        return beside
    try:
        return shipped.find("recipes", space.recipe)
    except EdgeskinError as error:
        raise RecipeError(str(path), [f"recipe: {error}"]) from error


def survey(path: Path, space: SearchSpace, check: Check | None = None) -> Ground:
    """Try a space at its ends: each key at each of its extremes, the others at their first.

    check: what else a recipe must hold, data for instance. Values in between, and other combinations, are only met when
    they are tried.

    Raises: RecipeError with every mistake at once.
    """
    base = base_of(path, space)
    first = {key: dimension.extremes[0] for key, dimension in space.space.items()}
    corners = [first]
    corners += [{**first, key: text} for key, each in space.space.items() for text in each.extremes[1:]]
    found: dict[str, None] = {}
    read: list[Recipe] = []
    for corner in corners:
        changed = [f"with {key}={text}: " for key, text in corner.items() if text != first[key]]
        try:
            read.append(recipes.read(base, (*space.changes, *assignments(corner)), check))
        except RecipeError as error:
            new = [problem for problem in error.problems if problem not in found]
            found.update(dict.fromkeys(new if corner is first else [f"{''.join(changed)}{problem}" for problem in new]))
    if not found:
        found.update(dict.fromkeys(_of_another_kind(space, read[0])))
    if found:
        raise RecipeError(str(path), list(found))
    return Ground(space, base, read[0], max(recipe.float_phase.epochs for recipe in read))


def assignments(values: dict[str, str]) -> tuple[str, ...]:
    """Values in TOML as `--set` takes them."""
    return tuple(f"{key}={text}" for key, text in values.items())


def _of_another_kind(space: SearchSpace, recipe: Recipe) -> list[str]:
    """Whole numbers where the recipe has fractions would try two values of thousands; fractions would not fit."""
    table = recipe.model_dump(by_alias=True)
    problems = []
    for key, dimension in space.space.items():
        if dimension.ends is None:
            continue
        value: object = table
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else None
        low, high = dimension.ends
        if dimension.whole and isinstance(value, float):
            problems.append(f"space.{key}: {low} to {high} are whole numbers; write {float(low)} and {float(high)}")
        if not dimension.whole and isinstance(value, int):
            problems.append(f"space.{key}: low is {low}, high is {high}; the recipe takes whole numbers only")
    return problems


def read(path: Path) -> SearchSpace:
    """Read a search file. Raises: RecipeError with every mistake of its form."""
    return declaration.read(path, SearchSpace)
