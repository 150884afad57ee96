"""`evidence.json` of a Graph folder: what was measured on real images, one entry an evaluation, only ever appended.

A bundle exported where no data is may rest on it (inherited), if the Graph is the same to the byte. Each entry holds a
checksum of itself, by which damage and a slip of the hand are seen; whoever means to deceive writes it anew. A bundle's
report names the checksum of the entry that it rests on, so that a signature of the bundle covers it.
"""

import hashlib
import json
import shlex
from datetime import datetime, timezone
from pathlib import Path

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from edgeskin import files
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    Confusion,
    Count,
    Curves,
    Form,
    MetadataGiven,
    MetricFigure,
    SubgroupFigure,
    WorstCase,
    at_most_of,
)
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen, without_absent
from edgeskin.errors import EdgeskinError, GraphError


class EvidenceEntry(Frozen):
    """One evaluation of one Graph on one split.

    graph_sha256: `Graph.sha256`. form: of the network in the columns `int8`, None for int8 itself. metadata: what the
    network was given beside the image, None where it takes the image alone. n: images of the split. data_list_sha256:
    hash of their sorted ids. tool_versions: by name, those that could change a figure. date: UTC, ISO 8601. subgroups,
    curves, worst, seen_in_training, weakest: as in `AccuracyReport`. sha256: of all the rest, None in what an older
    edgeskin wrote.
    """

    graph_sha256: str
    dataset: str
    split: str
    form: Form | None = None
    metadata: MetadataGiven | None = None
    n: Count
    metrics: dict[str, MetricFigure]
    confusion: dict[str, Confusion] = Field(default_factory=dict)
    data_list_sha256: str
    tool_versions: dict[str, str]
    date: str
    cautions: tuple[str, ...] = ()
    subgroups: tuple[SubgroupFigure, ...] | None = None
    curves: Curves | None = None
    worst: dict[str, tuple[WorstCase, ...]] | None = None
    seen_in_training: tuple[str, ...] | None = None
    weakest: dict[str, Count] | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _of_its_images(self) -> "EvidenceEntry":
        at_most_of(self.metrics, self.n)
        return self

    @model_serializer(mode="wrap")
    def _write(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return without_absent(written(self), *_LATER)

    @staticmethod
    def of(report: AccuracyReport, graph_sha256: str, tool_versions: dict[str, str]) -> "EvidenceEntry":
        """A measured report as evidence, dated now."""
        assert report.inherited_from is None, "evidence is measured, never inherited"
        return EvidenceEntry(
            **report.model_dump(exclude={"inherited_from", "inherited_sha256"}),
            graph_sha256=graph_sha256,
            tool_versions=tool_versions,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def inherited(self, form: Form) -> AccuracyReport:
        """The same figures as a report that says where they come from, for an artifact of a form that it speaks of.

        An fp32 or fp16 artifact is equivalent to the float network, so it inherits the float figures and drops nothing.
        """
        assert self.speaks_of(form)
        own = {"graph_sha256", "tool_versions", "date", "sha256"}
        report = AccuracyReport(**self.model_dump(exclude=own), inherited_from=self.date, inherited_sha256=self.sha256)
        if form not in _FLOAT:
            return report
        metrics = {name: figure.of_float() for name, figure in self.metrics.items()}
        confusion = {name: one.model_copy(update={"int8": one.float}) for name, one in self.confusion.items()}
        return report.model_copy(
            update={
                "form": None,
                "metrics": metrics,
                "confusion": confusion,
                "subgroups": self.subgroups and tuple(one.of_float() for one in self.subgroups),
                "curves": self.curves and self.curves.of_float(),
                "worst": None,
            }
        )

    def speaks_of(self, form: Form) -> bool:
        """Whether its figures are those of a form: of its own, and of float, which every entry is measured beside."""
        return form in _FLOAT or form == (self.form or "int8")

    def sealed(self) -> "EvidenceEntry":
        """The same with the checksum of what it says now."""
        return self.model_copy(update={"sha256": _checksum(self.model_dump(mode="json"))})


_LATER = ("metadata", "form", "subgroups", "curves", "worst", "seen_in_training", "weakest", "sha256")
"""Keys that came later: entries without them keep their bytes."""
_FLOAT: tuple[Form, ...] = ("fp32", "fp16")
_WHOLE = 0.9
"""Of the images of an older entry; a few go when copies are found among them, a dozen left of 346 is another set."""
_ENTRIES = TypeAdapter(tuple[EvidenceEntry, ...])


def read(path: Path) -> tuple[EvidenceEntry, ...]:
    """All entries, oldest first; none where the file does not exist yet.

    Raises: GraphError that names the file and the wrong field, or the entry that was changed.
    """
    try:
        text = path.read_bytes()
        entries = _ENTRIES.validate_json(text)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = wrong_fields(error)
        raise GraphError(f"{path}: {problems}. Evidence is written by `edgeskin evaluate`, never by hand") from error
    for entry, written in zip(entries, json.loads(text), strict=True):
        if entry.sha256 not in (None, _checksum(written)):
            raise GraphError(
                f"{path}: the entry of {entry.date} on {entry.split} was changed since it was measured. Restore the "
                "file, or remove the entry and measure again: edgeskin evaluate"
            )
    return entries


def _checksum(written: dict[str, object]) -> str:
    """Of an entry as it stands in the file: keys that a later edgeskin adds are not in those that it finds."""
    text = files.json_text({key: value for key, value in written.items() if key != "sha256"})
    return hashlib.sha256(text.encode()).hexdigest()


def find(
    path: Path,
    graph_sha256: str,
    split: str,
    dataset: str | None = None,
    *,
    metadata: MetadataGiven | None = None,
    form: Form = "int8",
) -> EvidenceEntry | None:
    """The newest entry of this very Graph on `split` (of `dataset`, if given) with such metadata and form, or None.

    One of far fewer images does not take the place of an older one of the same data set, split and form.

    Raises: as `read`.
    """
    known = of(path, graph_sha256, dataset, metadata=metadata)
    found: EvidenceEntry | None = None
    for entry in known:
        if entry.split == split and entry.speaks_of(form) and not _is_part_of(entry, found):
            found = entry
    return found


def _is_part_of(newer: EvidenceEntry, older: EvidenceEntry | None) -> bool:
    """Whether one was measured on a part of what another was; images that training met were part of both."""
    if older is None or (older.dataset, older.form) != (newer.dataset, newer.form):
        return False
    return newer.n + len(newer.seen_in_training or ()) < _WHOLE * older.n


def of(
    path: Path, graph_sha256: str, dataset: str | None = None, *, metadata: MetadataGiven | None = None
) -> tuple[EvidenceEntry, ...]:
    """Every entry of this very Graph (of `dataset`, if given) with such metadata, on whatever split, oldest first.

    Raises: as `read`.
    """
    return tuple(
        entry
        for entry in read(path)
        if (entry.graph_sha256, entry.metadata) == (graph_sha256, metadata) and dataset in (None, entry.dataset)
    )


def refuse_second_test(
    path: Path,
    graph_sha256: str,
    dataset: str,
    split: str,
    metadata: MetadataGiven | None = None,
) -> None:
    """Called before a split is looked at: a test split is for one look a release, whatever it shows.

    split: one, or several joined by `+`. metadata: a network that takes it is looked at with real metadata once, and
    with all unknown once, in whichever form.

    Raises: EdgeskinError where test is among the splits and this Graph already met it so.
    """
    key = (graph_sha256, dataset, metadata)
    looks = [entry for entry in read(path) if (entry.graph_sha256, entry.dataset, entry.metadata) == key]
    earlier = next((entry for entry in looks if touches_test(entry.split)), None)
    if earlier is not None and touches_test(split):
        raise EdgeskinError(
            f"{path}: this network was evaluated on the test split of {dataset} on {earlier.date}; a test split is "
            "touched once per release. Read that entry, or evaluate on val: "
            f"edgeskin evaluate {shlex.quote(str(path.parent))} --split val"
        )


def touches_test(split: str) -> bool:
    """Whether test is among the splits joined by `+`."""
    return "test" in (part.strip() for part in split.split("+"))


def append(path: Path, entry: EvidenceEntry) -> None:
    """Add an entry behind the others, which stay as they are.

    Raises: EdgeskinError for a second test entry (`refuse_second_test`) or where the file cannot be written; GraphError
    where what is there cannot be read. Nothing is changed then.
    """
    refuse_second_test(path, entry.graph_sha256, entry.dataset, entry.split, entry.metadata)
    older = json.loads(path.read_bytes()) if path.exists() else []
    files.write_json(path, [*older, entry.sealed().model_dump(mode="json")])
