"""Reading what people declare in TOML: recipes, profiles and gates, all their mistakes at once."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from edgeskin.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Model = TypeVar("Model", bound=BaseModel)


Table: TypeAlias = dict[str, object]


def load(path: Path) -> Table:
    """The decoded contents of a TOML file. Raises: RecipeError where it cannot be read or is not TOML."""
    try:
        table: Table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(str(path), [f"cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise RecipeError(str(path), [f"is not UTF-8: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(str(path), [f"is not TOML: {error}"]) from error
    return table


def read(path: Path, model: type[Model]) -> Model:
    """Read a TOML file as `model`.

    Raises: RecipeError with one sentence per mistake: the key, what it holds, what is allowed; an unknown key comes
    with the nearest valid name.
    """
    return validate(load(path), model, str(path))


def merge(base: Table, over: Table) -> Table:
    """`base` with everything that `over` says instead, table by table; `key = false` takes a table of `base` away."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and value is False:
            del merged[key]
        elif isinstance(below, dict) and isinstance(value, dict):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def override(table: Table, assignment: str, source: str) -> None:
    """Change one value in place, given as `key.path=value` with the value in TOML (a bare word is a string).

    As in `merge`, `false` takes a table away.

    Raises: RecipeError where it is not an assignment or the path runs through something that is not a table.
    """
    path, separator, text = assignment.partition("=")
    if not separator or not path.strip():
        raise RecipeError(source, [f"--set {assignment}: write key=value, for instance --set qat.epochs=2"])
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, last = path.strip().split(".")
    place = table
    for parent in parents:
        below = place.setdefault(parent, {})
        if not isinstance(below, dict):
            raise RecipeError(source, [f"--set {assignment}: {parent} is a value, not a table"])
        place = below
    if value is False and isinstance(place.get(last), dict):
        del place[last]
    else:
        place[last] = value


def nearest(name: str, known: Iterable[str]) -> str:
    """How an error about an unknown name ends: the nearest valid name, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f". Known: {', '.join(names)}"


def wrong_fields(error: ValidationError) -> str:
    """What is wrong with a JSON file of ours, field by field, in one line; people do not write those by hand."""
    places = ((".".join(map(str, item["loc"])), item["msg"]) for item in error.errors())
    return "; ".join(f"{place}: {message}" if place else message for place, message in places)


def validate(value: object, model: type[Model], source: str) -> Model:
    """Check a decoded declaration against `model`. Raises: RecipeError as `read` does."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RecipeError(source, [_sentence(model, item) for item in error.errors()]) from error


def _sentence(model: type[BaseModel], item: object) -> str:
    assert isinstance(item, dict)
    location = item["loc"]
    key = ".".join(str(part) for part in location)
    match item["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(location[-1]), _valid_names(model, location[:-1]), n=1, cutoff=0.5)
            return f"{key} is not a known key" + (f"; did you mean {near[0]}?" if near else "")
        case "missing":
            return f"{key} is missing"
        case "value_error":
            return f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
        case "model_type":
            return f"{key} is {item['input']!r}: write a table, [{key}]"
        case _:
            message = item["msg"][0].lower() + item["msg"][1:]
            return f"{key} is {item['input']!r}: {message}"


def _valid_names(model: type[BaseModel], location: tuple[object, ...]) -> list[str]:
    """The keys allowed at a place in the declaration."""
    current: type[BaseModel] | None = model
    for part in location:
        field = _fields(current).get(str(part)) if current is not None else None
        current = _model_within(field.annotation) if field is not None else current
    return list(_fields(current)) if current is not None else []


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the names that stand in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_within(annotation: object) -> type[BaseModel] | None:
    """The pydantic model inside `Model`, `Model | None`, `dict[str, Model]` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_within(part)
        if found is not None:
            return found
    return None
