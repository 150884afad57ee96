"""The command line: parse, call one function, print, choose the exit code."""

import sys
from typing import Annotated

import typer

import edgeskin
from edgeskin.cli import benchmark, data, doctor, evaluate, export, predict, release, train, verify
from edgeskin.errors import EdgeskinError

app = typer.Typer(
    name="edgeskin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Skin-lesion screening networks for phones and small boards: trained, quantized, exported through ONNX, gated.",
    epilog="Exit codes: 0 passed, 1 error, 2 usage, 3 gate failed, 4 pending on device, 130 interrupted.",
)
app.add_typer(data.app, name="data")
app.command()(train.train)
app.command()(export.export)
app.command()(evaluate.evaluate)
app.command()(benchmark.benchmark)
app.command()(predict.predict)
app.command()(verify.verify)
app.command()(release.release)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgeskin {edgeskin.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Skin-lesion screening networks for phones and small boards: trained, quantized, exported through ONNX, gated."""


def main() -> None:
    """Run the command line; a user's mistake is one sentence on stderr, never a traceback."""
    try:
        app()
    except EdgeskinError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
