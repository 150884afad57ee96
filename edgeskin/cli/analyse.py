"""`edgeskin analyse`: where a trained network looks, and what its features tell apart."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def analyse(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with a finished float phase.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The data folder; otherwise the run's under EDGESKIN_DATA.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val, select, or fold, what it held out; never test.")] = "val",
    head: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A head; repeatable. Otherwise all.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; otherwise RUN/analysis/SPLIT.")
    ] = None,
    tsne: Annotated[bool, typer.Option("--tsne", help="Draw the features by t-SNE too; needs scikit-learn.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print localisation.json.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the figures.")] = False,
) -> None:
    """Score activation maps against the true lesions.

    They and the features of every head are drawn as well.

    Two kinds of map: Grad-CAM++, and, for a head that pools and is linear, its class-activation map.

    Exit codes: 0 written, 1 error, 2 usage, 130 interrupted.
    """
    from edgeskin import optional

    optional.demand("torch", "torchao", "safetensors", *(("sklearn",) if tsne else ()))
    from edgeskin.data.cases import data_folder
    from edgeskin.export.analyse import analyse as look
    from edgeskin.train.checkpoint import read_run

    folder = data_folder(data, read_run(run).recipe.data.dataset)
    with terminal.progress(quiet) as progress:
        found = look(
            run,
            folder,
            split,
            out or run / "analysis" / split,
            heads=tuple(head or ()),
            tsne=tsne,
            say=terminal.words(quiet),
            progress=progress,
        )
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    typer.echo(f"{'head':<24} {'map':<16} {'n':>5} {'IoU':>15} {'overlap':>15} {'pointing':>9}")
    for name, one in found.heads.items():
        for kind, scores in one.maps.items():
            game = "–" if scores.pointing_game is None else f"{scores.pointing_game:.3f}"
            typer.echo(f"{name:<24} {kind:<16} {scores.n:>5} {scores.iou!s:>15} {scores.overlap!s:>15} {game:>9}")
    for caution in found.cautions:
        typer.echo(caution)
