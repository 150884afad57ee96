"""What one machine measured, as lines for people."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeskin.benchmarks.measurements import Measurements


def lines(figures: "Measurements") -> Iterator[str]:
    """The machine, times, memory and size; why something was not measured."""
    facts = figures.device
    if facts is not None:
        yield f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.flags)}"
    for figure in figures.latency:
        yield (
            f"{figure.name}: p50 {figure.p50_ms:.2f} ms, p90 {figure.p90_ms:.2f}, p99 {figure.p99_ms:.2f} "
            f"({figure.samples} samples, threads: {figure.threads}, {figure.mode})"
        )
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
    """What to know before the times are trusted."""
    from edgeskin.benchmarks import board, latency

    cautions = board.cautions(figures.device) if figures.device else ()
    for sentence in (*map(latency.warning, figures.latency), *cautions):
        if sentence is not None:
            yield f"warning: {sentence}"
