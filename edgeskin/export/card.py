"""`MODEL_CARD.md`: what a network is for, what it was measured to do, and what nobody measured; for people.

Every figure comes from the report and the Graph's evidence. What neither holds is not in it, or is said to be missing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeskin import files
from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.markup import code, items, table, text
from edgeskin.benchmarks.measurements import AccuracyReport, Measurements
from edgeskin.benchmarks.report import Report, markdown, words
from edgeskin.benchmarks.report.words import NOT_MEASURED, counts, many, number, unit
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.data import datasets
from edgeskin.graph.folder import Graph

NAME = "MODEL_CARD.md"
_LAYOUTS = (
    datasets.ISIC2016,
    datasets.ISIC2017,
    datasets.ISIC2018_OFFICIAL,
    datasets.HAM10000,
    datasets.PAD_UFES_20,
    datasets.PH2_OFFICIAL,
)
"""The data sets whose licence edgeskin knows."""


def write(folder: Path, report: Report, graph: Graph) -> None:
    """Write the model card into a folder. graph: what the report is of. Raises: GraphError for damaged evidence."""
    known = [entry for entry in evidence.read(graph.evidence) if entry.graph_sha256 == graph.sha256]
    files.write_text(folder / NAME, render(report, graph.card, known))


def render(report: Report, card: ModelCard, known: Sequence[EvidenceEntry] = ()) -> str:
    """The model card as GitHub-flavoured Markdown. known: evidence of the very Graph that it is of, oldest first."""
    sections = (
        _head(report, card),
        _limits(report, card),
        _answers(card),
        _data(card),
        *_accuracy(report, known),
        _artifact(report, card),
        _device(report.measurements),
        _open(report),
        _origin(report, card),
    )
    return "\n\n".join(sections) + "\n"


def licence_of(data: str) -> str:
    """The licence of a data set, in a sentence; '' where edgeskin does not know it."""
    return next((layout.licence for layout in _LAYOUTS if layout.name == data), "").strip()


def _head(report: Report, card: ModelCard) -> str:
    return _section(
        f"# {text(f'{card.name} {card.version}, {report.target} {report.form or report.precision}')}",
        f"**Intended use.** {text(card.intended_use)}",
        f"**Gate.** {code(report.gate)}, {report.verdict.state}: {counts(report.verdict)}.",
        f"**Licence.** {text(card.licence)}",
    )


def _limits(report: Report, card: ModelCard) -> str:
    """Those of the network; what its machine was like stands beside the times."""
    others = (card.intended_use, *words.of_machine(report.measurements))
    told = dict.fromkeys((*card.provenance.notes, *report.cautions))
    return _section("## Limits", items(sentence for sentence in told if sentence not in others))


def _answers(card: ModelCard) -> str:
    rows = [(head.name, head.kind, ", ".join(head.labels), _decision(head)) for head in card.heads]
    takes = [f"a photo, letterboxed to {card.size} × {card.size} pixels, RGB"]
    if card.metadata is not None:
        takes.append(
            f"metadata ({', '.join(field.name for field in card.metadata.fields)}), each of which may be unknown"
        )
    twice = "" if card.second_pass is None else f" It runs twice: {', '.join(card.second_pass.heads)} from the second."
    return _section(
        "## What it answers",
        text(f"It takes {'; '.join(takes)}.{twice}"),
        table(("head", "kind", "labels", "decides"), rows),
    )


def _decision(head: HeadSpec) -> str:
    return "the largest probability" if head.threshold is None else f"yes from {number(head.threshold)} on"


def _data(card: ModelCard) -> str:
    known = card.provenance
    rows = [(name, licence_of(name) or "not known to edgeskin; ask who publishes it") for name in known.data]
    held = f"; {len(known.select_ids)} of its images were kept from training, to choose by" if known.select_ids else ""
    return _section(
        "## Training data",
        table(("data set", "licence"), rows),
        f"Recipe {code(known.recipe)}, seed {known.seed}{held}. The list of training images has the SHA-256 "
        f"{code(known.data_list_sha256)}.",
    )


def _accuracy(report: Report, known: Sequence[EvidenceEntry]) -> Iterator[str]:
    """A section for each split that was measured, the report's own first."""
    own, form = report.measurements.accuracy, report.form or report.precision
    found = {} if own is None else {(own.dataset, own.split, own.metadata): own}
    for entry in reversed(known):
        if entry.speaks_of(form):
            found.setdefault((entry.dataset, entry.split, entry.metadata), entry.inherited(form))
    if not found:
        yield _section("## Accuracy", f"{NOT_MEASURED.capitalize()}.")
    for one in found.values():
        yield _of_split(one, form)


def _of_split(one: AccuracyReport, form: str) -> str:
    given = "" if one.metadata is None else f", metadata {one.metadata}"
    when = "measured for this bundle" if one.inherited_from is None else f"measured on {one.inherited_from}"
    parts = [
        f"## Accuracy on {text(f'{one.dataset}, {one.split}{given}')}",
        f"{many(one.n, 'image')}, {text(when)}.",
        *(text(f"Caution: {sentence.rstrip('.')}.") for sentence in one.cautions),
        markdown.figures(one, form),
    ]
    if one.subgroups:
        parts.append(markdown.subgroups(one.subgroups, form))
    elif one.subgroups is None:
        parts.append(f"By subgroup: {NOT_MEASURED}.")
    return _section(*parts)


def _artifact(report: Report, card: ModelCard) -> str:
    measured, place = report.measurements, report.measurements.placement
    integer = NOT_MEASURED
    if place is not None and place.integer_convolutions is not None:
        integer = f"{place.integer_convolutions} of {place.convolutions}"
    rows = [
        ("file", report.artifact),
        ("SHA-256", report.artifact_sha256),
        ("computes in", report.form or report.precision),
        ("size", unit(measured.size_mib, "MiB")),
        ("convolutions run as integers", integer),
        ("kept in float on purpose", ", ".join(card.kept_float) or "nothing but the final sigmoid and softmax"),
    ]
    return _section("## The artifact", text(report.verification), table(("", ""), rows))


def _device(measured: Measurements) -> str:
    device = measured.device
    if device is None:
        return _section("## On a device", f"{NOT_MEASURED.capitalize()}.")
    named = ", ".join(name for name in (device.board, device.gpu, device.cpu) if name)
    return _section("## On a device", text(f"Measured on {named}, {device.os}."), *markdown.resources(measured))


def _open(report: Report) -> str:
    """Everything that was asked of the bundle, or is asked of every bundle, and that nobody measured."""
    measured = report.measurements
    absent = {
        "accuracy": measured.accuracy is None,
        "numerics": measured.equivalent is None,
        "latency": not measured.latency,
        "memory": measured.memory is None or measured.memory.peak_mib is None,
        "size": measured.size_mib is None,
    }
    told = {name: "" for name, missing in absent.items() if missing} | measured.not_measured
    sentences = [f"{name}{': ' if reason else ''}{reason}" for name, reason in told.items()]
    sentences += [
        f"{promise.name}, which the gate asks for"
        for promise in report.verdict.promises
        if promise.measured is None and promise.section not in told
    ]
    nothing = "Nothing that the gate asks for. What is not in this card was not measured either."
    return _section("## Not measured", items(sentences) if sentences else nothing)


def _origin(report: Report, card: ModelCard) -> str:
    first = f"Written by edgeskin {report.edgeskin_version} from what was measured until {report.created} of the Graph"
    last = f"which was trained with edgeskin {card.provenance.edgeskin_version}."
    return _section("## Origin", f"{text(first)} {code(report.graph_sha256)}, {text(last)}")


def _section(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
