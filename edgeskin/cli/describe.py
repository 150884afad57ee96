"""`edgeskin describe`: the network of a recipe, before it is trained."""

import shutil
from pathlib import Path
from typing import Annotated

import typer


def describe(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe; repeatable.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the picture as SVG, for light and dark pages.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as one JSON object.")] = False,
) -> None:
    """Show a recipe's network as a table and a picture.

    Its parts, what they give, parameters and multiply-adds of one image, what an export drops.

    Exit codes: 0 described, 1 error, 2 usage.
    """
    from edgeskin import files, optional, shipped

    optional.demand("torch", "torchao")
    from edgeskin.train import recipe as recipes
    from edgeskin.train.describe import describe as run_description
    from edgeskin.train.describe.svg import to_svg
    from edgeskin.train.describe.text import to_json, to_text

    description = run_description(recipes.read(shipped.find("recipes", recipe), tuple(set_ or ())))
    if svg is not None:
        files.write_text(svg, to_svg(description))
        typer.echo(f"{svg}: the picture", err=True)
    if as_json:
        typer.echo(to_json(description))
        return
    for line in to_text(description, shutil.get_terminal_size((160, 24)).columns):
        typer.echo(line)
