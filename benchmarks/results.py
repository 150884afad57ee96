"""Every table of the README's results, from zero: trains what has no row yet, measures it, rewrites the README.

    make results DATA=~/skin                 # days on two cores; after Ctrl-C or a kill the same command goes on
    make results DATA=~/skin ONLY=isic2016   # one table; ONLY=isic2016/MTL3 one network of it
    make results DATA=~/skin ONLY=fusion FOLDS=1   # of recipes in folds the first alone
    make results SHOW=1                      # writes the tables as far as they were run; needs no images
    make results QUICK=1                     # the same on drawn photos, in minutes; prints, and leaves the README alone

A network is trained once: its row is kept under the hash of its recipe (`edgeskin ablate`), in the folder of runs and
in benchmarks/rows/, which is committed; remove a row there to have it measured again. Where recipes have folds,
the first of each is trained before the second of any. Test is looked at last, once everything else has its figures, or
where its table is named. The README is written at the end: were it written before, the tree that later rows are
measured from would not be the commit beside them. What was not run says so.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeskin import files, shipped
from edgeskin.benchmarks import evidence, pareto
from edgeskin.benchmarks.ablation import ROW, Row, Table
from edgeskin.benchmarks.measurements import Interval, Measured, MetricFigure
from edgeskin.cli import terminal
from edgeskin.contract.declaration import nearest
from edgeskin.data.cases import data_folder
from edgeskin.data.phantom import write_dataset
from edgeskin.errors import EdgeskinError
from edgeskin.export import ablate, family
from edgeskin.export.ablate import Bench
from edgeskin.export.evaluate import VOTED
from edgeskin.export.family import COSTS
from edgeskin.graph.folder import Graph
from edgeskin.train.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks/rows"
"""Rows as they stand below `ablations` in a folder of runs, for those who have no runs."""
PICTURES = ROOT / "benchmarks/pictures"
"""Networks weighed against what they cost; committed, so that the README shows them."""
RELEASE = "release"
"""The name of the table that comes from the evidence of the shipped network."""
ROWS = {
    "mask_jaccard": "lesion mask, Jaccard",
    "mask_jaccard_raw": "the same without clean-up",
    "melanoma_auroc": "melanoma, AUROC",
    "melanoma_sensitivity": "melanoma, sensitivity at the stored threshold",
    "melanoma_specificity": "melanoma, specificity at the stored threshold",
    "seborrheic_keratosis_auroc": "seborrheic keratosis, AUROC",
    "seborrheic_keratosis_auroc_centre_crop": "the same on centre-crops only",
    "diagnosis_balanced_accuracy": "three diagnoses, balanced accuracy",
}
SPLITS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Part:
    """One table: a family of recipes on a split. gain: the column that is weighed against what networks cost."""

    name: str
    family: str
    split: str
    gain: str | None = None


PARTS = (
    Part("clinic_2", "clinic_2", "val"),
    Part("clinic_2_test", "clinic_2", "test"),
    Part("clinic_2_photo", "clinic_2_photo", "select+val"),
    Part("clinic_2_photo_test", "clinic_2_photo", "test"),
    Part("symmetry", "symmetry", VOTED),
    Part("isic2016", "isic2016", "test"),
    Part("ham10000", "ham10000_once", "test"),
    Part("pad_ufes_20", "pad_ufes_20_fields", ablate.FOLD),
    Part("fusion", "fusion", ablate.FOLD),
    Part("learning", "learning", "val"),
    Part("encoders", "encoders", "val", gain="diagnosis_balanced_accuracy"),
)
QUICK = (
    Part("phantom", "phantom_quick", "val", gain="mask_dice"),
    Part("phantom_test", "phantom_quick", "test"),
)


@dataclass(frozen=True)
class Work:
    """Where and how parts are measured.

    runs: the folder of runs. bench: how a data set's networks are measured, by its name. only: the one member asked
    for. folds: so many of each recipe in folds, from the first on; None for all.
    """

    runs: Path
    bench: Callable[[str], Bench]
    only: str | None = None
    folds: int | None = None

    def measure(self, part: Part, split: str, folds: int | None = None) -> None:
        """Train and measure what has no row yet."""
        path = shipped.find("families", part.family)
        _, trials = family.read(path, self.runs)
        only = None if self.only is None else (self.only,)
        bench = self.bench(trials[0].each[0].recipe.data.dataset)
        ablate.ablate(path, self.runs, replace(bench, split=split, only=only, folds=folds))

    def complete(self, part: Part) -> bool:
        """Whether all that was asked of a part has its figures."""
        lines = _table(part, self.runs).lines
        return all(line.note is None for line in lines if self.only in (None, line.name))


def run(parts: Sequence[Part], work: Work, *, named: bool = False) -> bool:
    """Train and measure everything in order; whether all of it has its figures.

    What is reported on test is measured on `select` first. named: whether these parts were asked for by name.
    """
    for part in parts:
        work.measure(part, "select" if part.split == "test" else part.split, folds=1)
    for part in parts:
        if part.split == ablate.FOLD:
            work.measure(part, ablate.FOLD, folds=work.folds)
    complete = all(work.complete(part) for part in parts if part.split != "test")
    if complete or named:
        for part in parts:
            if part.split == "test":
                work.measure(part, "test")
    return all(work.complete(part) for part in parts)


def _table(part: Part, runs: Path) -> Table:
    return ablate.show(shipped.find("families", part.family), runs, part.split)


def shown(part: Part, runs: Path, document: Path, pictures: Path) -> str:
    """A part as Markdown, as far as it was run, with a picture of what is weighed against each other.

    document: what it will stand in. pictures: the folder that they are written to, somewhere below the document's.
    """
    found = _table(part, runs)
    text, drawn = found.markdown(papers=False), ""
    for cost in COSTS:
        points = () if part.gain is None else pareto.points(found, cost, part.gain)
        if part.gain is not None and points:
            best = ", ".join(point.name for point in points if point.best)
            text += f"- int8, {cost} against {part.gain}: no other network is better in both than {best}\n"
            picture = pictures / f"{part.name}_{cost}.svg"
            files.write_text(picture, pareto.svg(points, cost, part.gain))
            drawn += f"\n![{part.gain} against {cost}]({picture.relative_to(document.parent)})\n"
    return text + drawn


def put(document: Path, name: str, text: str) -> None:
    """Write a table between its markers, the command behind it.

    Raises: EdgeskinError where the document has no such place, or several.
    """
    begin, end = f"<!-- results:{name} -->\n", "<!-- end of results -->"
    before = document.read_text(encoding="utf-8")
    written = f"{begin}{text}\n`make results ONLY={name}`\n{end}"
    after, places = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: written, before, flags=re.DOTALL)
    if places != 1:
        raise EdgeskinError(
            f"{document}: has {places} places for {name}. Write once {begin.strip()}, and behind it {end}"
        )
    if after != before:
        files.write_text(document, after)


def fetch(kept: Path, runs: Path) -> None:
    """Put kept rows into a folder of runs; of a recipe that has one there, the splits that it lacks."""
    for path in sorted(kept.rglob(ROW)):
        there = runs / "ablations" / path.parent.relative_to(kept)
        row, own = Row.read(path.parent), Row.read(there)
        assert row is not None, "the file is there"
        (row if own is None else own.model_copy(update={"splits": {**row.splits, **own.splits}})).write(there)


def keep(parts: Sequence[Part], runs: Path, kept: Path) -> None:
    """Keep the rows of some tables that have figures."""
    for part in parts:
        _, trials = family.read(shipped.find("families", part.family), runs)
        for one in trials:
            for trial in (*one.each, *([] if one.average is None else [one.average])):
                row = Row.read(trial.folder)
                if row is not None and row.splits:
                    whole = row.model_copy(update={"failed": None})
                    whole.write(kept / trial.folder.relative_to(runs / "ablations"))


def demand_committed() -> None:
    """Raises: EdgeskinError where a recipe, a family or this list is not as it was committed."""
    words = ("git", "-C", str(ROOT), "status", "--porcelain", "--", "train", "benchmarks/results.py")
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  (the words are those of the code)
    if done.returncode == 0 and done.stdout:
        raise EdgeskinError(
            f"{done.stdout.splitlines()[0][3:]}: is not committed, so nobody could repeat it. Commit it first"
        )


def table(graph: Graph) -> str:
    """The release: one row a metric and split, float and int8 with 95 % bootstrap intervals, then the cautions."""
    lines = [
        "| split | metric | n | float | int8 | drop |",
        "|---|---|---|---|---|---|",
    ]
    cautions: dict[str, None] = {}
    for split, title in SPLITS.items():
        entry = evidence.find(graph.evidence, graph.sha256, split)
        if entry is None:
            lines.append(f"| {title} | not run | | | | |")
            continue
        cautions.update(dict.fromkeys(f"{caution}." for caution in entry.cautions))
        for name, words in ROWS.items():
            if name in entry.metrics:
                lines.append(_row(title, words, entry.metrics[name]))
    return "\n".join([*lines, "", *cautions]).rstrip() + "\n"


def _row(split: str, words: str, figure: MetricFigure) -> str:
    cells = (
        split,
        words,
        str(figure.n),
        _with_interval(figure.float, figure.float_ci95),
        _with_interval(figure.int8, figure.ci95),
        "–" if figure.drop is None else f"{figure.drop:+.3f}",
    )
    return f"| {' | '.join(cells)} |"


def _with_interval(value: Measured, interval: Interval | None) -> str:
    if value is None:
        return "undefined"
    low, high = interval or (None, None)
    return f"{value:.3f}" + (f" ({low:.3f}–{high:.3f})" if low is not None and high is not None else "")


def chosen(word: str | None, parts: Sequence[Part]) -> tuple[tuple[Part, ...], str | None]:
    """The parts that `TABLE` or `TABLE/MEMBER` names, all of them where nothing is named, and the member.

    Raises: EdgeskinError that lists what there is.
    """
    if word is None:
        return tuple(parts), None
    name, _, member = word.partition("/")
    named = tuple(part for part in parts if part.name == name)
    if not named:
        raise EdgeskinError(f"no table is called {name!r}{nearest(name, [part.name for part in parts])}")
    members = [line.name for line in _table(named[0], Path()).lines]
    if member and member not in members:
        raise EdgeskinError(f"{name} has no member {member!r}{nearest(member, members)}")
    return named, member or None


def quick(runs: Path, word: str | None) -> int:
    """The whole way on drawn photos; prints what would stand in the README."""
    parts, only = chosen(word, QUICK)
    data = runs / "phantom"
    if not data.is_dir():
        write_dataset(data, 60, 20, 20, size=64)
    complete = run(parts, Work(runs, lambda _: _bench(data, None), only), named=word is not None)
    document = runs / "results.md"
    places = "\n".join(f"<!-- results:{part.name} -->\n<!-- end of results -->" for part in parts)
    files.write_text(document, places + "\n")
    for part in parts:
        put(document, part.name, shown(part, runs, document, runs / "pictures"))
    print(document.read_text(encoding="utf-8"), end="")
    return 0 if complete else 1


def real(runs: Path, word: str | None, document: Path, *, train: bool, folds: int | None = None) -> int:
    """The README's tables from real images; without `train`, from the rows that there are. folds: as in `Work`."""
    parts, only = ((), None) if word == RELEASE else chosen(word, PARTS)
    complete = True
    fetch(KEPT, runs)
    if train and parts:
        demand_committed()
        weights = Path(os.environ["EDGESKIN_WEIGHTS"]) if os.environ.get("EDGESKIN_WEIGHTS") else None
        work = Work(runs, lambda dataset: _bench(data_folder(None, dataset), weights), only, folds)
        complete = run(parts, work, named=word is not None)
    keep(parts, runs, KEPT)
    for part in parts:
        put(document, part.name, shown(part, runs, document, PICTURES))
    if word in (None, RELEASE):
        put(document, RELEASE, table(Graph.open(shipped.default_release())))
    return 0 if complete else 1


