"""`edgeskin report`: the report of a bundle, judged now, in whatever form somebody needs."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal, trust


def report(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")
    ] = None,
    *,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Where to write it, by its ending: .html, .md, .xml (JUnit) or .json; may be given several times. "
            "Otherwise Markdown is printed.",
        ),
    ] = None,
    gate: Annotated[
        str | None, typer.Option(help="A gate file, or the name of a shipped one; otherwise that of the report.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="The profile that says what may stay pending or be inherited; otherwise that of the report."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The images that accuracy was measured on: the page then shows the worst cases with truth and answer. "
            "Such a page holds photographs.",
        ),
    ] = None,
    require_signature: trust.RequireSignature = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of report.json instead.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Write a bundle's report as a page or a file, judged anew.

    It is judged by what was measured where it was made and, since, elsewhere. Nothing is measured again, and the bundle
    stays as it is: its own report.html, report.md, report.junit.xml and report.json are from when it was made.

    Exit codes: 0 written, however the gate came out, 1 error, 2 usage.
    """
    import json

    from edgeskin.benchmarks import report as reports
    from edgeskin.data.cases import data_folder
    from edgeskin.export import journey
    from edgeskin.screen import worst

    if schema:
        typer.echo(json.dumps(reports.schema(), indent=2, sort_keys=True, ensure_ascii=False))
        return
    if bundle is None:
        raise typer.BadParameter("give a BUNDLE, or --schema alone")
    places = out or []
    reports.demand_places(places, bundle)
    if data is not None and not any(place.suffix == ".html" for place in places):
        raise typer.BadParameter("--data is for a page: add --out page.html")
    images = None if data is None else data_folder(data)
    judged = journey.judge(bundle, rules=gate, profile=profile)
    say = terminal.words(quiet)
    trust.ask(bundle, say, required=require_signature)
    pictures = worst.pictures(bundle, judged, images) if images is not None else ()
    if not places:
        typer.echo(reports.render(judged), nl=False)
    for place in places:
        reports.write_one(place, judged, pictures)
        say(f"Report:    {place}")
