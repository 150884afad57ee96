"""`edgeskin compare`: what became better or worse beyond noise, and a chart over releases."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeskin.cli import terminal, trust

if TYPE_CHECKING:
    from edgeskin.benchmarks.compare import Compared, Outcome, Row

MARKS: "dict[Outcome, str]" = {"worse": "✗", "better": "✓", "same": "=", "not comparable": "·"}
HEADER = ("", "figure", "old", "new", "noise", "")


def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[OLD] NEW",
            help="Bundles, report.json files, what `edgeskin benchmark --json` printed, or a baseline's name: "
            "DEVICE/NETWORK-TARGET-PRECISION. Without OLD, the baseline of NEW on its device.",
        ),
    ],
    *,
    baselines: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of baselines, one folder a device.")
    ] = Path("benchmarks/baselines"),
    save_baseline: Annotated[
        bool, typer.Option("--save-baseline", help="Keep NEW as the baseline of its device, unless it is worse.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Draw the figures of many bundles, reports, or folders of them.")
    ] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="With --history: where the chart goes.")] = None,
    require_signature: trust.RequireSignature = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only what became worse.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print also what stayed the same.")] = False,
) -> None:
    """Say what became better or worse beyond noise.

    Accuracy is compared on the same split, by the intervals that both carry; time, memory and placement only on the
    same kind of machine. What cannot be compared is listed with its reason; where nothing can, that is an error.

    Exit codes: 0 nothing became worse, 1 error, 2 usage, 3 something became worse.
    """
    if history:
        _draw(sources, svg, require_signature, quiet=quiet)
        return
    if svg is not None:
        raise typer.BadParameter("draws a history: give --history too", param_hint="--svg")
    if len(sources) > 2:
        raise typer.BadParameter(f"two are compared, and {len(sources)} were given", param_hint="[OLD] NEW")
    from edgeskin.benchmarks import baseline, latency
    from edgeskin.benchmarks import compare as rules

    say = terminal.words(quiet)
    new = baseline.read(sources[-1], baselines)
    old = (
        baseline.read(sources[0], baselines)
        if len(sources) > 1
        else baseline.of(new, baselines, must=not save_baseline)
    )
    for folder in dict.fromkeys(
        filter(None, (*map(baseline.bundle_of, sources[:-1]), baseline.bundle_of(sources[-1]) or Path(sources[-1])))
    ):
        trust.ask(folder, say, required=require_signature)
    if old is not None:
        found = rules.compare(old, new)
        if as_json:
            facts = found.model_dump(mode="json") | {"exit_code": found.exit_code}
            typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        else:
            for line in table(found, quiet=quiet, verbose=verbose):
                typer.echo(line)
        if found.exit_code:
            if save_baseline:
                say("the baseline stays as it is. To accept what became worse, remove its file and save again")
            raise typer.Exit(found.exit_code)
    if save_baseline:
        for warning in filter(None, map(latency.warning, new.measurements.latency)):
            say(f"warning: {warning}")
        say(f"Baseline: {baseline.save(new, baselines)}")


def table(found: "Compared", *, quiet: bool, verbose: bool) -> Iterator[str]:
    """A table that lines up in plain text and is one in Markdown too; what stayed the same is counted, and what only
    one side has is named in a line.
    """
    from edgeskin.benchmarks import markup
    from edgeskin.benchmarks.compare import SHARED

    shown = {"worse"} if quiet else {"worse", "better", "not comparable"} | ({"same"} if verbose else set())
    told = ", ".join(f"{len(found.of(outcome))} {outcome}" for outcome in MARKS if found.of(outcome))
    yield f"{found.old} → {found.new}: {told}"
    if found.changed and not quiet:
        yield ""
        yield f"Changed besides: {'; '.join(found.changed)}"
    rows = [row for row in found.rows if row.outcome in shown]
    if cells := [_cells(row) for row in rows if row.reason not in SHARED]:
        yield ""
        yield markup.table(HEADER, cells)
    for reason in SHARED:
        if names := dict.fromkeys(row.name for row in rows if row.reason == reason):
            yield ""
            yield f"{reason[0].upper()}{reason[1:]}: {', '.join(names)}"


def _cells(row: "Row") -> tuple[str, ...]:
    figures = ("" if value is None else f"{value:.4g}" for value in (row.old, row.new))
    noise = f"± {row.noise:.2g}" if row.noise else ""
    words = row.outcome if not row.reason else f"{row.outcome}: {row.reason}"
    return (MARKS[row.outcome], row.name, *figures, noise, words)


def _draw(sources: Sequence[str], svg: Path | None, require_signature: bool, *, quiet: bool) -> None:
    from edgeskin import files
    from edgeskin.benchmarks import history

    if svg is None:
        raise typer.BadParameter("say where the chart goes: --svg chart.svg", param_hint="--history")
    if require_signature:
        raise typer.BadParameter("is for two sides; a history reads reports alone", param_hint="--require-signature")
    releases = history.read([Path(source) for source in sources])
    files.write_text(svg, history.draw(releases))
    terminal.words(quiet)(f"Chart: {svg}, {len(releases)} reports")
