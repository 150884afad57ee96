"""`edgeskin search`: which values of a recipe's keys are best on `select`."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def search(
    space: Annotated[Path, typer.Argument(metavar="SPACE", help="A TOML file: a recipe and what to try of it.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data folder; otherwise the recipe's own under EDGESKIN_DATA.")
    ] = None,
    trials: Annotated[int | None, typer.Option(metavar="N", min=1, help="Trials in all; otherwise SPACE says.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The search's folder; otherwise searches/NAME under EDGESKIN_RUNS or runs/."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="EDGESKIN_WEIGHTS", help="Folder of the ImageNet starts.", file_okay=False),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; otherwise a GPU where there is one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not tell of each trial.")] = False,
) -> None:
    """Search for the best values of a recipe's keys.

    Trials are judged on `select`; val and test play no part. The same command goes on after Ctrl-C, and with a larger
    N. The best recipe is written to best.toml.

    Exit codes: 0 a best trial was found, 1 error, 2 usage, 130 interrupted.
    """
    from edgeskin import optional
    from edgeskin.data.cases import data_folder

    optional.demand("optuna", "torch", "torchao", "safetensors", "tensorboard")
    from edgeskin.train import recipe as recipes
    from edgeskin.train import search as searches
    from edgeskin.train import space as spaces
    from edgeskin.train.memory import keep_freed_memory

    file = spaces.read(space)
    folder = run or Path(os.environ.get("EDGESKIN_RUNS", "runs")) / "searches" / file.name
    dataset = recipes.read(spaces.base_of(space, file), file.changes).data.dataset
    bench = searches.Bench(data_folder(data, dataset), folder, weights, device, terminal.words(quiet))
    keep_freed_memory()
    found = searches.search(space, bench, trials)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    typer.echo(found.markdown())
    for override in found.overrides:
        typer.echo(f"--set {shlex.quote(override)}")
    typer.echo(f"Train it: edgeskin train {shlex.quote(found.recipe)} --data DIR", err=True)
