"""The page's sections on numerics, speed, size, memory, placement and the machine."""

from collections import Counter
from collections.abc import Iterator, Sequence

from edgeskin.benchmarks import latency
from edgeskin.benchmarks.drawing import Child, Markup, Plot, count_axis, element, value_axis
from edgeskin.benchmarks.measurements import (
    ColdStart,
    Conditions,
    DeviceFacts,
    LatencyFigure,
    LayerFigure,
    Measurements,
    MemoryFigure,
    NumericsHop,
    PlacementFigure,
    SpeedRatio,
)
from edgeskin.benchmarks.report.html import charts
from edgeskin.benchmarks.report.html.parts import (
    Column,
    facts,
    figure,
    missing,
    section,
    table,
)
from edgeskin.benchmarks.report.words import (
    DOUBTED,
    NO_START,
    NOT_MEASURED,
    counted,
    doubts,
    engines,
    faster,
    many,
    number,
    outside,
    unit,
)
from edgeskin.benchmarks.size import LayerSize

LARGEST = 15
"""So many layers are drawn; the others are one bar."""


def numerics(hops: Sequence[NumericsHop], why_not: str | None) -> Markup:
    """The chain of forms that the network takes, compared output by output."""
    if not hops:
        return section("numerics", "Numerics", missing(why_not))
    first = next((hop for hop in hops if hop.equivalent is False), None)
    found = f"The first to diverge is {first.name}, at {first.tensor}." if first is not None else None
    columns = (
        Column("hop"),
        Column("output"),
        Column("mean difference", number=True),
        Column("largest", number=True),
        Column("mask agreement", number=True),
        Column("decisions"),
        Column("verdict"),
    )
    rows = [
        (
            hop.name,
            hop.tensor.replace("_", " "),
            number(hop.mean_abs, 3),
            number(hop.max_abs, 3),
            "" if hop.mask_agreement is None else f"{hop.mask_agreement:.5f}",
            "" if hop.labels_equal is None else "equal" if hop.labels_equal else "differ",
            _judged(hop.equivalent),
        )
        for hop in hops
    ]
    return section(
        "numerics",
        "Numerics",
        None if found is None else element("p", element("b", found)),
        table("Each form of the network against the one before it, on the golden cases", columns, rows),
        None if why_not is None else element("p", f"On a device: {why_not}.", class_="faint small"),
    )


def _judged(equivalent: bool | None) -> Markup:
    if equivalent is None:
        return element("span", "· shown only", class_="state reported")
    word, kind = ("✓ equivalent", "passed") if equivalent else ("✗ diverges", "failed")
    return element("span", word, class_=f"state {kind}")


# --- speed ---


def speed(measured: Measurements) -> Markup:
    """Times, throughput and the start."""
    figures, why_not = measured.latency, measured.not_measured.get("latency")
    if not figures:
        return section("speed", "Speed", missing(why_not))
    return section(
        "speed",
        "Speed",
        _doubts(measured),
        _faster(measured.speed),
        element("div", *_histograms(figures), class_="figures") if any(one.histogram for one in figures) else None,
        _times(figures),
        _start(measured.cold_start),
        _conditions(figures),
    )


def _doubts(measured: Measurements) -> Markup | None:
    told = doubts(measured)
    if not told:
        return None
    return element("ul", *(element("li", f"{DOUBTED} {one}", class_="pending") for one in told), class_="trouble")


def _faster(ratio: SpeedRatio | None) -> Markup | None:
    told = faster(ratio)
    if ratio is None or told is None:
        return None
    mark = f" {DOUBTED}" if latency.warning(ratio) else ""
    return element("p", element("b", f"{told[0]}{mark}"), f": {told[1]}.")


def _name(one: LatencyFigure) -> str:
    return f"{one.name} {DOUBTED}" if latency.warning(one) else one.name


def _histograms(figures: Sequence[LatencyFigure]) -> Iterator[Markup]:
    for one in figures:
        if one.histogram is not None and len(one.histogram.counts) > 1:
            yield _histogram(one, one.histogram.edges_ms, one.histogram.counts)


