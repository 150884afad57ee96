"""The page itself: verdict first, what stands against it, then everything that it rests on."""

from collections.abc import Iterator, Sequence
from itertools import groupby, starmap
from pathlib import Path

from edgeskin.benchmarks import latency
from edgeskin.benchmarks.drawing import Child, Markup, element, joined
from edgeskin.benchmarks.gate import Promise, State
from edgeskin.benchmarks.measurements import LatencyFigure, Measurements, MetricFigure, SpeedRatio
from edgeskin.benchmarks.report.html import machine
from edgeskin.benchmarks.report.html.accuracy import accuracy
from edgeskin.benchmarks.report.html.parts import Column, facts, group, listed, plain, section, state, table
from edgeskin.benchmarks.report.html.repair import repair
from edgeskin.benchmarks.report.model import Report
from edgeskin.benchmarks.report.picture import Picture
from edgeskin.benchmarks.report.words import (
    DOUBTED,
    MARKS,
    cautions,
    claimed,
    counts,
    decimals,
    faster,
    judged,
    number,
    unit,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is loaded from anywhere, and no script runs."""
_STYLE = Path(__file__).with_name("style.css")
_PARTS = {
    "promises": "Promises",
    "accuracy": "Accuracy",
    "repair": "Repair",
    "numerics": "Numerics",
    "speed": "Speed",
    "size": "Size",
    "memory": "Memory",
    "placement": "Placement",
    "device": "Device",
    "about": "What this is about",
}


def render(report: Report, pictures: Sequence[Picture] = ()) -> str:
    """The whole page. pictures: the worst cases with truth and answer, where the viewer has them."""
    measured = report.measurements
    reasons = measured.not_measured
    title = f"{report.name} {report.version}, {report.target} {report.form or report.precision}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title}: {report.verdict.state}"),
        element("style", Markup("\n" + _STYLE.read_text(encoding="utf-8"))),
    )
    body = element(
        "body",
        _header(report, title),
        element(
            "main",
            _tiles(measured, report),
            _promises(report),
            accuracy(measured.accuracy, reasons.get("accuracy"), pictures),
            None if report.repair is None else repair(report.repair),
            machine.numerics(measured.numerics, reasons.get("numerics")),
            machine.speed(measured),
            machine.size(measured, report.layer_sizes),
            machine.memory(measured),
            machine.placement(measured.placement, reasons.get("placement")),
            machine.device(measured.device),
            _attestations(report),
            _cautions(report),
            _about(report),
        ),
        element("footer", f"Written by edgeskin {report.edgeskin_version}, {report.created}."),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(report: Report, title: str) -> Markup:
    verdict = report.verdict
    form = report.form or report.precision
    badge = element("span", f"{MARKS[verdict.state]} {verdict.state.capitalize()}", class_=f"badge {verdict.state}")
    inside = element(
        "div",
        element("h1", f"{report.name} {report.version}"),
        element("p", f"{report.target} {form}, gate {report.gate}, profile {report.profile}", class_="kind"),
        element("div", badge, element("span", f"{counts(verdict)} (exit code {verdict.exit_code})"), class_="verdict"),
        element("p", report.verification),
        element("ul", *starmap(_in_the_way, verdict.against), class_="trouble") if verdict.against else None,
        _navigation(report),
    )
    return element("header", inside, aria_label=title)


def _navigation(report: Report) -> Markup:
    there = {anchor: name for anchor, name in _PARTS.items() if anchor != "repair" or report.repair is not None}
    return element("nav", *(element("a", name, href=f"#{anchor}") for anchor, name in there.items()), aria_label="Page")


def _in_the_way(came_out: State, names: str, sentence: str) -> Markup:
    return element("li", state(came_out), " ", element("code", names), f" {sentence}", class_=came_out)


# --- the main figures ---


def _tiles(measured: Measurements, report: Report) -> Markup | None:
    tiles = [*_accuracy_tiles(measured), *_machine_tiles(measured, report)]
    return element("ul", *tiles, class_="tiles", aria_label="Main figures") if tiles else None


def _accuracy_tiles(measured: Measurements) -> Iterator[Markup]:
    figures = {} if measured.accuracy is None else measured.accuracy.metrics
    aurocs = [
        name for name in figures if name.endswith("_auroc") and f"{name.removesuffix('_auroc')}_sensitivity" in figures
    ]
    balanced = [name for name in figures if name.endswith("_balanced_accuracy") and name not in _decided(aurocs)]
    for name in ("mask_jaccard", *aurocs[:2], *balanced[:1]):
        if name in figures and figures[name].int8 is not None:
            yield _tile(plain(name), decimals(figures[name].int8)[:-1], *_beside(figures[name]))


def _decided(aurocs: Sequence[str]) -> set[str]:
    """The balanced accuracies of yes-or-no heads, which depend on a threshold."""
    return {f"{name.removesuffix('_auroc')}_balanced_accuracy" for name in aurocs}


def _beside(one: MetricFigure) -> Iterator[str]:
    if one.float is not None:
        yield f"float {one.float:.3f}"
    ends = claimed(one)
    if ends is not None:
        yield f"95 %: {ends[0]:.3f} – {ends[1]:.3f}"


def _machine_tiles(measured: Measurements, report: Report) -> Iterator[Markup]:
    timed = measured.model_latency(report.precision)
    if timed is not None and timed.p90_ms is not None:
        yield _tile(
            "latency p90", _doubted(f"{number(timed.p90_ms, 3)} ms", timed), *_beside_time(timed, measured.speed)
        )
    if measured.size_mib is not None:
        yield _tile("size", unit(float(f"{measured.size_mib:.3g}"), "MiB"), report.artifact)
    if measured.memory is not None and measured.memory.total_mib is not None:
        yield _tile("peak memory", f"{measured.memory.total_mib:.0f} MiB", "above Python with NumPy and edgeskin")
    place = measured.placement
    if place is not None and place.integer_fraction is not None:
        yield _tile(
            "integer convolutions",
            f"{place.integer_fraction:.0%}",
            f"{place.integer_convolutions} of {place.convolutions}",
        )


def _beside_time(timed: LatencyFigure, ratio: SpeedRatio | None) -> Iterator[Child]:
    yield f"threads: {timed.threads}"
    told = faster(ratio)
    if ratio is not None and told is not None:
        yield _doubted(told[0], ratio)
    if any(one is not None and latency.warning(one) for one in (timed, ratio)):
        yield element("a", f"{DOUBTED} doubtful, see Speed", href="#speed", class_="doubt")


def _doubted(words: str, figure: LatencyFigure | SpeedRatio) -> str:
    return f"{words} {DOUBTED}" if latency.warning(figure) else words


def _tile(name: str, value: str, *beside: Child) -> Markup:
    return element("li", element("span", name), element("b", value), *(element("span", words) for words in beside))


# --- promises ---


def _promises(report: Report) -> Markup:
    promises = report.verdict.promises
    if not promises:
        nothing = element("p", "The gate promises nothing of this network, and that is not a pass.")
        return section("promises", "Promises", nothing)
    columns = (
        Column("promise"),
        Column("measured, and its limit", number=True),
        Column("state"),
    )
    rows: list[Sequence[Child] | Markup] = []
    for name, members in groupby(sorted(promises, key=_section_of), key=lambda promise: promise.section):
        rows.append(group(name, len(columns)))
        rows += [_promise(promise, report) for promise in members]
    return section("promises", "Promises", table("One number against one limit each", columns, rows, kind="promises"))


_SECTIONS = ("accuracy", "numerics", "latency", "size", "memory", "placement")


def _section_of(promise: Promise) -> int:
    return _SECTIONS.index(promise.section) if promise.section in _SECTIONS else len(_SECTIONS)


def _promise(promise: Promise, report: Report) -> Sequence[Child]:
    bound = {"at most": "≤", "at least": "≥"}[promise.comparison]
    why = element("span", promise.sentence, class_="row faint small") if promise.state == "reported" else None
    return (
        joined((plain(promise.name), why)),
        joined((element("b", judged(promise, report, 4)), element("span", f"{bound} {number(promise.limit, 4)}"))),
        joined((state(promise.state), None if promise.attested_by is None else f" on {promise.attested_by}")),
    )


# --- the rest ---


def _attestations(report: Report) -> Markup | None:
    if not report.attestations:
        return None
    return section("attestations", "Attestations", listed(one.sentence for one in report.attestations))


def _cautions(report: Report) -> Markup | None:
    told = cautions(report)
    return section("cautions", "What to know beside the figures", listed(told)) if told else None


def _about(report: Report) -> Markup:
    commands = "\n".join(f"{word + ':':<10} {command}" for word, command in report.next_commands)
    return section(
        "about",
        "What this is about",
        facts(
            (
                ("artifact", element("code", report.artifact)),
                ("its sha256", element("span", report.artifact_sha256, class_="hash")),
                ("graph sha256", element("span", report.graph_sha256, class_="hash")),
                ("made", f"{report.created}, edgeskin {report.edgeskin_version}"),
            )
        ),
        element("pre", element("code", commands), tabindex="0") if commands else None,
    )
