"""What training tells people: a progress bar, log.csv and TensorBoard."""

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from edgeskin import files
from edgeskin.errors import RunError
from edgeskin.train.recipe import Recipe


class Logs:
    """One row an epoch in log.csv, the same figures for TensorBoard; an epoch that is repeated replaces its row."""

    def __init__(self, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = run / "log.csv"
        self.writer = SummaryWriter(str(run / "tensorboard"))

    def epoch(self, phase: str, epoch: int, losses: Mapping[str, float], figures: Mapping[str, float]) -> None:
        """Write one epoch's mean losses and its figures on `select`.

        Raises: EdgeskinError where the disk is full.
        """
        rows = []
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as stream:
                rows = [
                    row for row in csv.DictReader(stream) if (row["phase"], row["epoch"]) != (phase, str(epoch + 1))
                ]
        values = {f"loss_{name}": f"{value:.5f}" for name, value in losses.items()}
        values |= {f"select_{name}": f"{value:.5f}" for name, value in figures.items()}
        now = time.strftime("%Y-%m-%dT%H:%M:%S")
        rows.append({"phase": phase, "epoch": str(epoch + 1), "finished": now, **values})
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[-1]), lineterminator="\n", extrasaction="ignore", restval="")
        table.writeheader()
        table.writerows(rows)
        files.write_text(self.path, text.getvalue())
        scalars = {f"loss/{name}": value for name, value in losses.items()}
        scalars |= {f"select/{name}": value for name, value in figures.items()}
        try:
            for name, value in scalars.items():
                self.writer.add_scalar(f"{phase}/{name}", value, epoch + 1)
            self.writer.flush()
        except OSError as error:
            raise RunError(
                f"{self.writer.log_dir}: cannot write: {error.strerror or error}. Free some space and go on with "
                "--resume; every finished epoch is kept"
            ) from error


class Progress:
    """A bar an epoch on stderr with losses and the time left; where stderr is no terminal, one line an epoch.

    quiet: say nothing.
    """

    def __init__(self, recipe: Recipe, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.epochs_left = recipe.float_phase.epochs + recipe.qat.epochs
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1, losses="")
        self.title = ""
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, words: str) -> None:
        """One line about what is being done."""
        self.console.print(words, highlight=False)

    def begin_epoch(self, phase: str, epoch: int, epochs: int, steps: int) -> None:
        """Start the bar of an epoch."""
        self.title = f"{phase} epoch {epoch + 1}/{epochs}"
        self.started = time.monotonic()
        self.epochs_left = epochs - epoch
        self.bar.reset(self.task, description=self.title, total=steps, losses="")

    def step(self, losses: Mapping[str, float]) -> None:
        """One training step was made."""
        words = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.bar.update(self.task, advance=1, losses=words)

    def end_epoch(self, losses: Mapping[str, float], figures: Mapping[str, float]) -> None:
        """Print an epoch's figures, with the time that the rest of the phase will take."""
        seconds = time.monotonic() - self.started
        left = seconds * (self.epochs_left - 1) / 60
        words = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        loss = sum(losses.values())
        self.console.print(
            f"{self.title}: {seconds:.0f} s, loss {loss:.3f}, select: {words}; {left:.0f} min left in this phase",
            highlight=False,
            soft_wrap=True,
        )
