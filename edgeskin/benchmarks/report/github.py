"""A verdict where GitHub shows it: annotations on the run, and a summary of the job.

Sources: docs.github.com, "Workflow commands for GitHub Actions" (commands, escaping, job summaries) and "REST API
endpoints for check runs" (ten annotations of a kind a step).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeskin.benchmarks.gate import State
from edgeskin.benchmarks.report import markdown
from edgeskin.benchmarks.report.model import Report
from edgeskin.errors import EdgeskinError

SHOWN = 10
"""GitHub shows so many annotations of a kind a step, and drops the rest without a word."""


def running(environment: Mapping[str, str]) -> bool:
    """Whether this is a step of a GitHub workflow."""
    return environment.get("GITHUB_ACTIONS") == "true"


def annotations(report: Report) -> Iterator[str]:
    """A workflow command for each promise that failed (error) or is pending (warning).

    Where there are more than GitHub shows, the last one counts those that are left out.
    """
    about = f"{report.name} {report.target} {report.form or report.precision}"
    if not report.verdict.promises:
        yield _command("error", about, "the gate promises nothing of this network, and that is not a pass")
    for kind, state in _KINDS:
        promises = report.verdict.told(state)
        shown = promises if len(promises) <= SHOWN else promises[: SHOWN - 1]
        for names, sentence in shown:
            yield _command(kind, f"{about}: {names} {state}", sentence)
        if left := [names for names, _ in promises[len(shown) :]]:
            yield _command(kind, f"{about}: {len(left)} more {state}", ", ".join(left))


_KINDS: tuple[tuple[str, State], ...] = (("error", "failed"), ("warning", "pending"))


def error(message: str) -> str:
    """A workflow command for what ended a command, in the same words."""
    return _command("error", "edgeskin", message)


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_data(title).replace(':', '%3A').replace(',', '%2C')}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def summarize(report: Report, path: Path) -> None:
    """Append the verdict and its promises to the job's summary, as `append`."""
    append(markdown.summary(report), path)


def append(markup: str, path: Path) -> None:
    """Append Markdown to the job's summary, whose file GITHUB_STEP_SUMMARY names.

    Raises: EdgeskinError where the file cannot be written to.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(markup + "\n")
    except OSError as error:
        raise EdgeskinError(
            f"{path}: cannot write the job's summary (GITHUB_STEP_SUMMARY): {error.strerror}"
        ) from error