def _bench(data: Path, weights: Path | None) -> Bench:
    return Bench(data, weights=weights, say=terminal.words(quiet=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything, one table, or one network; 0 where all of it has its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TABLE[/MEMBER]", help=f"one table, one network of it, or {RELEASE}")
    parser.add_argument("--folds", type=int, metavar="N", help="so many of each recipe in folds; otherwise all")
    parser.add_argument("--show", action="store_true", help="write the tables as far as they were run; train nothing")
    parser.add_argument("--quick", action="store_true", help="on drawn photos; prints, and leaves the README alone")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="rows and runs; otherwise EDGESKIN_RUNS or runs/")
    given = parser.parse_args(arguments)
    if given.folds is not None and given.folds < 1:
        parser.error(f"--folds {given.folds}: give 1 or more, or leave it out for all")
    try:
        if given.quick and given.runs is None:
            with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
                return quick(Path(folder), given.only)
        runs = given.runs or Path(os.environ.get("EDGESKIN_RUNS", ROOT / "runs"))
        if given.quick:
            return quick(runs, given.only)
        return real(runs, given.only, ROOT / "README.md", train=not given.show, folds=given.folds)
    except EdgeskinError as error:
        terminal.complain(str(error))
        return 1
    except KeyboardInterrupt:
        terminal.complain("interrupted; the same command goes on")
        return 130


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
