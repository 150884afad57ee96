"""The page's section on accuracy: figures with intervals, curves, confusion, subgroups and the worst cases."""

import base64
import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from edgeskin.benchmarks.drawing import Child, Markup, Plot, count_axis, element, joined, share_axis
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    Confusion,
    Curves,
    JaccardCounts,
    MetricFigure,
    Reliability,
    ReliabilityBin,
    RocCurve,
    SubgroupFigure,
)
from edgeskin.benchmarks.report.html import charts
from edgeskin.benchmarks.report.html.parts import (
    Column,
    figure,
    group,
    legend,
    missing,
    plain,
    scrolling,
    section,
    table,
)
from edgeskin.benchmarks.report.picture import Picture
from edgeskin.benchmarks.report.words import (
    claimed,
    decimals,
    has_classes,
    interval,
    many,
    rests_on,
    seen,
    subgroup_metrics,
)

_OVERALL = "all heads"
FEWEST = 10
"""Of fewer images the share that came true shows nothing, and no line goes through it."""


def accuracy(report: AccuracyReport | None, why_not: str | None, pictures: Sequence[Picture]) -> Markup:
    """The whole section. why_not: why nothing was measured, where that is known."""
    if report is None:
        return section("accuracy", "Accuracy", missing(why_not))
    form = report.form or "int8"
    source = f"inherited from the evidence of {report.inherited_from}" if report.inherited_from else "measured here"
    given = "" if report.metadata is None else f", metadata {report.metadata}"
    return section(
        "accuracy",
        "Accuracy",
        element("p", f"{report.dataset}, {report.split}{given}: {many(report.n, 'image')}, {source}."),
        element("p", seen(report.seen_in_training)) if report.seen_in_training else None,
        _pictures_of(report.curves, form),
        *(_confusion(name, confusion, form) for name, confusion in report.confusion.items()),
        element("h3", "Every figure"),
        _figures(report, form),
        element(
            "p",
            f"Drop: float − {form} on the same images; positive is worse (of a calibration error, where less is "
            f"better, {form} − float). Its bound is one-sided, at 95 %, by paired bootstrap. A drop below the "
            "detectable one could not have been shown on these images; one as large as that is red, a gain green.",
            class_="faint small",
        ),
        element("h3", "Subgroups"),
        _subgroups(report.subgroups, form),
        element("h3", "Worst cases"),
        _worst(report, pictures),
    )


# --- every figure ---


def _figures(report: AccuracyReport, form: str) -> Markup:
    columns = (
        Column("metric"),
        Column(form, number=True),
        Column("from 0 to 1; | is float", wide=True),
        Column("95 % interval", number=True),
        Column("float", number=True),
        Column("drop", number=True),
        Column("its bound", number=True),
        Column("detectable", number=True),
        Column("images", number=True),
    )
    heads = _heads(report)
    ordered = sorted(report.metrics, key=lambda name: _place(name, heads))
    rows: list[Sequence[Child] | Markup] = []
    for head, names in groupby(ordered, key=lambda name: _head(name, heads)):
        rows.append(group(head.replace("_", " "), len(columns)))
        rows += [_figure(plain(name.removeprefix(f"{head}_")), report.metrics[name]) for name in names]
    return table(f"Float and {form} on the same images", columns, rows)


def _figure(name: str, one: MetricFigure) -> Sequence[Child]:
    low, high = claimed(one) or (None, None)
    drop = decimals(one.drop) if one.drop is None else f"{one.drop:+.4f}"
    # In colour only what could have been shown on these images.
    shown = one.drop is not None and abs(one.drop) >= (one.smallest_detectable_drop or math.inf)
    return (
        name,
        element("b", decimals(one.int8)),
        charts.whisker(low, high, one.int8, one.float),
        interval(one),
        decimals(one.float),
        element("span", drop, class_=None if not shown else "bad" if (one.drop or 0) > 0 else "good"),
        decimals(one.drop_upper95),
        decimals(one.smallest_detectable_drop),
        str(one.n),
    )


def _heads(report: AccuracyReport) -> tuple[str, ...]:
    """The heads whose metrics there are, known by their metrics' names; the longest first."""
    scored = {name.removesuffix("_ece") for name in report.metrics if name.endswith("_ece")}
    return tuple(sorted({"mask", *scored, *report.confusion}, key=lambda name: (-len(name), name)))


def _head(metric: str, heads: Sequence[str]) -> str:
    return next((head for head in heads if metric.startswith(f"{head}_")), _OVERALL)


def _place(metric: str, heads: Sequence[str]) -> tuple[bool, str]:
    """Head by head, the overall figures behind them; within a head they keep their order."""
    head = _head(metric, heads)
    return head == _OVERALL, head


