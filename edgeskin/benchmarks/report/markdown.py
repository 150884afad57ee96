"""`report.md`: the report for an engineer who reads it in CI; verdict first, tables that read as plain text too."""

from collections import Counter
from collections.abc import Iterable, Sequence

from edgeskin.benchmarks import latency, repaired
from edgeskin.benchmarks.attestation import Attestation
from edgeskin.benchmarks.markup import code, items, line, table, text
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    ColdStart,
    LayerFigure,
    Measurements,
    MemoryFigure,
    NumericsHop,
    SubgroupFigure,
)
from edgeskin.benchmarks.report.model import Report
from edgeskin.benchmarks.report.words import (
    DOUBTED,
    MARKS,
    NO_START,
    NOT_MEASURED,
    absent,
    cautions,
    counted,
    counts,
    decimals,
    doubts,
    engines,
    has_classes,
    interval,
    judged,
    many,
    number,
    outside,
    rests_on,
    seen,
    speed,
    subgroup_metrics,
    unit,
)


def render(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    measured = report.measurements
    sections = [
        _head(report),
        _promises(report),
        _accuracy(measured.accuracy),
        "" if report.repair is None else _section("Repair", repaired.markdown(report.repair)),
        _numerics(measured.numerics),
        _section("Speed, size and memory", *resources(measured)),
        _placement(measured),
        _device(measured),
        _attestations(report.attestations),
        _cautions(report),
        _footer(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary(report: Report) -> str:
    """The verdict and what it rests on, in short."""
    return f"{_head(report)}\n\n{_promises(report)}\n"


def _head(report: Report) -> str:
    verdict = report.verdict
    about = text(f"{report.name} {report.version}, {report.target} {report.form or report.precision}")
    lines = [
        f"# {about}: {verdict.state}",
        "",
        f"**{verdict.state.capitalize()}** (exit code {verdict.exit_code}): gate {code(report.gate)}, "
        f"profile {code(report.profile)}; {counts(verdict)}.",
    ]
    if verdict.against:
        lines += ["", *(f"- {state}: {code(names)} {text(sentence)}" for state, names, sentence in verdict.against)]
    return "\n".join([*lines, "", text(report.verification)])


def _promises(report: Report) -> str:
    rows = [
        (
            promise.name,
            f"{promise.comparison} {number(promise.limit, 6)}",
            judged(promise, report, 6),
            f"{MARKS[promise.state]} {promise.state}",
        )
        for promise in report.verdict.promises
    ]
    return _section("Promises", table(("promise", "limit", "measured", "state"), rows))


def _accuracy(report: AccuracyReport | None) -> str:
    if report is None:
        return _section("Accuracy", NOT_MEASURED)
    form = report.form or "int8"
    source = (
        f"inherited from the evidence of {report.inherited_from}" if report.inherited_from else "measured in this run"
    )
    given = "" if report.metadata is None else f", metadata {report.metadata}"
    parts = [
        text(f"{report.dataset}, {report.split}{given}: {many(report.n, 'image')}, {source}."),
        figures(report, form),
    ]
    if report.seen_in_training:
        parts.append(text(seen(report.seen_in_training)))
    for name, confusion in report.confusion.items():
        matrix = [
            (label, *(f"{a} → {b}" if a != b else str(a) for a, b in zip(floats, ints, strict=True)))
            for label, floats, ints in zip(confusion.labels, confusion.float, confusion.int8, strict=True)
        ]
        parts.append(f"{text(name)}: truth by row, answer by column, float → {form} where they differ.")
        parts.append(table(("truth", *confusion.labels), matrix))
    if report.subgroups:
        parts.append(subgroups(report.subgroups, form))
    return _section("Accuracy", *parts)


def figures(report: AccuracyReport, form: str) -> str:
    """Every metric of both networks, and what its columns mean."""
    rows = [
        (
            name,
            str(figure.n),
            *(decimals(value) for value in (figure.float, figure.int8)),
            interval(figure),
            *(decimals(value) for value in (figure.drop, figure.drop_upper95, figure.smallest_detectable_drop)),
        )
        for name, figure in report.metrics.items()
    ]
    header = ("metric", "n", "float", form, f"{form} 95 % CI", "drop", "drop, 95 % bound", "detectable drop")
    return (
        f"{table(header, rows)}\n\ndrop: float − {form} on the same images, positive is worse (for ECE, where less is "
        f"better, {form} − float). Its bound is one-sided, by paired bootstrap. A drop below the detectable one (1.645 "
        "standard errors) could not have been shown here."
    )


def subgroups(groups: Sequence[SubgroupFigure], form: str) -> str:
    """Every subgroup a row; a table that stays folded until somebody asks for it."""
    metrics = subgroup_metrics(groups)
    rows = [(one.name, str(one.n), *(_of_subgroup(one, name) for name in metrics)) for one in groups]
    return _folded(
        f"{form} in {many(len(groups), 'subgroup')}: its 95 % interval; how many cases there are of the rarest class",
        table(("subgroup", "n", *metrics), rows),
    )


def _of_subgroup(one: SubgroupFigure, metric: str) -> str:
    known = one.metrics.get(metric)
    if known is None or known.int8 is None:
        return "" if known is None else NOT_MEASURED
    return f"{decimals(known.int8)} ({interval(known)}{f'; {rests_on(one, metric)}' if has_classes(metric) else ''})"


def _folded(summary: str, inside: str) -> str:
    return f"<details><summary>{text(summary)}</summary>\n\n{inside}\n\n</details>"


def _numerics(hops: Sequence[NumericsHop]) -> str:
    if not hops:
        return _section("Numerics", NOT_MEASURED)
    rows = [
        (
            hop.name,
            hop.tensor,
            number(hop.mean_abs, 3),
            number(hop.max_abs, 3),
            "" if hop.mask_agreement is None else f"{hop.mask_agreement:.5f}",
            "" if hop.labels_equal is None else "equal" if hop.labels_equal else "differ",
            {True: "✓ equivalent", False: "✗ diverges", None: "shown only"}[hop.equivalent],
        )
        for hop in hops
    ]
    header = ("hop", "output", "mean difference", "largest", "mask agreement", "decisions", "")
    first = next((hop for hop in hops if hop.equivalent is False), None)
    found = (text(f"The first to diverge is {first.name}, at {first.tensor}."),) if first is not None else ()
    return _section("Numerics", table(header, rows), *found)


def resources(measured: Measurements) -> tuple[str, ...]:
    """Times, size and memory, and what makes the times doubtful."""
    rows = [
        (
            f"{figure.name} {DOUBTED}" if latency.warning(figure) else figure.name,
            str(figure.threads),
            number(figure.p50_ms),
            number(figure.p90_ms),
            number(figure.p99_ms),
            NOT_MEASURED if figure.cv is None else f"{figure.cv:.1%}",
            f"{figure.samples} in {figure.seconds:.0f} s, {figure.mode}",
        )
        for figure in measured.latency
    ]
    header = ("latency", "threads", "p50 ms", "p90 ms", "p99 ms", "scatter", "samples")
    memory = measured.memory
    facts = [
        ("speed", speed(measured.speed)),
        ("cold start", _start(measured.cold_start)),
        ("size", unit(measured.size_mib, "MiB")),
        ("peak memory", _memory(memory) if memory is not None else absent(measured, "memory")),
    ]
    times = table(header, rows) if rows else f"Latency: {text(absent(measured, 'latency'))}."
    return times, items(f"{DOUBTED} {sentence}" for sentence in doubts(measured)), _list(facts)


def _start(cold: ColdStart | None) -> str:
    if cold is None:
        return NO_START
    parts = f"{unit(cold.load_ms, 'ms')} to load, {unit(cold.first_run_ms, 'ms')} for the first run"
    return f"{unit(cold.total_ms, 'ms')} ({parts}; medians of {cold.starts} starts, files warm)"


def _memory(figure: MemoryFigure) -> str:
    host = unit(figure.peak_mib, "MiB")
    return host if figure.device_mib is None else f"{host}, and {unit(figure.device_mib, 'MiB')} of the accelerator"


def _placement(measured: Measurements) -> str:
    place = measured.placement
    if place is None:
        return _section("Placement", text(absent(measured, "placement")))
    left = place.float_operators
    share = "none" if place.integer_fraction is None else f"{place.integer_fraction:.1%}"
    integers = f"{place.integer_convolutions} of {place.convolutions} ({share})"
    facts = [
        ("ran on", place.provider),
        ("integer convolutions", absent(measured, "placement") if place.integer_convolutions is None else integers),
        (
            "left in float",
            NOT_MEASURED if left is None else counted(left) if left else "nothing that the network quantizes",
        ),
    ]
    if place.partitions is not None:
        facts.append(("parts a delegate took over", str(place.partitions)))
        facts.append(("run outside it", outside(place)))
    return _section("Placement", _list(facts), _layers(place.layers))


def _layers(layers: Sequence[LayerFigure]) -> str:
    """A table that stays folded until somebody asks for it."""
    if not layers:
        return ""
    counts = Counter(layer.precision or "untold" for layer in layers)
    told = ", ".join(f"{count} {precision}" for precision, count in counts.most_common())
    rows = [(layer.name, layer.type, layer.precision or "untold", ", ".join(layer.nodes)) for layer in layers]
    return _folded(
        f"{many(len(layers), 'layer')} of the engine: {told}",
        table(("layer", "type", "computes in", "operators"), rows),
    )


def _device(measured: Measurements) -> str:
    device = measured.device
    if device is None:
        return _section("Device", NOT_MEASURED)
    clocks = {None: "", True: ", clocks pinned", False: ", clocks not pinned"}[device.clocks_pinned]
    told = {
        "board": device.board,
        "gpu": device.gpu and f"{device.gpu}{f', driver {device.gpu_driver}' if device.gpu_driver else ''}",
        "power mode": device.power_mode and f"{device.power_mode}{clocks}",
        "slowed down by": ", ".join(device.throttled) if device.throttled else None,
    }
    facts = [
        *((name, value) for name, value in told.items() if value),
        ("cpu", f"{device.cpu}, {device.cores} core{'s' if device.cores > 1 else ''}"),
        ("flags", ", ".join(device.flags) or "none that speed integers up"),
        ("governor", device.governor or NOT_MEASURED),
        ("clock", unit(device.clock_mhz, "MHz")),
        ("temperature", unit(device.temperature_c, "°C")),
        ("system", f"{device.os}, Python {device.python}"),
        ("engines", engines(device)),
    ]
    return _section("Device", _list(facts))


def _attestations(attestations: Sequence[Attestation]) -> str:
    return _section("Attestations", items(one.sentence for one in attestations)) if attestations else ""


def _cautions(report: Report) -> str:
    told = cautions(report)
    return _section("Cautions", items(told)) if told else ""


def _footer(report: Report) -> str:
    facts = [
        f"- artifact: {code(report.artifact)}, sha256 {text(report.artifact_sha256)}",
        f"- graph: sha256 {text(report.graph_sha256)}",
        f"- made: {text(f'{report.created}, edgeskin {report.edgeskin_version}')}",
    ]
    commands = "\n".join(line(f"{word}: {command}") for word, command in report.next_commands)
    return _section("What this is about", "\n".join(facts), f"```\n{commands}\n```" if commands else "")


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {title}", *(part for part in parts if part)])


def _list(facts: Iterable[tuple[str, str]]) -> str:
    return items(f"{name}: {value}" for name, value in facts)
