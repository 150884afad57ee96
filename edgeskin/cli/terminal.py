"""What a person at the terminal sees: words and progress go to stderr, so that stdout holds results alone."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LOG = logging.getLogger("edgeskin")


def words(quiet: bool) -> Callable[[str], None]:
    """Says one line on stderr, or nothing where the user wants quiet; the library's warnings are such lines, too."""
    if quiet:
        _LOG.setLevel(logging.ERROR)

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    return say


def complain(message: str) -> None:
    """Print a mistake: `error:` before each of its lines but those that are indented and so belong to the one above.

    In a step of a GitHub workflow it is told as an annotation and in the job's summary too.
    """
    for line in message.splitlines():
        typer.echo(line if line.startswith(" ") else f"error: {line}", err=True)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _announce(message)


def _announce(message: str) -> None:
    from edgeskin.benchmarks.markup import items
    from edgeskin.benchmarks.report import github
    from edgeskin.errors import EdgeskinError

    typer.echo(github.error(message), err=True)
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):
        with suppress(EdgeskinError):  # that the summary cannot be written is less than what is told
            github.append(f"# edgeskin: error\n\n{items(message.splitlines())}\n", Path(place))


def loud() -> None:
    """The library warns again, after a command whose user wanted quiet."""
    _LOG.setLevel(logging.NOTSET)


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage, given as (name, done, total); it is there only while the stage lasts."""
    bars = _Bars(quiet)
    try:
        yield bars
    finally:
        bars.stop()


class _Bars:
    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done)

    def stop(self) -> None:
        """Take the bars away."""
        if self._bar is not None:
            self._bar.stop()


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
