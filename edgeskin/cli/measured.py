"""What one machine measured, as lines for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeskin.benchmarks.measurements import ColdStart, DeviceFacts, LatencyFigure, Measurements

_UNTOLD = "–"
_FEW = 2
"""Of more doubtful figures than these not each is doubted in a line of its own."""


def lines(figures: "Measurements") -> Iterator[str]:
    """The machine, times, memory and size; why something was not measured."""
    from edgeskin.benchmarks.report import words

    if figures.device is not None:
        yield from _machine(figures.device)
    if figures.latency:
        yield from _table([_HEADER, *map(_row, figures.latency)])
    if figures.speed is not None:
        yield f"speed: {words.speed(figures.speed)}"
    if figures.cold_start is not None:
        yield _cold_start(figures.cold_start)
    if figures.memory is not None and figures.memory.peak_mib is not None:
        device = figures.memory.device_mib
        besides = "" if device is None else f", and {device:.0f} MiB of the accelerator"
        yield f"peak memory: {figures.memory.peak_mib:.0f} MiB{besides}"
    if figures.size_mib is not None:
        yield f"size: {figures.size_mib:.2f} MiB"
    sections: dict[str, list[str]] = {}
    for section, reason in figures.not_measured.items():
        sections.setdefault(reason, []).append(section)
    for reason, named in sections.items():
        yield f"not measured, {', '.join(named)}: {reason}"


def warnings(figures: "Measurements") -> Iterator[str]:
    """What to know before the times are trusted; of many figures in one line."""
    from edgeskin.benchmarks import board, latency

    doubtful = [figure for figure in figures.latency if latency.warning(figure) is not None]
    doubts = [_doubts(doubtful, len(figures.latency))] if len(doubtful) > _FEW else map(latency.warning, doubtful)
    cautions = board.cautions(figures.device) if figures.device else ()
    for sentence in (*doubts, *_crowded(figures), *cautions):
        yield f"warning: {sentence}"


def _crowded(figures: "Measurements") -> Iterator[str]:
    from edgeskin.benchmarks.report import words

    cores = figures.device.cores if figures.device else None
    most = max((figure.threads for figure in figures.latency), default=1)
    if cores is not None and most > cores:
        yield (
            f"{most} threads take turns on {words.many(cores, 'core')}: times at more than {cores} are "
            "those of no machine that has as many cores"
        )


def _doubts(doubtful: "Sequence[LatencyFigure]", of: int) -> str:
    scatter = max((figure.cv or 0.0) for figure in doubtful)
    shares = [figure.conditions.others_share or 0.0 for figure in doubtful if figure.conditions]
    others = f", other work took up to {max(shares):.0%} of all cores' time" if any(shares) else ""
    hot = [
        figure.conditions
        for figure in doubtful
        if figure.conditions
        and (figure.conditions.newly_throttled or figure.conditions.throttled or figure.conditions.cooled is False)
    ]
    heat = f", the machine was hot or slowed down in {len(hot)}" if hot else ""
    rest = ", let it cool down" if hot else ""
    return (
        f"{len(doubtful)} of {of} figures are not to be trusted: they scatter by up to {scatter:.0%}{others}{heat}; "
        f"stop other work on this machine{rest} and measure again"
    )


def _machine(facts: "DeviceFacts") -> Iterator[str]:
    yield f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.flags)}"
    if facts.gpu is not None:
        yield f"{facts.gpu}, driver {facts.gpu_driver or 'unknown'}"
    state = {
        "governor": facts.governor,
        "power mode": facts.power_mode,
        "clock": facts.clock_mhz and f"{facts.clock_mhz:.0f} MHz",
        "temperature": facts.temperature_c and f"{facts.temperature_c:.0f} °C",
    }
    told = [f"{name} {value}" for name, value in state.items() if value]
    if told:
        yield ", ".join(told)


_HEADER = ("", "threads", "batch", "p50 ms", "p90 ms", "p99 ms", "scatter", "pictures/s", "samples")


def _row(figure: "LatencyFigure") -> tuple[str, ...]:
    return (
        figure.name,
        str(figure.threads),
        str(figure.batch),
        *(_ms(value) for value in (figure.p50_ms, figure.p90_ms, figure.p99_ms)),
        _UNTOLD if figure.cv is None else f"{figure.cv:.0%}",
        _UNTOLD if figure.pictures_per_s is None else f"{figure.pictures_per_s:.1f}",
        f"{figure.samples} in {figure.seconds:.1f} s, {figure.mode}",
    )


def _cold_start(figure: "ColdStart") -> str:
    return (
        f"cold start: {_ms(figure.total_ms)} ms = load {_ms(figure.load_ms)} + first run {_ms(figure.first_run_ms)}, "
        f"slowest {_ms(figure.slowest_ms)} (medians of {figure.starts} processes, threads: {figure.threads}; "
        "Python and edgeskin were up, all files in memory)"
    )


def _ms(value: float | None) -> str:
    return _UNTOLD if value is None else f"{value:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns aligned: the first and the last to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *figures, last in rows:
        middle = (value.rjust(width) for value, width in zip(figures, widths[1:-1], strict=True))
        yield "  ".join((first.ljust(widths[0]), *middle, last)).rstrip()
