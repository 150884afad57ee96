"""How a judged bundle is shown: for people as marks and sentences, for machines as one object on one line."""

import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edgeskin.benchmarks.gate import State
    from edgeskin.benchmarks.measurements import NumericsHop
    from edgeskin.benchmarks.report import Report

MARKS: "dict[State, str]" = {"passed": "✓", "inherited": "✓", "reported": "·", "pending": "…", "failed": "✗"}


def show(report: "Report", folder: Path, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print a verdict on stdout: its state and what stands against it; with `verbose` everything it rests on.

    In a step of a GitHub workflow it is told as annotations and in the job's summary too.
    """
    verdict = report.verdict.at(folder)
    _announce(report.model_copy(update={"verdict": verdict}))
    if as_json:
        facts = {
            "bundle": str(folder),
            "target": report.target,
            "precision": report.precision,
            "form": report.form or report.precision,
            "gate": report.gate,
        }
        others = [{"name": one.name, "machine": one.machine, "uncounted": one.uncounted} for one in report.attestations]
        known = {"verified": report.measurements.verified, "attestations": others, "exit_code": verdict.exit_code}
        value = facts | known | verdict.model_dump(mode="json")
        typer.echo(json.dumps(value, ensure_ascii=False))
        return
    counts = ", ".join(
        f"{len(verdict.in_state(state))} {state}"
        for state in ("passed", "inherited", "reported", "pending", "failed")
        if verdict.in_state(state)
    )
    typer.echo(f"{verdict.state}: {folder} ({counts or 'the gate promises nothing of this network'})")
    if verbose:
        for promise in verdict.promises:
            typer.echo(f"  {MARKS[promise.state]} {promise.name}: {promise.sentence}")
    if not quiet:
        for state, names, sentence in () if verbose else verdict.against:
            typer.echo(f"  {MARKS[state]} {names}: {sentence}")
        typer.echo(f"  {report.verification}")
        for one in report.attestations:
            typer.echo(f"  attested by {one.sentence}")
    if verbose:
        for line in hops(report.measurements.numerics):
            typer.echo(line)


def _announce(report: "Report") -> None:
    """On stderr, which a runner reads for commands as it reads stdout (actions/runner, ScriptHandler.cs)."""
    from edgeskin.benchmarks.report import github

    if not github.running(os.environ):
        return
    for line in github.annotations(report):
        typer.echo(line, err=True)
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):
        github.summarize(report, Path(place))


def hops(compared: "tuple[NumericsHop, ...]") -> Iterator[str]:
    """The chain as a tree: each step, below it the outputs that were compared."""
    marks = {True: "✓", False: "✗", None: "·"}
    yield "hops (· is shown, not judged)"
    for name, group in groupby(compared, key=lambda hop: hop.name):
        outputs = list(group)
        judged = [hop.equivalent for hop in outputs if hop.equivalent is not None]
        yield f"  {marks[all(judged) if judged else None]} {name}"
        for hop in outputs:
            branch = "└" if hop is outputs[-1] else "├"
            yield f"    {branch} {marks[hop.equivalent]} {hop.tensor}: {_difference(hop)}"


def _difference(hop: "NumericsHop") -> str:
    parts = ["not measured" if hop.mean_abs is None else f"mean difference {hop.mean_abs:.3g}"]
    if hop.mask_agreement is not None:
        parts.append(f"mask agreement {hop.mask_agreement:.5f}")
    if hop.labels_equal is not None:
        parts.append(f"decisions {'equal' if hop.labels_equal else 'differ'}")
    return ", ".join(parts)
