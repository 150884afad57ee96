"""Reading what people declare in TOML: recipes, profiles and gates, all their mistakes at once."""

import difflib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from edgeskin import shipped
from edgeskin.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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


def extended(path: Path, kind: str, moved: Callable[[Table, Path, Path], None] | None = None) -> Table:
    """The contents of a TOML file and of what it extends, where it does not say otherwise.

    `extends = "other.toml"` names a file beside it, or anywhere by its path; `extends = "other"` also a shipped one of
    its kind, as `shipped.find` takes it. What it says instead counts as in `merge`. moved: changes the contents of a
    file that is extended, in place, where they speak of what lies beside it: from its folder to that of the other.

    Raises: RecipeError where one of them cannot be read, is not there, or extends itself.
    """
    return _extended(path, kind, moved, ())


def _extended(
    path: Path, kind: str, moved: Callable[[Table, Path, Path], None] | None, seen: tuple[Path, ...]
) -> Table:
    if path.resolve() in [each.resolve() for each in seen]:
        raise RecipeError(str(path), [f"extends itself through {' → '.join(each.name for each in (*seen, path))}"])
    table = load(path)
    named = table.pop("extends", None)
    if named is None:
        return table
    if not isinstance(named, str):
        raise RecipeError(str(path), [f"extends is {named!r}; write the name of a file beside it, or of a shipped one"])
    beside = path.parent / named
    base = beside if beside.is_file() else shipped.folder(kind) / f"{named}.toml"
    if not base.is_file():
        trouble = f"extends {named!r}, but there is no file {beside}, and none of the shipped {kind} has that name"
        raise RecipeError(str(path), [trouble])
    below = _extended(base, kind, moved, (*seen, path))
    if moved is not None:
        moved(below, base.parent, path.parent)
    return merge(below, table)


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
    places = ((_key(item["loc"]), _said(item)) for item in error.errors()[:_SHOWN])
    told = [f"{place}: {message}" if place else message for place, message in places]
    left = error.error_count() - len(told)
    return "; ".join([*told, f"and {left} more"] if left else told)


_SHOWN = 5
"""Of more wrong fields than these the rest is counted."""


def validate(value: object, model: type[Model], source: str) -> Model:
    """Check a decoded declaration against `model`. Raises: RecipeError as `read` does."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RecipeError(source, [_sentence(model, item) for item in error.errors()]) from error


def _sentence(model: type[BaseModel], item: "ErrorDetails") -> str:
    location = item["loc"]
    key = _key(location)
    match item["type"]:
        case "extra_forbidden":
            known = list(_fields(_model_at(model, location[:-1])))
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            return f"{key} is not a known key" + (
                f"; did you mean {near[0]}?" if near else f". Known: {', '.join(known)}"
            )
        case "missing":
            return f"{key} is missing"
        case "value_error":
            return f"{key}: {_said(item)}" if key else _said(item)
        case "model_type":
            needed = [name for name, field in _fields(_model_at(model, location)).items() if field.is_required()]
            message = f"write a table, [{key}]" + (f" with {' and '.join(needed)}" if needed else "")
        case "tuple_type":
            message = f"write a list, as [{item['input']!r}]"
        case "bool_parsing" | "bool_type":
            message = "write true or false"
        case _:
            message = item["msg"][0].lower() + item["msg"][1:]
    return f"{key} is {item['input']!r}: {message}"


def _key(location: tuple[int | str, ...]) -> str:
    """A place in a file, by its keys; where a key itself is wrong, pydantic adds `[key]`, which is none."""
    return ".".join(str(part) for part in location if part != "[key]")


def _said(item: "ErrorDetails") -> str:
    """What is wrong at one place: our own words as they are, without pydantic's `Value error`."""
    return str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The table that stands at a place in a declaration."""
    current: type[BaseModel] | None = model
    for part in location:
        field = _fields(current).get(str(part))
        current = _model_within(field.annotation) if field is not None else current
    return current


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """A model's fields by the names that stand in a file."""
    return {} if model is None else {field.alias or name: field for name, field in model.model_fields.items()}


def _model_within(annotation: object) -> type[BaseModel] | None:
    """The pydantic model inside `Model`, `Model | None`, `dict[str, Model]` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_within(part)
        if found is not None:
            return found
    return None
