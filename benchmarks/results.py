"""The results table of the README, from the evidence of a released Graph folder.

    python benchmarks/results.py export/release/clinic-1

prints it; tests/test_docs.py demands that the README holds exactly this. No figure is copied by hand.
"""

import argparse
from pathlib import Path

from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.measurements import Interval, Measured, MetricFigure
from edgeskin.graph.folder import Graph

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


def table(graph: Graph) -> str:
    """Markdown: one row a metric and split, float and int8 with their 95 % bootstrap intervals, then the cautions."""
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="a Graph folder with evidence.json")
    print(table(Graph.open(parser.parse_args().graph)), end="")
