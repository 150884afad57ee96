"""`edgeskin export`: build a bundle for a target, measure it, judge it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeskin.cli import terminal


def export(
    target: Annotated[
        str, typer.Option(help="onnx, tflite, coreml, tensorrt, or all: every target that can be built here.")
    ],
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="A run, a Graph folder, or the name of a shipped release; otherwise the default one.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="int8, fp16, fp32, or w8a16 (int8 weights alone); otherwise the profile's.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="A profile file, or the name of a shipped one.")] = None,
    gate: Annotated[
        str | None, typer.Option(help="A gate file, or the name of a shipped one; otherwise the profile's.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Measure accuracy on this data folder; otherwise by evidence.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="val, select, or several: select+val; otherwise the profile's. Never test.")
    ] = None,
    raw_outputs: Annotated[
        bool | None,
        typer.Option(
            "--raw-outputs/--no-raw-outputs",
            help="tflite, int8: end at the heads' int8 logits, for an app to compute the rest.",
        ),
    ] = None,
    compute: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option(
            help="coreml, int8: the float between integers. float16 (the default) runs on every processor; float32 not "
            "on a neural engine, but as near to int8.onnx as onnxruntime is to itself.",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="GPU,…",
            help="tensorrt: build an engine of TensorRT-RTX ahead of time for these generations of GPUs besides: "
            "ampere, ada, blackwell, ampere-server, turing, gb10.",
        ),
    ] = None,
    via: Annotated[
        Literal["torch-tensorrt"] | None,
        typer.Option(help="tensorrt: a program that Torch-TensorRT compiles, for those who serve from torch."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The bundle; otherwise bundles/NAME-TARGET-PRECISION. With --target all, a folder of bundles. "
            "Nothing but a bundle is ever replaced.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="int8: where the gate fails by accuracy, return the layers that cause the error to float, one group "
            "at a time. The repaired Graph stands beside the bundle, as DIR-graph.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each verdict as one JSON object on a line.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only how each bundle came out.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every promise and every hop of the chain.")] = False,
) -> None:
    """Build a bundle, measure it on this machine, and judge it.

    Exit codes: 0 the gate passed, 1 error, 2 usage, 3 the gate failed, 4 a device must still measure something, 130
    interrupted. An error or an interruption leaves an older bundle as it was.
    """
    from edgeskin.cli import verdict
    from edgeskin.data.cases import data_folder
    from edgeskin.errors import EdgeskinError, TargetError
    from edgeskin.export import journey
    from edgeskin.export import repair as repairing
    from edgeskin.export.profile import ALL, Profile, profiles_for, unbuildable
    from edgeskin.export.release import for_target, released_by
    from edgeskin.targets.tensorrt import ahead

    say = terminal.words(quiet)
    if via is not None:
        if target != "tensorrt":
            raise TargetError(f"{target} is not built via {via}. Leave out --via, or give --target tensorrt")
        if gpus is not None:
            raise TargetError(f"{via} compiles on the GPU itself, for none ahead of time. Leave out --via or --gpus")
        target = via
    chosen = [
        one.altered(
            precision=precision,
            gate=gate,
            split=split,
            raw_outputs=raw_outputs,
            compute=compute,
            gpus=None if gpus is None else ahead.named(gpus.split(",")),
        )
        for one in profiles_for(target, profile)
    ]
    labelled = data_folder(data) if data else None
    graph = journey.find_graph(source, say)
    came_out: list[tuple[str, str]] = []
    codes = set[int]()
    for one in chosen:
        name = f"{graph.card.name}-{one.target}-{one.precision}{one.suffix}"
        place = Path("bundles") / name if out is None else out / name if target == ALL else out
        try:
            with terminal.progress(quiet) as progress:
                make = repairing.export if repair else journey.export
                done = make(graph, one, place, data=labelled, say=say, progress=progress)
        except EdgeskinError as error:
            if target != ALL:
                raise
            # The other targets are built all the same.
            terminal.complain(str(error))
            came_out.append((one.target, "error: nothing was built"))
            codes.add(1)
            continue
        verdict.show(done.report, place, as_json=as_json, quiet=quiet, verbose=verbose)
        say(f"Report:    {place / 'report.html'}")
        for word, command in done.report.next_commands:
            say(f"{word + ':':<10} {command}")
        if done.verdict.state == "failed":
            passed = released_by(graph)
            if passed is not None and passed not in {one.gate, Profile.default("onnx").gate}:
                say(f"Released:  by the gate {passed}; to judge by it, add --gate {for_target(passed, one.gate)}")
        came_out.append((one.target, f"{done.verdict.state}: {place}"))
        codes.add(done.verdict.exit_code)
    if target == ALL:
        came_out += ((name, f"not built: {sentence}") for name, sentence in unbuildable().items())
        for name, sentence in came_out:
            say(f"{name:<9}  {sentence}")
    raise typer.Exit(next(code for code in WORST_FIRST if code in codes))


WORST_FIRST = (1, 3, 4, 0)
"""Exit codes: what could not be built outweighs a failure, and that what is still pending."""
