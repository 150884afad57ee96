"""What a mistake in a file is called: by its key and in our words, never in pydantic's."""

from typing import Annotated

import pytest
from pydantic import AfterValidator, Field, ValidationError

from edgeskin.contract import declaration
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import RecipeError


def _short(name: str) -> str:
    if len(name) > 3:
        raise ValueError("write three letters at most")
    return name


class Part(Frozen):
    least: int
    most: Annotated[int, Field(alias="highest")]


class Whole(Frozen):
    part: Part | None = None
    parts: dict[Annotated[str, AfterValidator(_short)], Part] = Field(default_factory=dict)
    words: tuple[str, ...] = ()
    loud: bool = False


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"lout": True}, "lout is not a known key; did you mean loud?"),
        ({"x": 1}, "x is not a known key. Known: part, parts, words, loud"),
        ({"part": {"least": 1, "highest": 2, "zzz": 3}}, "part.zzz is not a known key. Known: least, highest"),
        ({"part": 0.1}, "part is 0.1: write a table, [part] with least and highest"),
        ({"parts": {"abc": 0.1}}, "parts.abc is 0.1: write a table, [parts.abc] with least and highest"),
        ({"parts": {"long": {"least": 1, "highest": 2}}}, "parts.long: write three letters at most"),
        ({"words": "one"}, "words is 'one': write a list, as ['one']"),
        ({"loud": "often"}, "loud is 'often': write true or false"),
        ({"part": {"least": "a", "highest": 2}}, "part.least is 'a': input should be a valid integer"),
    ],
)
def test_a_mistake_is_told_by_its_key_and_what_to_write(value: object, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        declaration.validate(value, Whole, "a.toml")
    assert str(caught.value).startswith(f"a.toml: {sentence}")
    assert len(caught.value.problems) == 1


def test_wrong_fields_of_a_file_of_ours_are_told_in_one_line_and_the_rest_counted() -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"parts": {"long": {"least": 1, "highest": 2}}})
    assert declaration.wrong_fields(caught.value) == "parts.long: write three letters at most"
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"words": [1, 2, 3, 4, 5, 6, 7]})
    told = declaration.wrong_fields(caught.value)
    assert told.startswith("words.0: Input should be a valid string; words.1: ")
    assert told.endswith("words.4: Input should be a valid string; and 2 more")
