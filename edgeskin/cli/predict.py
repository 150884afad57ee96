"""`edgeskin predict`: screen photos."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.contract.findings import Failure
from edgeskin.screen.predictor import Predictor, photos_in


def predict(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos; a folder stands for the pictures directly in it, by name.")
    ],
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle or a Graph folder; by default the release that comes with edgeskin.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Write each lesion mask to this folder: STEM.png, 0 or 255.")
    ] = None,
    overlays: Annotated[
        Path | None, typer.Option(help="Write each photo with the lesion's outline to this folder: STEM.jpg.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network; by default half of the cores.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No summary on stderr.")] = False,
) -> None:
    """Screen photos: one JSON object a photo on stdout, in the order given; exit 1 if any could not be screened."""
    chosen = photos_in(photos)
    predictor = Predictor.open(bundle, threads=threads)
    failed = 0
    for answer in predictor.predict(chosen, masks=masks, overlays=overlays):
        failed += isinstance(answer, Failure)
        typer.echo(answer.line())
    if not quiet:
        typer.echo(
            f"{len(chosen)} photos, {failed} failed, {predictor.total_seconds:.1f} s, "
            f"{predictor.network_share:.0%} of it in the network",
            err=True,
        )
    if failed:
        raise typer.Exit(1)
