"""A family of recipes side by side: what each network reached, over folds, beside the figures of a paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from edgeskin import files
from edgeskin.benchmarks.measurements import Interval
from edgeskin.benchmarks.papers import Paper, PaperRow
from edgeskin.benchmarks.spread import Spread
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.model import Frozen
from edgeskin.errors import RunError

NOT_RUN = "not run"
ROW = "row.json"

Network: TypeAlias = Literal["float", "int8"]
NETWORKS: tuple[Network, ...] = ("float", "int8")


class Measured(Frozen):
    """One trained recipe on one split.

    n: images measured on. data_list_sha256: of the ids of those that were wanted, also of what was left out as seen in
    training. trained_on_sha256: of the ids that training was given, `select` among them. sources: recipe's key ->
    SHA-256, of the files that training began from. figures: metric -> its value on the float and on the quantized
    network, None where it is undefined. intervals: likewise, 95 % bootstrap. not_exported: why the network cannot be
    exported; then the fake-quantized one stands for int8. commit: as `checkout.commit` told it when this was measured.
    date: UTC, ISO 8601.
    """

    dataset: str
    n: int
    data_list_sha256: str
    trained_on_sha256: str
    sources: dict[str, str] = Field(default_factory=dict)
    figures: dict[str, dict[Network, float | None]]
    intervals: dict[str, dict[Network, Interval]] = Field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    not_exported: str | None = None
    commit: str | None = None
    date: str | None = None


class Row(Frozen):
    """What is known of one recipe: the contents of `<hash>/row.json`. failed: why it has no newer figures, if so."""

    format: Literal[1] = 1
    recipe: str
    recipe_sha256: str
    splits: dict[str, Measured] = Field(default_factory=dict)
    failed: str | None = None

    @staticmethod
    def read(folder: Path) -> "Row | None":
        """The row in a folder, None where there is none. Raises: RunError where it is no row of ours."""
        path = folder / ROW
        if not path.is_file():
            return None
        try:
            return Row.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path}: {wrong_fields(error)}. Remove it; its recipe is then measured again") from error

    def write(self, folder: Path) -> None:
        """Keep the row; it is there wholly or not at all."""
        files.write_json(folder / ROW, self.model_dump(mode="json"))


class Member(Frozen):
    """One line of the table: a name, the seed of its recipe, the row of each fold (one without folds), that of the
    folds' average, and the paper's row beside it.
    """

    name: str
    seed: int = 1
    rows: tuple[Row | None, ...]
    average: Row | None = None
    paper: Paper | None = None
    printed: PaperRow | None = None


class Line(Frozen):
    """One member as it is printed.

    folds: of how many there are, `done` have figures. note: why figures are missing. average: figures of the folds'
    averaged answers.
    """

    name: str
    done: int
    folds: int
    note: str | None
    n: int | None
    printed_on: str | None
    printed: dict[str, str]
    figures: dict[Network, dict[str, Spread]]
    average: dict[Network, dict[str, Spread]] = Field(default_factory=dict)


class Table(Frozen):
    """The table of a family on one split. remarks: what must be said beside it. papers: how they and we measured."""

    family: str
    split: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    remarks: tuple[str, ...]
    papers: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a member failed."""
        return any(line.note is not None and line.note.startswith("failed") for line in self.lines)

    def markdown(self, *, papers: bool = True) -> str:
        """One row for the paper's figures and one for each of our networks; then what must be said beside them.

        papers: whether to say how they and we measured.
        """
        rows = [("network", "on", "folds", *self.metrics), ("---",) * (3 + len(self.metrics))]
        for line in self.lines:
            if line.printed:
                printed = (line.printed.get(metric, "") for metric in self.metrics)
                rows.append((f"{line.name}, paper", line.printed_on or "", "", *printed))
            for folds, figures in (
                (f"{line.done} of {line.folds}", line.figures),
                (f"average of {line.folds}", line.average),
            ):
                for network, spreads in figures.items():
                    cells = (str(spreads[metric]) if metric in spreads else "" for metric in self.metrics)
                    rows.append((f"{line.name}, {network}", f"{self.split}, {line.n} images", folds, *cells))
            if line.note is not None:
                rows.append((line.name, line.note, "", *("" for _ in self.metrics)))
        text = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
        said = (*self.remarks, *self.papers) if papers else self.remarks
        return "\n".join([text, "", *(f"- {remark}" for remark in said)]).rstrip() + "\n"