# --- curves ---


def _pictures_of(curves: Curves | None, form: str) -> Markup:
    if curves is None:
        return element(
            "p",
            "No curves: these figures were kept without them. Measured with --data, the report has ROC, reliability "
            "and the distribution of the Jaccard.",
            class_="faint",
        )
    drawn = [
        *((_jaccard(curves.jaccard, form),) if curves.jaccard is not None else ()),
        *(_roc(name, roc, form) for name, roc in curves.roc.items()),
        *(_reliability(name, one, form) for name, one in curves.reliability.items()),
    ]
    return element("div", *drawn, class_="figures")


def _roc(name: str, roc: RocCurve, form: str) -> Markup:
    plot = Plot(share_axis("1 − specificity"), share_axis("sensitivity"))
    x, y = roc.int8_at_threshold
    at = "the operating point is not known"
    if x is not None and y is not None:
        at = f"at the stored threshold {roc.threshold:.3g}: sensitivity {y:.3f}, specificity {1 - x:.3f}"
    title = f"ROC, {plain(name)}"
    drawn = charts.chart(
        plot,
        title,
        f"Sensitivity over 1 − specificity of {form} and of float; {at}.",
        plot.line(((0, 0), (1, 1)), "chance"),
        plot.line(_known(roc.float), "float"),
        plot.line(_known(roc.int8), "ships"),
        plot.dots(_known((roc.float_at_threshold,)), "float", 4),
        plot.dots(_known((roc.int8_at_threshold,)), "ships", 5),
    )
    return figure(title, drawn, legend(form), element("span", f"● {at}"))


def _known(points: Sequence[tuple[float | None, float | None]]) -> Iterator[tuple[float, float]]:
    return ((x, y) for x, y in points if x is not None and y is not None)


def _reliability(name: str, one: Reliability, form: str) -> Markup:
    plot = Plot(share_axis("probability that was answered"), share_axis("share that came true"))
    title = f"Reliability, {plain(name)}"
    told = f"larger dots: more images; joined where neighbours have {FEWEST} or more"
    drawn = charts.chart(
        plot,
        title,
        f"How often answers of each probability came true, for {form} and for float; on the diagonal they always do. "
        f"{told.capitalize()}.",
        plot.line(((0, 0), (1, 1)), "chance"),
        *(plot.line(run, "float") for run in _runs(one.float)),
        *(plot.line(run, "ships") for run in _runs(one.int8)),
        *_weighted(plot, one.float, "float"),
        *_weighted(plot, one.int8, "ships"),
    )
    return figure(title, drawn, legend(form), element("span", told))


def _runs(bins: Sequence[ReliabilityBin]) -> Iterator[list[tuple[float, float]]]:
    """What may be joined: bins side by side that hold enough images to show anything."""
    for enough, run in groupby(bins, key=lambda one: one.n >= FEWEST):
        if enough:
            yield list(_known([(one.probability, one.happened) for one in run]))


def _weighted(plot: Plot, bins: Sequence[ReliabilityBin], kind: str) -> Iterator[Markup]:
    most = max((bin_.n for bin_ in bins), default=0)
    for bin_ in bins:
        if bin_.n:
            radius = 2.5 + 4.5 * (bin_.n / most) ** 0.5
            yield plot.dots(_known([(bin_.probability, bin_.happened)]), kind, radius)


def _jaccard(counted: JaccardCounts, form: str) -> Markup:
    bins = len(counted.int8)
    edges = [index / bins for index in range(bins + 1)]
    most = max((*counted.int8, *counted.float), default=0)
    plot = Plot(share_axis("Jaccard of one image"), count_axis("images", most))
    title = "Jaccard of the mask"
    low = sum(count for count, edge in zip(counted.int8, edges, strict=False) if edge < 0.65 - 1e-9)
    drawn = charts.chart(
        plot,
        title,
        f"How many images reach which Jaccard, {form} as bars and float as a line; {low} of {sum(counted.int8)} are "
        "below 0.65.",
        plot.bars(edges, counted.int8, "ships"),
        plot.steps(edges, counted.float, "float"),
        plot.marker(0.65, "0.65"),
    )
    return figure(title, drawn, legend(form), element("span", f"{low} of {sum(counted.int8)} images below 0.65"))


# --- confusion ---


