"""What every value between rooms is made of."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Frozen(BaseModel):
    """A value between rooms: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def without_absent(written: Mapping[str, object], *names: str) -> dict[str, object]:
    """What is written of a value, without those of `names` that are None.

    A key that came later is left out where a file does not need it, so that what an older edgeskin wrote keeps its
    bytes, and with them its hash.
    """
    return {name: value for name, value in written.items() if value is not None or name not in names}
