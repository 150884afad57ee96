"""`edgeskin predict`: screen photos."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal, trust


def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO...", help="Photos; a folder stands for the pictures directly in it, by name."),
    ],
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(help="A bundle, a Graph folder, or the name of a shipped release; otherwise the default one."),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is known beside the photos, for a network that takes it: CSV, or JSON where it ends in .json, "
            "with `file` and the network's fields. Photos without a row, and empty cells, are unknown.",
        ),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each lesion mask to this folder: STEM.png, 0 or 255.")
    ] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each photo with the lesion's outline to this folder: STEM.jpg."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network; by default half of the cores.")
    ] = None,
    require_signature: trust.RequireSignature = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No summary on stderr.")] = False,
) -> None:
    """Screen photos.

    Prints one JSON object a photo, in the order given; where there are no findings it says why.

    Exit codes: 0 all were screened, 1 error, or a photo could not be screened (the others are all the same), 2 usage.
    """
    from edgeskin.contract.findings import Failure
    from edgeskin.screen import metadata as metadata_file
    from edgeskin.screen.predictor import Predictor, photos_in

    chosen = photos_in(photos)
    predictor = Predictor.open(bundle, threads=threads)
    say = terminal.words(quiet)
    trust.ask(bundle, say, required=require_signature)
    spec = predictor.card.metadata
    if metadata is not None and spec is None:
        raise typer.BadParameter(f"{predictor.card.name} takes no metadata", param_hint="--metadata")
    known = {} if metadata is None or spec is None else metadata_file.read(metadata, chosen, spec)
    failed = 0
    for answer in predictor.predict(chosen, metadata=known, masks=masks, overlays=overlays):
        failed += isinstance(answer, Failure)
        typer.echo(answer.line())
    say(
        f"{len(chosen)} {'photo' if len(chosen) == 1 else 'photos'}, {failed} failed, {predictor.total_seconds:.1f} s, "
        f"{predictor.network_share:.0%} of it in the network"
    )
    raise typer.Exit(1 if failed else 0)