def _confusion(name: str, confusion: Confusion, form: str) -> Markup:
    head = element("tr", element("th", "truth"), *(element("th", _words(one), scope="col") for one in confusion.labels))
    rows = []
    for label, floats, ints in zip(confusion.labels, confusion.float, confusion.int8, strict=True):
        total = sum(ints)
        cells = [_cell(count, before, total) for before, count in zip(floats, ints, strict=True)]
        rows.append(element("tr", element("th", _words(label), scope="row"), *cells))
    caption = f"Confusion, {plain(name)}: truth by row, answer of {form} by column; a change from float in brackets"
    return scrolling(caption, element("thead", head), element("tbody", *rows), kind="confusion")


def _cell(count: int, before: int, total: int) -> Markup:
    share = count / total if total else 0.0
    change = "" if count == before else f" ({count - before:+d})"
    told = joined((f"{count}{change}", element("small", f"{share:.0%}")))
    return element("td", told, class_="cell", style=f"--share:{share:.3f}")


def _words(label: str) -> str:
    return label.replace("_", " ")


# --- subgroups ---


def _subgroups(subgroups: Sequence[SubgroupFigure] | None, form: str) -> Markup:
    if subgroups is None:
        return missing("nobody looked at subgroups when these figures were taken")
    if not subgroups:
        return missing("the data set tells no subgroups")
    return joined(
        element(
            "details",
            element("summary", plain(metric)),
            _in_subgroups(subgroups, metric, form),
            open="" if number == 0 else None,
        )
        for number, metric in enumerate(subgroup_metrics(subgroups))
    )


def _in_subgroups(subgroups: Sequence[SubgroupFigure], metric: str, form: str) -> Markup:
    columns = [
        Column("subgroup"),
        Column(form, number=True),
        Column("", wide=True),
        Column("95 % interval", number=True),
        Column("cases", number=True),
    ]
    if has_classes(metric):
        columns.append(Column("of the rarest class", number=True))
    rows = _rows(subgroups, metric, len(columns))
    return table(f"{plain(metric)}; grey where no interval is claimed", columns, rows)


def _rows(subgroups: Sequence[SubgroupFigure], metric: str, columns: int) -> Iterator[Sequence[Child] | Markup]:
    for attribute, members in groupby(subgroups, key=lambda one: one.attribute):
        yield group(_words(attribute), columns)
        for one in members:
            known = one.metrics.get(metric)
            if known is None:
                continue
            yield (
                _words(one.value),
                element("b", decimals(known.int8)),
                _bar(known),
                "" if known.int8 is None else interval(known),
                str(known.n),
                *((rests_on(one, metric),) if has_classes(metric) else ()),
            )


def _bar(known: MetricFigure) -> Markup | None:
    ends = claimed(known)
    return None if known.int8 is None else charts.meter(known.int8, "few" if ends is None else "ships", ends)


# --- worst cases ---


def _worst(report: AccuracyReport, pictures: Sequence[Picture]) -> Markup:
    if report.worst is None:
        return missing("nobody noted them when these figures were taken")
    if not report.worst:
        return missing()
    shown = {picture.image_id: picture for picture in pictures}
    made: list[Markup] = []
    for head, cases in report.worst.items():
        what = "Jaccard" if head == "mask" else "probability of the truth"
        title = f"{plain(head[0].upper() + head[1:])}, by {what}"
        here = [(case, shown[case.image_id]) for case in cases if case.image_id in shown]
        if here:
            made.append(element("h4", title))
            drawn = [
                figure(case.image_id, _image(picture), *_lines(f"{what} {decimals(case.score)}", *picture.words))
                for case, picture in here
            ]
            made.append(element("div", *drawn, class_="cases"))
        else:
            ids = ", ".join(f"{case.image_id} ({decimals(case.score)})" for case in cases)
            made.append(element("p", element("b", f"{title}: "), ids))
    return joined((_how_to_see(bool(shown)), *made))


def _lines(*words: str) -> Iterator[Markup]:
    return (element("span", line, class_="row") for line in words)


def _how_to_see(shown: bool) -> Markup:
    if shown:
        return element(
            "p",
            "Outlines:",
            element("span", class_="swatch", style="background:#ffd400"),
            "truth",
            element("span", class_="swatch", style="background:#00ffff"),
            "answer. This page holds photographs: it is for whoever may see them.",
            class_="small",
        )
    return element(
        "p",
        "Photographs never enter a bundle. Who has them sees these cases with truth and answer by ",
        element("code", "edgeskin report BUNDLE --data DIR --out page.html"),
        ".",
        class_="faint small",
    )


def _image(picture: Picture) -> Markup:
    data = base64.b64encode(picture.jpeg).decode("ascii")
    return element(
        "img",
        src=f"data:image/jpeg;base64,{data}",
        alt=f"{picture.image_id}: {'; '.join(picture.words)}",
        width=picture.width,
        height=picture.height,
    )
