"""The command line: parse, call one function, print, choose the exit code.

A command imports what it carries out when it runs, so that `edgeskin --help` loads no NumPy and no engine.
"""

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import edgeskin
from edgeskin.cli import (
    ablate,
    analyse,
    attest,
    benchmark,
    compare,
    data,
    debug,
    describe,
    doctor,
    evaluate,
    export,
    gate,
    inspect,
    predict,
    release,
    report,
    search,
    sign,
    terminal,
    train,
    verify,
)
from edgeskin.errors import EdgeskinError

app = typer.Typer(
    name="edgeskin",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 passed, 1 error, 2 usage, 3 gate failed, 4 pending on a device, 130 interrupted.",
)
app.add_typer(data.app, name="data")
app.command()(describe.describe)
app.command()(train.train)
app.command()(search.search)
app.command()(analyse.analyse)
app.command()(ablate.ablate)
app.command()(export.export)
app.command()(evaluate.evaluate)
app.command()(benchmark.benchmark)
app.command()(compare.compare)
app.command()(gate.gate)
app.command()(attest.attest)
app.command()(debug.debug)
app.command()(verify.verify)
app.command()(sign.sign)
app.command()(inspect.inspect)
app.command()(report.report)
app.command()(release.release)
app.command()(predict.predict)
app.command()(doctor.doctor)

ERROR, USAGE, INTERRUPTED = 1, 2, 130


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Skin-lesion screening networks for phones and small boards: trained, quantized, exported through ONNX, gated."""
    if version:
        typer.echo(f"edgeskin {edgeskin.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(USAGE)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (by default that of the process) and exit.

    A user's mistake is one `error:` on stderr, never a traceback; a mistake of ours keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may be no text, and a terminal may know no ✓
    try:
        code = app(arguments, prog_name="edgeskin", standalone_mode=False) or 0
    except EdgeskinError as error:
        terminal.complain(str(error))
        code = ERROR
    except typer.TyperException as error:
        code = _explain_usage(error)
    except typer.Abort:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does.
        _close_stdout()
        code = ERROR
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _close_stdout()
        terminal.complain("stdout: cannot write: the disk is full; free some space")
        code = ERROR
    finally:
        terminal.loud()
    if code == INTERRUPTED:
        typer.echo("interrupted", err=True)
    sys.exit(code)


def _close_stdout() -> None:
    """Nothing more can be written there, and the interpreter must not stumble over it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line, what was perhaps meant, and how it is used; the exit code."""
    options = getattr(error, "possibilities", None) or ()
    message, _, commands = (error.message if options else error.format_message()).partition(" Did you mean ")
    terminal.complain(message)
    for kind, near in (("option", options), ("command", commands.rstrip("?").replace("'", "").split(", "))):
        if near and near[0]:
            typer.echo(f"tip: a similar {kind} exists: {near[0]}", err=True)
    context = getattr(error, "ctx", None)
    if context is not None:
        typer.echo(f"{context.get_usage()}\nHelp: {context.command_path} --help", err=True)
    return error.exit_code
