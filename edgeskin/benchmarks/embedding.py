"""What a head's features tell apart: their two-dimensional picture, by principal components or by t-SNE."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edgeskin import optional
from edgeskin.errors import DataError

SIDE = 720
"""The picture's square, in pixels; the legend stands to its right."""
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#444444", "#bcbd22", "#7f7f7f")
"""Okabe and Ito's colours first: told apart by the colour-blind too."""
_LEGEND, _MARGIN, _DOT, _SMOOTH = 280, 40, 5, 2


def principal_components(features: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float64], float]:
    """The two directions of most variance, and the share of all variance that they hold.

    Signs are such that the largest feature of each direction counts positively. Shapes: [n, F] -> [n, 2].
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(2, len(lengths))
    signs = np.sign(directions[np.arange(kept), np.abs(directions[:kept]).argmax(axis=1)])
    points = np.zeros((len(features), 2))
    points[:, :kept] = left[:, :kept] * lengths[:kept] * signs
    total = float((lengths**2).sum())
    return points, float((lengths[:2] ** 2).sum()) / total if total > 0 else 1.0


def tsne(features: npt.NDArray[np.floating], seed: int = 0) -> npt.NDArray[np.float64]:
    """t-SNE by scikit-learn, perplexity 30 or a third of a small set. Shapes: [n, F] -> [n, 2].

    Raises: MissingDependencyError without scikit-learn; DataError for fewer than four cases.
    """
    if len(features) < 4:
        raise DataError(f"t-SNE of {len(features)} images shows nothing; use principal components")
    manifold = optional.require("sklearn.manifold")
    perplexity = min(30.0, (len(features) - 1) / 3)
    fitted = manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return np.asarray(fitted, np.float64)


def scatter(
    points: npt.NDArray[np.float64], classes: npt.NDArray[np.int64], labels: Sequence[str], title: str
) -> bytes:
    """A PNG of points coloured by class, with a legend that counts them; class −1 is unknown and grey.

    Shapes: points [n, 2], classes [n]. The axes have one scale; they have no unit, so none is printed.
    """
    scale = _SMOOTH
    picture = Image.new("RGB", ((SIDE + _LEGEND) * scale, (SIDE + _MARGIN) * scale), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN * scale, 12 * scale), title, "black", ImageFont.load_default(18 * scale))
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    span = float(np.ptp(points, axis=0).max()) or 1.0
    placed = (points - middle) / span * (SIDE - 2 * _MARGIN) * (1, -1) + (SIDE / 2, SIDE / 2 + _MARGIN / 2)
    draw.rectangle(
        [side * scale for side in (_MARGIN / 2, _MARGIN, SIDE - _MARGIN / 2, SIDE + _MARGIN / 2)],
        outline="#bbbbbb",
        width=scale,
    )
    for (x, y), known in sorted(zip(placed.tolist(), classes.tolist(), strict=True), key=lambda one: one[1]):
        _dot(draw, x, y, _colour(known))
    entries = [(index, label) for index, label in enumerate(labels)] + [(-1, "unknown")]
    shown = [(index, label, int(np.count_nonzero(classes == index))) for index, label in entries]
    for row, (index, label, count) in enumerate(entry for entry in shown if entry[2] or entry[0] >= 0):
        y = _MARGIN + 16 + 30 * row
        _dot(draw, SIDE + 12, y, _colour(index))
        draw.text(
            ((SIDE + 28) * scale, (y - 10) * scale), f"{label} ({count})", "black", ImageFont.load_default(15 * scale)
        )
    small = picture.resize((picture.width // scale, picture.height // scale), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _colour(known: int) -> str:
    return "#cccccc" if known < 0 else PALETTE[known % len(PALETTE)]


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, colour: str) -> None:
    box = [(x - _DOT) * _SMOOTH, (y - _DOT) * _SMOOTH, (x + _DOT) * _SMOOTH, (y + _DOT) * _SMOOTH]
    draw.ellipse(box, fill=colour, outline="white", width=1)
