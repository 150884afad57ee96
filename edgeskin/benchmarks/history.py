"""A chart over releases: a small picture of each main figure, one point a report, with its interval.

Points are joined where they may be compared: accuracy on the same split of the same data set, times and memory on the
same kind of machine. A gap in a line is such a border, never a missing point. One SVG file, light or dark as its reader
has it, without a script.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edgeskin.benchmarks import drawing
from edgeskin.benchmarks.baseline import slug
from edgeskin.benchmarks.drawing import Axis, Frame, Markup, Plot, around_axis, element
from edgeskin.benchmarks.measurements import Measurements
from edgeskin.benchmarks.report import JSON_NAME, Report
from edgeskin.errors import BundleError, EdgeskinError

Better: TypeAlias = Literal["higher", "lower"]

_WIDTH, _HEIGHT = 316, 196
_FRAME = Frame(left=50, right=304, top=34, bottom=164)
_COLUMNS = 3
_SERIES = 6
"""So many colours there are; further kinds of bundles begin with the first again."""
_NOTE = "Bars are 95 % intervals, of times the 90th percentile. A gap in a line: another machine, or other images."


@dataclass(frozen=True)
class Point:
    """One figure of one report.

    at: which release, from 0. low, high: its interval, the value itself where it has none. group: points of another
    group may not be compared with it.
    """

    at: int
    value: float
    low: float
    high: float
    group: str


@dataclass(frozen=True)
class Panel:
    """One figure over the releases. lines: the points of each kind of bundle, by the number of its colour."""

    title: str
    better: Better
    lines: Mapping[int, Sequence[Point]]


def read(sources: Sequence[Path]) -> tuple[Report, ...]:
    """Every report of some files, bundles, or folders of either, the oldest first.

    In a folder those are all `report.json` below it; in one without, every JSON file that is a report.
    Raises: EdgeskinError where there is none; BundleError for a damaged one.
    """
    found: dict[Path, Report] = {}
    for source in sources:
        if not source.exists():
            raise EdgeskinError(f"{source}: no such file or folder")
        paths = [source] if source.is_file() else sorted(source.rglob(JSON_NAME))
        if paths:
            found |= {path.resolve(): Report.read(path) for path in paths}
        else:
            found |= _kept(source)
    if not found:
        raise EdgeskinError(
            f"{', '.join(map(str, sources))}: no report. `edgeskin export` writes one into every bundle"
        )
    return tuple(sorted(found.values(), key=lambda report: report.created))


def _kept(folder: Path) -> dict[Path, Report]:
    reports = {}
    for path in sorted(folder.rglob("*.json")):
        if '"verdict"' in path.read_text(encoding="utf-8", errors="replace"):
            reports[path.resolve()] = Report.read(path)
    return reports


def draw(reports: Sequence[Report]) -> str:
    """The chart as SVG. Raises: BundleError where no report holds a figure that is drawn."""
    releases = list(dict.fromkeys(_release(report) for report in reports))
    kinds = list(dict.fromkeys(_kind(report) for report in reports))
    panels = [panel for panel in _panels(reports, releases, kinds) if panel.lines]
    if not panels:
        raise BundleError("none of the reports holds a figure that could be drawn")
    rows = math.ceil(len(panels) / _COLUMNS)
    columns = min(_COLUMNS, len(panels))
    legend = 22 * len(kinds)
    width, height = columns * _WIDTH + 24, rows * _HEIGHT + 74 + legend
    names = ", ".join(dict.fromkeys(report.name for report in reports))
    span = " to ".join(dict.fromkeys(_version(one) for one in (releases[0], releases[-1])))
    title = f"{names}, {span}"
    parts = [element("text", title, x=16, y=28, class_="title")]
    for number, kind in enumerate(kinds):
        y = 50 + 22 * number
        parts += [
            element("circle", cx=22, cy=y - 4, r=4, class_=f"dot s{number % _SERIES}"),
            element("text", kind, x=34, y=y, class_="legend"),
        ]
    for number, panel in enumerate(panels):
        x, y = 12 + number % _COLUMNS * _WIDTH, 44 + legend + number // _COLUMNS * _HEIGHT
        parts.append(element("g", *_panel(panel, releases), transform=f"translate({x} {y})"))
    parts.append(element("text", _NOTE, x=16, y=height - 14, class_="hint"))
    return drawing.document(title, width, height, _COLOURS, _RULES, *parts)


def _release(report: Report) -> str:
    return f"{report.version} ({report.edgeskin_version}, {report.created[:10]})"


def _version(release: str) -> str:
    return release.partition(" (")[0]


def _kind(report: Report) -> str:
    return f"{report.name}, {report.target} {report.form or report.precision}"


def _panels(reports: Sequence[Report], releases: Sequence[str], kinds: Sequence[str]) -> Iterator[Panel]:
    drawn: list[tuple[str, Better, Callable[[Report], tuple[float, float, float, str] | None]]] = [
        *((name, "higher", _metric(name)) for name in _main_metrics(reports)),
        ("times as fast as fp32", "higher", _speed),
        ("model, p50 to p90 ms", "lower", _latency),
        ("size, MiB", "lower", lambda report: _plain(report.measurements.size_mib)),
        ("peak memory, MiB", "lower", _memory),
    ]
    for title, better, figure in drawn:
        lines: dict[int, list[Point]] = {}
        for report in reports:
            value = figure(report)
            if value is not None:
                points = lines.setdefault(kinds.index(_kind(report)), [])
                points.append(Point(releases.index(_release(report)), *value))
        yield Panel(title, better, lines)


def _main_metrics(reports: Sequence[Report]) -> Iterator[str]:
    """The mask's Jaccard, the balanced accuracy of diagnoses, AUROC and sensitivity of each yes-or-no head."""
    reported = [report.measurements.accuracy for report in reports]
    known = dict.fromkeys(name for accuracy in reported if accuracy is not None for name in accuracy.metrics)
    heads = [head for head in (name.removesuffix("_auroc") for name in known) if f"{head}_sensitivity" in known]
    asked = [f"{head}_balanced_accuracy" for head in heads]
    if "mask_jaccard" in known:
        yield "mask_jaccard"
    yield from (name for name in known if name.endswith("_balanced_accuracy") and name not in asked)
    for head in heads:
        yield from (f"{head}_auroc", f"{head}_sensitivity")


