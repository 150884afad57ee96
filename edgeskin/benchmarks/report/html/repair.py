"""The page's section on a repair: which layers cause the error, and what each that went back to float changed."""

from collections.abc import Sequence

from edgeskin.benchmarks.repaired import LayerError, Repair, RepairStep
from edgeskin.benchmarks.report.html import charts
from edgeskin.benchmarks.report.html.charts import Plot
from edgeskin.benchmarks.report.html.markup import Child, Markup, element, joined
from edgeskin.benchmarks.report.html.parts import Column, figure, plain, section, table
from edgeskin.benchmarks.report.words import number

WORST = 15
"""So many groups of layers are shown; report.json has them all."""


def repair(found: Repair) -> Markup:
    """The whole section."""
    return section(
        "repair",
        "Repair",
        element("p", found.sentence),
        element("div", _curve(found.steps), class_="figures"),
        _trade(found.steps),
        _ranking(found.ranking),
        element("p", f"Stopped: {found.stopped}.", class_="faint small"),
    )


def _curve(steps: Sequence[RepairStep]) -> Markup:
    points = [(float(step.in_float), step.error) for step in steps if step.error is not None]
    most, worst = max((x for x, _ in points), default=0.0), max((y for _, y in points), default=0.0)
    plot = Plot(charts.count_axis("nodes in float", most), charts.value_axis("error", 0.0, worst or 1.0))
    title = "The trade"
    drawn = plot.picture(
        title,
        "Mean difference of the probabilities from the float network, by how many nodes compute in float.",
        plot.line(points, "ships"),
        plot.dots(points, "ships"),
    )
    return figure(title, drawn, "error: mean difference of the probabilities from float")


def _trade(steps: Sequence[RepairStep]) -> Markup:
    drops = tuple(dict.fromkeys(name for step in steps for name in step.drops))
    columns = (
        Column("in float"),
        Column("nodes", number=True),
        Column("error", number=True),
        Column("MiB", number=True),
        Column("speed against fp32", number=True),
        *(Column(f"{plain(name)} drop", number=True) for name in drops),
        Column("gate"),
    )
    return table("One group of layers after the other", columns, [_step(step, drops) for step in steps])


def _step(step: RepairStep, drops: Sequence[str]) -> Sequence[Child]:
    layers = [name for one in step.returned for name in one.layers]
    return (
        _named(layers) if layers else "nothing",
        str(step.in_float),
        element("b", number(step.error, 3)),
        number(step.size_mib, 3),
        number(step.speedup_vs_fp32, 3),
        *(number(step.drops.get(name), 3) for name in drops),
        step.judged or "not asked",
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
    words = f"The {len(rows)} worst of {len(ranking)} groups: the error where nothing else is quantized, and what is "
    return table(f"{words}given back where they alone are not", columns, rows)


def _named(layers: Sequence[str]) -> Markup:
    return joined((element("code", name) for name in layers), ", ")
