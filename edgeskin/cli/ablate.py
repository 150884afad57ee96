"""`edgeskin ablate`: a family of recipes side by side."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def ablate(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="A TOML file, or the name of a shipped family: mtl.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data folder; otherwise the base's own under EDGESKIN_DATA.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="val, test, select, several as select+val, or fold; by default fold where there are folds."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the table as far as it was run; train nothing.")] = False,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Rows and runs go to DIR/ablations; otherwise EDGESKIN_RUNS or runs/."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="EDGESKIN_WEIGHTS", help="Folder of the ImageNet starts.", file_okay=False),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; otherwise a GPU where there is one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the table.")] = False,
) -> None:
    """Train and measure every recipe of a family.

    The table stands beside the papers' figures.

    A recipe is trained once: its row is kept under its hash, and a run that was interrupted goes on. A member that
    fails is a row that says so.

    Exit codes: 0 every member has its row (or --show), 1 an error, or a member failed, 2 usage, 130 interrupted.
    """
    from edgeskin import optional, shipped
    from edgeskin.data.cases import data_folder
    from edgeskin.export import ablate as ablations
    from edgeskin.export import family as families

    path = shipped.find("families", family)
    place = runs or Path(os.environ.get("EDGESKIN_RUNS", "runs"))
    if show:
        table = ablations.show(path, place, split)
    else:
        optional.demand("torch", "torchao", "safetensors", "tensorboard", "onnxscript", "onnx", "onnxruntime")
        from edgeskin.train.memory import keep_freed_memory

        keep_freed_memory()
        _, trials = families.read(path, place)
        folder = data_folder(data, trials[0].each[0].recipe.data.dataset)
        with terminal.progress(quiet) as progress:
            bench = ablations.Bench(folder, split, weights, device, terminal.words(quiet), progress)
            table = ablations.ablate(path, place, bench)
    typer.echo(table.model_dump_json(indent=2) if as_json else table.markdown(), nl=as_json)
    raise typer.Exit(1 if table.failed and not show else 0)