def _metric(name: str) -> Callable[[Report], tuple[float, float, float, str] | None]:
    def figure(report: Report) -> tuple[float, float, float, str] | None:
        accuracy = report.measurements.accuracy
        found = None if accuracy is None else accuracy.metrics.get(name)
        if accuracy is None or found is None or found.int8 is None:
            return None
        low, high = found.ci95 or (None, None)
        value = found.int8
        images = f"{accuracy.dataset} {accuracy.split}"
        return value, value if low is None else low, value if high is None else high, images

    return figure


def _speed(report: Report) -> tuple[float, float, float, str] | None:
    speed = report.measurements.speed
    if speed is None or speed.speedup_vs_fp32 is None:
        return None
    value = speed.speedup_vs_fp32
    return value, speed.low or value, speed.high or value, _machine(report.measurements)


def _latency(report: Report) -> tuple[float, float, float, str] | None:
    figure = report.measurements.model_latency(report.precision)
    if figure is None or figure.p50_ms is None:
        return None
    return figure.p50_ms, figure.p50_ms, figure.p90_ms or figure.p50_ms, _machine(report.measurements)


def _memory(report: Report) -> tuple[float, float, float, str] | None:
    memory = report.measurements.memory
    return None if memory is None else _plain(memory.total_mib, _machine(report.measurements))


def _plain(value: float | None, group: str = "") -> tuple[float, float, float, str] | None:
    return None if value is None else (value, value, value, group)


def _machine(measured: Measurements) -> str:
    return "" if measured.device is None else slug(measured.device)


# --- drawing ---


def _panel(panel: Panel, releases: Sequence[str]) -> Iterator[Markup]:
    points = [point for line in panel.lines.values() for point in line]
    every = math.ceil(len(releases) / 5)
    named = [at for at in range(len(releases)) if (len(releases) - 1 - at) % every == 0]
    across = Axis("", 0, len(releases), tuple((at + 0.5, _version(releases[at])) for at in named))
    upwards = around_axis("", min(point.low for point in points), max(point.high for point in points))
    plot = Plot(across, upwards, _FRAME)
    better = element("tspan", f"{'↑' if panel.better == 'higher' else '↓'} better", class_="hint")
    yield element("text", f"{panel.title} ", better, x=16, y=20, class_="name")
    yield from plot.grid()
    for rank, (number, line) in enumerate(panel.lines.items()):
        aside = 0.5 + 7 * (rank - (len(panel.lines) - 1) / 2) * len(releases) / (_FRAME.right - _FRAME.left)
        colour = f"s{number % _SERIES}"
        for before, after in itertools.pairwise(line):
            if before.group == after.group:
                yield plot.line(((before.at + aside, before.value), (after.at + aside, after.value)), colour)
        for point in line:
            told = f"{releases[point.at]}: {point.value:.4g}" + (f", {point.group}" if point.group else "")
            if point.high > point.low:
                told += f", {point.low:.4g} – {point.high:.4g}"
                yield plot.whisker(point.at + aside, point.low, point.high, colour)
            yield plot.dot((point.at + aside, point.value), colour, hint=told)


_COLOURS = {
    "s0": ("#0969da", "#58a6ff"),
    "s1": ("#bc4c00", "#f0883e"),
    "s2": ("#1a7f37", "#3fb950"),
    "s3": ("#8250df", "#bc8cff"),
    "s4": ("#bf3989", "#ff7bbf"),
    "s5": ("#57606a", "#9ea7b3"),
}
_RULES = """
.line { stroke-width: 2; }
.whisker { stroke-width: 3; opacity: 0.4; stroke-linecap: round; }
.dot { stroke: var(--page); stroke-width: 1.5; }
""" + "\n".join(
    f".line.{name}, .whisker.{name} {{ stroke: var(--{name}); }} .dot.{name} {{ fill: var(--{name}); }}"
    for name in _COLOURS
)