def table(family: str, split: str, members: Sequence[Member], metrics: Sequence[str] = ()) -> Table:
    """The members as a table.

    metrics: its columns; by default those of the papers' rows beside them, or, without papers, all that were measured.
    """
    lines = [_line(member, split) for member in members]
    columns = tuple(metrics) or _union(
        [line.printed for line in lines] or [{}], [line.figures.get("float", {}) for line in lines]
    )
    return Table(
        family=family,
        split=split,
        metrics=columns,
        lines=tuple(lines),
        remarks=tuple(_remarks(members, split)),
        papers=tuple(_protocols(members)),
    )


def _union(printed: Sequence[Mapping[str, object]], measured: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    known = dict.fromkeys(metric for figures in printed for metric in figures)
    return tuple(known or dict.fromkeys(metric for figures in measured for metric in figures))


def _line(member: Member, split: str) -> Line:
    measured = [row.splits[split] for row in member.rows if row is not None and split in row.splits]
    average = None if member.average is None else member.average.splits.get(split)
    failures = (row.failed for row in (*member.rows, member.average) if row is not None and row.failed is not None)
    failed = next(failures, None)
    missing = len(member.rows) - len(measured)
    note = f"failed: {failed}" if failed is not None else NOT_RUN if not measured else None
    if note is None and missing:
        note = f"{NOT_RUN}: {missing} of {len(member.rows)} folds"
    return Line(
        name=member.name,
        done=len(measured),
        folds=len(member.rows),
        note=note,
        n=max((one.n for one in measured), default=None),
        printed_on=None if member.printed is None else member.printed.data,
        printed={} if member.printed is None else {name: str(value) for name, value in member.printed.figures.items()},
        figures={network: _spreads(measured, network) for network in NETWORKS} if measured else {},
        average={network: _spreads([average], network) for network in NETWORKS} if average and not missing else {},
    )


def _spreads(measured: Sequence[Measured], network: Network) -> dict[str, Spread]:
    names = dict.fromkeys(name for one in measured for name in one.figures)
    spreads = {}
    for name in names:
        values = [one.figures[name].get(network) for one in measured if name in one.figures]
        low, high = measured[0].intervals.get(name, {}).get(network, (None, None))
        spread = Spread.of([value for value in values if value is not None])
        if len(measured) == 1 and low is not None and high is not None:
            spread = spread.model_copy(update={"ci95": (low, high)})
        spreads[name] = spread
    return spreads


def _short(commit: str | None) -> str:
    """A commit as people write it, a changed tree said."""
    if commit is None:
        return "unknown"
    return commit[:7] + (" with changes" if commit.endswith("-dirty") else "")


def _remarks(members: Sequence[Member], split: str) -> list[str]:
    """What must be said beside the figures, each once: where they come from, and the cautions of the data."""
    remarks: dict[str, None] = {}
    known = [
        one
        for member in members
        for row in (*member.rows, member.average)
        if row is not None and (one := row.splits.get(split)) is not None
    ]
    if known:
        seeds = ", ".join(map(str, sorted({member.seed for member in members})))
        commits = dict.fromkeys(_short(one.commit) for one in known)
        days = sorted({one.date[:10] for one in known if one.date is not None})
        when = f", {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
        remarks[f"seed {seeds}; commit {', '.join(commits)}{when}"] = None
    if any(one.intervals for one in known):
        remarks["in brackets: 95 % bootstrap intervals"] = None
    if any(len(member.rows) > 1 for member in members):
        remarks["ours: mean ± sample standard deviation over folds"] = None
    if any(member.average is not None and split in member.average.splits for member in members):
        remarks[
            "average: one network of all folds, whose probabilities, of every label and every mask pixel, are averaged "
            "before they are measured"
        ] = None
    for member in members:
        for row in member.rows:
            one = None if row is None else row.splits.get(split)
            if one is not None:
                remarks.update(dict.fromkeys(f"{one.dataset}: {caution}" for caution in one.cautions))
                if one.not_exported is not None:
                    remarks[
                        f"{member.name}: int8 stands for the fake-quantized network, and masks are compared at the "
                        f"network's own size, because it cannot be exported: {one.not_exported}"
                    ] = None
    return list(remarks)


def _protocols(members: Sequence[Member]) -> list[str]:
    """How the papers measured, and how ours differs, each once."""
    papers = {member.paper.title: member.paper for member in members if member.paper is not None}
    return [
        f"{title}, {whose}: {sentence}"
        for title, paper in papers.items()
        for whose, sentences in (("theirs", paper.protocol), ("ours", paper.differences))
        for sentence in sentences
    ]
