"""What the papers report, as data (`benchmarks/papers/*.toml`): figures under our names, and how they were measured."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from edgeskin import shipped
from edgeskin.benchmarks.spread import Spread
from edgeskin.contract import declaration
from edgeskin.contract.declaration import nearest
from edgeskin.contract.model import Frozen
from edgeskin.errors import RecipeError


class Printed(Frozen):
    """A printed figure, as a fraction of 1, with its deviation over folds or images where one is printed."""

    mean: float
    sd: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, value: object) -> object:
        return {"mean": value} if isinstance(value, int | float) else value

    def __str__(self) -> str:
        """As it is printed in a table."""
        return str(Spread(mean=self.mean, sd=self.sd, n=1))


class PaperRow(Frozen):
    """One network of a paper. data: what it was measured on. line: of the text file. figures: by our names."""

    name: str
    data: str
    line: PositiveInt
    figures: Annotated[dict[str, Printed], Field(min_length=1)]


class Paper(Frozen):
    """A paper's figures. source: its text file. protocol: how it measured. differences: how ours measure otherwise."""

    format: Literal[1] = 1
    title: str
    source: str
    protocol: tuple[str, ...]
    differences: tuple[str, ...]
    rows: Annotated[tuple[PaperRow, ...], Field(min_length=1)]

    @staticmethod
    def find(name: str) -> "Paper":
        """A paper by file or shipped name. Raises: EdgeskinError, RecipeError with every mistake of the file."""
        return declaration.read(shipped.find("papers", name), Paper)


def published(reference: str, folder: Path | None = None) -> tuple[Paper, PaperRow]:
    """The row that `paper/row` names, such as `joint_reverse_mtl_2024/MTL0`.

    folder: where papers of one's own stand, looked into first. Raises: EdgeskinError, or RecipeError that names the
    nearest row.
    """
    name, _, row = reference.partition("/")
    own = None if folder is None else folder / f"{name}.toml"
    paper = Paper.find(str(own) if own is not None and own.is_file() else name)
    rows = {each.name: each for each in paper.rows}
    if row not in rows:
        raise RecipeError(reference, [f"{name} has no row {row!r}{nearest(row, rows)}"])
    return paper, rows[row]
