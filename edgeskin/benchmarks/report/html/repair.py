"""The page's section on a repair: which layers cause the error, and what each that went back to float changed."""

from collections.abc import Iterator, Sequence

from edgeskin.benchmarks.drawing import Child, Markup, Plot, count_axis, element, joined, value_axis
from edgeskin.benchmarks.repaired import LayerError, Repair, RepairStep, changes, dropped
from edgeskin.benchmarks.report.html import charts
from edgeskin.benchmarks.report.html.parts import Column, figure, plain, section, table
from edgeskin.benchmarks.report.words import many, number

WORST = 15
"""So many groups of layers are shown; report.json has them all."""


def repair(found: Repair) -> Markup:
    """The whole section."""
    return section(
        "repair",
        "Repair",
        element("p", found.sentence),
        element("div", *_curves(found.steps), class_="figures"),
        _trade(found.steps),
        _ranking(found.ranking),
        element("p", f"Stopped: {found.stopped}.", class_="faint small"),
    )


def _curves(steps: Sequence[RepairStep]) -> Iterator[Markup]:
    drawn = (
        ("error", "mean difference of the probabilities from float", [step.error for step in steps]),
        ("MiB", "what the artifact takes on disk", [step.size_mib for step in steps]),
    )
    most = max((float(step.in_float) for step in steps), default=0.0)
    for name, meaning, values in drawn:
        points = [(float(step.in_float), value) for step, value in zip(steps, values, strict=True) if value is not None]
        if not points:
            continue
        highest = max(y for _, y in points)
        plot = Plot(count_axis("nodes in float", most), value_axis(name, 0.0, highest or 1.0))
        title = f"The trade: {name}"
        shown = charts.chart(
            plot,
            title,
            f"{meaning.capitalize()}, by how many nodes compute in float.",
            plot.line(points, "ships"),
            plot.dots(points, "ships"),
        )
        yield figure(title, shown, f"{name}: {meaning}")


def _trade(steps: Sequence[RepairStep]) -> Markup:
    drops = dropped(steps)
    columns = (
        Column("in float besides"),
        Column("nodes", number=True),
        Column("gate"),
        Column("error", number=True),
        Column("MiB", number=True),
        Column("× fp32", number=True),
        *(Column(plain(name), number=True) for name in drops),
    )
    rows = [_step(step, change, drops) for step, change in zip(steps, changes(steps), strict=True)]
    words = "One group of layers after the other; × fp32 is the speed, and under a metric stands its drop from float"
    return table(words, columns, rows, kind="trade")


def _step(step: RepairStep, change: str, drops: Sequence[str]) -> Sequence[Child]:
    return (
        element("code", change),
        str(step.in_float),
        step.judged or "not asked",
        element("b", number(step.error, 3)),
        number(step.size_mib, 3),
        number(step.speedup_vs_fp32, 3),
        *(number(step.drops.get(name), 3) for name in drops),
    )


def _ranking(ranking: Sequence[LayerError]) -> Markup:
    columns = (
        Column("layers"),
        Column("", wide=True),
        Column("error alone", number=True),
        Column("given back", number=True),
    )
    most = max((one.alone or 0.0 for one in ranking), default=0.0)
    rows: list[Sequence[Child]] = [
        (
            _named(one.layers),
            charts.meter((one.alone or 0.0) / most if most else 0.0),
            number(one.alone, 3),
            number(one.given_back, 3),
        )
        for one in ranking[:WORST]
    ]
    words = f"The {len(rows)} worst of {many(len(ranking), 'group')}: the error where nothing else is quantized, and "
    return table(f"{words}what is given back where they alone are not", columns, rows)


def _named(layers: Sequence[str]) -> Markup:
    return joined((element("code", name) for name in layers), ", ")