def _histogram(one: LatencyFigure, edges: Sequence[float], counts: Sequence[int]) -> Markup:
    """The last bin holds what took longer than the others, so it is drawn as wide as they are and in another colour."""
    width = edges[1] - edges[0]
    shown = [*edges[:-1], edges[-2] + width]
    plot = Plot(value_axis("ms", edges[0], shown[-1]), count_axis("samples", max(counts)))
    title = f"{_name(one)}, threads: {one.threads}"
    quantiles = {"p50": one.p50_ms, "p90": one.p90_ms}
    drawn = charts.chart(
        plot,
        f"Latency of {title}",
        f"How many of {many(one.samples, 'sample')} took how long; half at most {number(one.p50_ms)} ms, 90 % at most "
        f"{number(one.p90_ms)} ms, the longest {number(edges[-1])} ms.",
        plot.bars(shown[:-1], counts[:-1], "ships"),
        plot.bars(shown[-2:], counts[-1:], "over"),
        *(
            plot.marker(value, name, row)
            for row, (name, value) in enumerate(quantiles.items())
            if value is not None and value <= shown[-1]
        ),
    )
    slowest = f"{counts[-1]} took longer, up to {number(edges[-1])} ms (last bar)"
    return figure(f"Latency, {title}", drawn, f"{many(one.samples, 'sample')}; {slowest}")


def _times(figures: Sequence[LatencyFigure]) -> Markup:
    columns = (
        Column("what was timed"),
        Column("threads", number=True),
        Column("batch", number=True),
        Column("p50 ms", number=True),
        Column("p90 ms", number=True),
        Column("p99 ms", number=True),
        Column("scatter", number=True),
        Column("pictures/s", number=True),
        Column("samples"),
    )
    rows = [
        (
            _name(one),
            str(one.threads),
            str(one.batch),
            number(one.p50_ms),
            element("b", number(one.p90_ms)),
            number(one.p99_ms),
            NOT_MEASURED if one.cv is None else f"{one.cv:.1%}",
            number(one.pictures_per_s, 3),
            f"{one.samples} in {one.seconds:.0f} s, {one.mode}",
        )
        for one in figures
    ]
    return table("Wall time; scatter is the standard deviation over the mean", columns, rows)


def _start(cold: ColdStart | None) -> Markup:
    if cold is None:
        return element("p", f"Cold start: {NO_START}.", class_="faint")
    return element(
        "p",
        element("b", f"Cold start {unit(cold.total_ms, 'ms')}"),
        f": {unit(cold.load_ms, 'ms')} to load, {unit(cold.first_run_ms, 'ms')} for the first run; medians of "
        f"{cold.starts} processes with warm files, the slowest {unit(cold.slowest_ms, 'ms')}; threads: {cold.threads}.",
    )


def _conditions(figures: Sequence[LatencyFigure]) -> Markup | None:
    known = [(one, one.conditions) for one in figures if one.conditions is not None]
    if not known:
        return None
    columns = (
        Column("while it was timed"),
        Column("threads", number=True),
        Column("clock MHz", number=True),
        Column("temperature °C", number=True),
        Column("load before", number=True),
        Column("other work", number=True),
        Column("slowed down by"),
    )
    rows = [
        (
            one.name,
            str(one.threads),
            _change(now.clock_mhz),
            _change(now.temperature_c),
            _told(now.load_average),
            "not told" if now.others_share is None else f"{now.others_share:.0%}",
            _slowed(now),
        )
        for one, now in known
    ]
    made = table("Before → after; other work is the share of all cores' time", columns, rows)
    return element("details", element("summary", "The machine meanwhile"), made)


def _change(pair: tuple[float | None, float | None]) -> str:
    before, after = pair
    return "not told" if before is None and after is None else f"{_told(before)} → {_told(after)}"


def _told(value: float | None) -> str:
    return "not told" if value is None else number(value)


def _slowed(now: Conditions) -> str:
    heat = now.newly_throttled
    return ", ".join((*now.throttled, *((f"heat, {heat} times",) if heat else ()))) or "nothing that it tells"


# --- size and memory ---


def size(measured: Measurements, layers: Sequence[LayerSize]) -> Markup:
    """The artifact on disk, layer by layer."""
    if measured.size_mib is None:
        return section("size", "Size", missing(measured.not_measured.get("size")))
    total = element("p", element("b", unit(measured.size_mib, "MiB")), " on disk.")
    if not layers:
        return section("size", "Size", total, missing("the artifact's layers were not read"))
    return section("size", "Size", total, _layers(layers, measured.size_mib))


