"""`edgeskin debug`: where a bundle diverges, and by which node."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeskin.cli import terminal, trust

if TYPE_CHECKING:
    from edgeskin.benchmarks.measurements import NumericsHop
    from edgeskin.export.debug import Diagnosis, Step, TensorError


def debug(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="The run or Graph folder it came from: compares int8.onnx too."),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="In how many golden cases every tensor is compared.")] = 4,
    worst: Annotated[int, typer.Option(min=0, help="How many tensors of each step are listed, worst first.")] = 5,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the error by depth there, as SVG.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every tensor of every step as one JSON object.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the first divergence.")] = False,
) -> None:
    """Name the first node that computes something else.

    Every tensor is compared along the chain, from int8.onnx to what the engines of this machine compute. Errors are
    shares of a tensor, root mean square. Carried: each side runs its own whole network, so roundings snowball. Alone: a
    node is fed equal values; by this, and by what two files say of a node, it is judged. The bundle stays as it is.

    Exit codes: 0 nothing diverges, 1 error, 2 usage, 3 something diverges, 4 nothing does, but the engine is elsewhere.
    """
    from edgeskin.export import journey
    from edgeskin.export.debug import debug as run

    say = terminal.words(quiet)
    graph = None if source is None else journey.find_graph(source, say)
    trained = source if source is not None and (source / "run.json").is_file() else None
    found = run(bundle, graph=graph, run=trained, cases=cases, picture=svg, say=say)
    trust.ask(bundle, say)
    if as_json:
        first = None if found.first is None else found.first.model_dump(mode="json")
        value = {"first": first, "exit_code": found.exit_code, **found.model_dump(mode="json")}
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        for line in _lines(found, worst, quiet, named=graph is not None):
            typer.echo(line)
    if svg is not None:
        say(f"Picture:   {svg}")
    raise typer.Exit(found.exit_code)


def _lines(found: "Diagnosis", worst: int, quiet: bool, named: bool) -> Iterator[str]:
    """named: whether nodes are named wherever something diverges."""
    from edgeskin.benchmarks.report.words import many

    if not quiet:
        shown = f"{many(len(found.cases), 'golden case')} (· is shown, not judged)"
        yield f"{found.bundle}: {found.target} {found.precision}, {shown}"
        for step in found.steps:
            yield from _tree(step, worst)
    first = found.first
    yield found.verdict if first is None else f"{found.verdict}: {'; '.join(first.reasons)}"
    if first is not None and first.node is None and not named:
        yield "To name the node: --from RUN or GRAPH"


def _tree(step: "Step", worst: int) -> Iterator[str]:
    mark = ("✗" if step.diverges else "✓") if step.judged else "·"
    yield f"  {mark} {step.name}"
    rows = [f"({note})" for note in step.notes]
    listed = [tensor for tensor in step.ranked if tensor.diverges or tensor.alone or tensor.carried][:worst]
    if step.tensors and not listed and worst:
        rows.append(f"{sum(tensor.carried is not None for tensor in step.tensors)} nodes, all the same")
    longest = max((len(_title(tensor, step)) for tensor in listed), default=0)
    rows += [_row(tensor, step, longest) for tensor in listed]
    hidden = len(step.divergent) - len(listed)
    if hidden > 0:
        rows.append(f"{hidden} more diverge")
    rows += [_output(hop) for hop in step.outputs]
    for row in rows:
        yield f"    {'└' if row is rows[-1] else '├'} {row}"


def _title(tensor: "TensorError", step: "Step") -> str:
    mark = {True: "✗", False: "✓", None: "·"}[tensor.diverges]
    return f"{mark} {tensor.node} ({tensor.kind}, {tensor.place + 1} of {step.nodes})"


def _row(tensor: "TensorError", step: "Step", width: int) -> str:
    parts = [f"alone {_figure(tensor.alone)}", f"carried {_figure(tensor.carried)}"]
    if tensor.diverges and tensor.wrong:
        parts.append(f"{tensor.wrong:.3%} wrong")
    return f"{_title(tensor, step):{width}}  {', '.join([*parts, *tensor.otherwise])}"


def _figure(error: float | None) -> str:
    return "?" if error is None else f"{error:.2g}"


def _output(hop: "NumericsHop") -> str:
    mark = {True: "✓", False: "✗", None: "·"}[hop.equivalent]
    difference = "not measured" if hop.mean_abs is None else f"mean difference {hop.mean_abs:.3g}"
    return f"{mark} {hop.tensor}: {difference}"