def _layers(layers: Sequence[LayerSize], size_mib: float) -> Markup:
    stored = sum(layer.size_kib for layer in layers)
    order = sorted(layers, key=lambda layer: -layer.size_kib)
    largest, rest = order[:LARGEST], order[LARGEST:]
    most = max(largest[0].size_kib, sum(layer.size_kib for layer in rest))
    columns = (
        Column("layer"),
        Column("kind"),
        Column("", wide=True),
        Column("KiB", number=True),
        Column("share", number=True),
        Column("numbers", number=True),
    )

    def row(name: Child, kind: str, kib: float, parameters: int, style: str) -> Sequence[Child]:
        share = kib / stored if stored else 0.0
        bar = charts.meter(kib / most if most else 0.0, style)
        return name, kind, bar, f"{kib:.1f}", f"{share:.1%}", f"{parameters:,}".replace(",", " ")

    rows = [
        row(element("code", layer.name), layer.kind, layer.size_kib, layer.parameters, "ships") for layer in largest
    ]
    if rest:
        kib, parameters = sum(layer.size_kib for layer in rest), sum(layer.parameters for layer in rest)
        rows.append(row(many(len(rest), "other"), "", kib, parameters, "few"))
    frame = size_mib * 1024 - stored
    words = f"Weights and biases of {many(len(layers), 'layer')} take {number(stored)} KiB"
    besides = f"; scales, graph and metadata {number(frame)} KiB" if frame >= 0 else ", packed smaller on disk"
    return table(f"{words}{besides}. The largest:", columns, rows)


def memory(measured: Measurements) -> Markup:
    """Peak memory."""
    one, why_not = measured.memory, measured.not_measured.get("memory")
    if one is None or one.peak_mib is None:
        return section("memory", "Memory", missing(why_not))
    return section(
        "memory",
        "Memory",
        element("p", element("b", _peak(one)), " at the peak, above Python with NumPy and edgeskin."),
    )


def _peak(one: MemoryFigure) -> str:
    host = unit(one.peak_mib, "MiB")
    return host if one.device_mib is None else f"{host}, and {unit(one.device_mib, 'MiB')} of the accelerator"


# --- placement and device ---


def placement(place: PlacementFigure | None, why_not: str | None) -> Markup:
    """Where the operators ran."""
    if place is None:
        return section("placement", "Placement", missing(why_not))
    told = place.integer_convolutions is not None
    fraction = place.integer_fraction
    share = "" if fraction is None else f" ({fraction:.1%})"
    left = place.float_operators
    pairs: list[tuple[str, Child]] = [
        ("ran on", place.provider),
        ("integer convolutions", f"{place.integer_convolutions} of {place.convolutions}{share}" if told else why_not),
        ("left in float", NOT_MEASURED if left is None else counted(left) if left else "nothing that is quantized"),
    ]
    if place.partitions is not None:
        pairs += [("parts a delegate took over", str(place.partitions)), ("run outside it", outside(place))]
    return section(
        "placement",
        "Placement",
        charts.meter(fraction) if fraction is not None else None,
        facts((name, NOT_MEASURED if value is None else value) for name, value in pairs),
        _engine_layers(place.layers),
    )


def _engine_layers(layers: Sequence[LayerFigure]) -> Markup | None:
    if not layers:
        return None
    counts = Counter(layer.precision or "untold" for layer in layers)
    told = ", ".join(f"{count} {precision}" for precision, count in counts.most_common())
    columns = (Column("layer"), Column("type"), Column("computes in"), Column("operators"))
    rows = [
        (element("code", layer.name), layer.type, layer.precision or "untold", ", ".join(layer.nodes))
        for layer in layers
    ]
    summary = element("summary", f"{many(len(layers), 'layer')} of the engine: {told}")
    return element("details", summary, table("Layers of the compiled engine", columns, rows))


def device(machine: DeviceFacts | None) -> Markup:
    """The machine that the figures belong to."""
    if machine is None:
        return section("device", "Device", missing())
    clocks = {None: "", True: ", clocks pinned", False: ", clocks not pinned"}[machine.clocks_pinned]
    driver = f", driver {machine.gpu_driver}" if machine.gpu_driver else ""
    pairs: list[tuple[str, Child]] = [
        ("board", machine.board),
        ("gpu", f"{machine.gpu}{driver}" if machine.gpu else None),
        ("power mode", f"{machine.power_mode}{clocks}" if machine.power_mode else None),
        ("slowed down by", ", ".join(machine.throttled) or None),
        ("cpu", f"{machine.cpu}, {machine.cores} core{'s' if machine.cores > 1 else ''}"),
        ("flags", ", ".join(machine.flags) or "none that speed integers up"),
        ("governor", machine.governor or "not told"),
        ("clock", "not told" if machine.clock_mhz is None else unit(machine.clock_mhz, "MHz")),
        ("temperature", "not told" if machine.temperature_c is None else unit(machine.temperature_c, "°C")),
        ("system", f"{machine.os}, Python {machine.python}"),
        ("engines", engines(machine)),
    ]
    return section("device", "Device", facts((name, value) for name, value in pairs if value is not None))
