"""The picture of a network as SVG: one file, for light and dark pages."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from edgeskin.train.describe.description import Description, amount, shape_in_words, shapes_in_words
from edgeskin.train.describe.labels import Label, Picture, compose
from edgeskin.train.describe.wiring import Box, Metrics, Point, Wire

MARGIN, HEADER, FOOTER = 24, 56, 44
LETTER = {"name": 8.2, "small": 6.6}
LETTER_OF_LABEL = (7.2, 14)
"""Letters in px at the sizes below: width, of labels also height; generous, because the reader's font is unknown."""
CORNER = 9
ROUND = 10

LIGHT = {
    "paper": "#ffffff", "ink": "#1f2933", "faint": "#64707d", "line": "#98a3af",
    "input": "#eef1f4 #8a96a3", "encoder": "#e3eefb #3b7dd8", "decoder": "#e0f4f0 #168f7d",
    "attention": "#f1e8fb #8c55c9", "metadata": "#fdf0dc #c47f17", "pooling": "#f1e8fb #8c55c9",
    "head": "#e6f5e1 #4d9a2b", "auxiliary": "#f6f6f6 #8d8d8d",
    "mask_attention": "#8c55c9", "joint_reverse": "#d0375f", "activation_map": "#2f8f4e", "fusion": "#c47f17",
    "super_resolution": "#8d8d8d",
}  # fmt: skip
DARK = {
    "paper": "#12171d", "ink": "#e8edf2", "faint": "#9aa7b4", "line": "#6b7885",
    "input": "#232b33 #8494a3", "encoder": "#182a42 #5e9cf0", "decoder": "#12322e #35bba6",
    "attention": "#2b2040 #b285ea", "metadata": "#382a12 #e3a343", "pooling": "#2b2040 #b285ea",
    "head": "#1d3218 #7cc758", "auxiliary": "#23262a #9b9b9b",
    "mask_attention": "#b285ea", "joint_reverse": "#f2668a", "activation_map": "#5fcb82", "fusion": "#e3a343",
    "super_resolution": "#9b9b9b",
}  # fmt: skip
LINKS = ("mask_attention", "joint_reverse", "activation_map", "fusion", "super_resolution")
KINDS = ("input", "encoder", "decoder", "attention", "metadata", "pooling", "head", "auxiliary")


def to_svg(description: Description) -> str:
    """The data flow of a network: a box a part, an arrow wherever one reads another, links of the recipe in colour."""
    texts = _texts(description)
    picture = in_pixels(description)
    drawing, labels = picture.drawing, picture.labels
    title, subtitle = _heading(description)
    width = max(drawing.width, round(len(subtitle) * LETTER["small"])) + 2 * MARGIN
    height = drawing.height + HEADER + FOOTER + 2 * MARGIN
    kinds = _kinds(description)
    dashed = {part.name for part in description.parts if not part.exported}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title">',
        f'<title id="title">{escape(title)}: {escape(subtitle)}</title>',
        f"<style>\n{_style()}\n</style>",
        f"<defs>{''.join(_arrowhead(link) for link in ('flow', *LINKS))}</defs>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="{MARGIN + 14}">{escape(title)}</text>',
        f'<text class="small" x="{MARGIN}" y="{MARGIN + 36}">{escape(subtitle)}</text>',
        f'<g transform="translate({MARGIN} {MARGIN + HEADER})">',
        *(_wire(wire, dashed) for wire in sorted(drawing.wires, key=lambda wire: wire.link is not None)),
        *(_box(box, kinds[box.name], texts[box.name], box.name in dashed) for box in drawing.boxes),
        *(_label(label) for label in labels),
        "</g>",
        f'<text class="small" x="{MARGIN}" y="{height - MARGIN}">{escape(_footing(description))}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def in_pixels(description: Description) -> Picture:
    """Where everything of the SVG stands."""
    widths = {name: _width(lines) for name, lines in _texts(description).items()}
    metrics = Metrics(lambda name: (widths[name], 62), gap=(48, 36), lane=(11, 16), port=13)
    return compose(description, metrics, LETTER_OF_LABEL, ROUND)


def _heading(description: Description) -> tuple[str, str]:
    inputs = " + ".join(f"{given.name} {shape_in_words(given.shape)}" for given in description.inputs)
    total, training = description.exported, description.training_only
    costs = f"{amount(total.parameters)} parameters · {amount(total.multiply_adds)} multiply-adds"
    dropped = f" · {amount(training.parameters)} more in training" if training.parameters else ""
    return description.recipe, f"{inputs} · {costs}{dropped}"


def _footing(description: Description) -> str:
    words = "In a box: what it gives; parameters · multiply-adds."
    return words if all(part.exported for part in description.parts) else f"{words} Dashed: dropped at export."


def _kinds(description: Description) -> dict[str, str]:
    inputs = {given.name: "input" for given in description.inputs}
    return inputs | {part.name: part.kind for part in description.parts}


def _texts(description: Description) -> dict[str, tuple[str, ...]]:
    """The lines in each box: name, what it gives, what it costs."""
    losses = {head.part: f"{head.kind} · {head.loss}" for head in description.heads}
    texts: dict[str, tuple[str, ...]] = {
        given.name: (given.name, shape_in_words(given.shape)) for given in description.inputs
    }
    for part in description.parts:
        shape = shapes_in_words(part.shapes) or "never runs"
        costs = f"{amount(part.parameters)} · {amount(part.multiply_adds)}"
        if part.parameters == part.multiply_adds == 0:
            costs = ""
        texts[part.name] = tuple(text for text in (part.name, shape, costs) if text)
        if part.name in losses:
            texts[part.name] = (part.name, losses[part.name].replace("_", " "), costs)
    return texts


def _width(lines: tuple[str, ...]) -> int:
    name, *small = lines
    return 20 + round(max(len(name) * LETTER["name"], *(len(line) * LETTER["small"] for line in small)))


def _box(box: Box, kind: str, lines: tuple[str, ...], dashed: bool) -> str:
    middle, step = box.y + box.height / 2, 16
    first = middle + 4.5 - step * (len(lines) - 1) / 2
    words = "".join(
        f'<text class="{"name" if index == 0 else "small"}" x="{box.x + box.width / 2:g}" y="{first + step * index:g}" '
        f'text-anchor="middle">{escape(line)}</text>'
        for index, line in enumerate(lines)
    )
    return (
        f'<g class="box {kind}{" dashed" if dashed else ""}"><rect x="{box.x}" y="{box.y}" width="{box.width}" '
        f'height="{box.height}" rx="{CORNER}"/>{words}</g>'
    )


def _wire(wire: Wire, dashed: set[str]) -> str:
    kind = wire.link or "flow"
    extra = " dashed" if wire.target in dashed else ""
    return f'<path class="wire {kind}{extra}" d="{_path(wire.points)}" marker-end="url(#{kind})"/>'


def _path(points: tuple[Point, ...]) -> str:
    """A line with rounded corners."""
    start, end = points[0], points[-1]
    steps = [f"M{start[0]} {start[1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(ROUND, _distance(before, corner) / 2, _distance(corner, after) / 2)
        a, b = _towards(corner, before, radius), _towards(corner, after, radius)
        steps.append(f"L{a[0]:g} {a[1]:g}Q{corner[0]} {corner[1]} {b[0]:g} {b[1]:g}")
    return "".join([*steps, f"L{end[0]} {end[1]}"])


def _distance(a: Point, b: Point) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(start: Point, end: Point, length: float) -> tuple[float, float]:
    share = length / max(1, _distance(start, end))
    return (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))


def _label(label: Label) -> str:
    return (
        f'<rect class="paper" x="{label.x - label.width / 2:g}" y="{label.y - label.height / 2:g}" '
        f'width="{label.width:g}" height="{label.height:g}"/><text class="label {label.wire.link}" x="{label.x}" '
        f'y="{label.y + 4}" text-anchor="middle">{escape(label.text)}</text>'
    )


def _arrowhead(kind: str) -> str:
    return (
        f'<marker id="{kind}" class="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8Z"/></marker>'
    )


def _style() -> str:
    rules = [
        "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}",
        ".title{font-size:18px;font-weight:600}.name{font-size:13px;font-weight:600}.small{font-size:11px}",
        ".label{font-size:11px;font-weight:600}",
        ".wire{fill:none;stroke-width:1.5px}.box rect{stroke-width:1.5px}",
        "path.mask_attention,path.joint_reverse,path.activation_map,path.fusion{stroke-width:2px}",
        ".dashed rect,path.dashed{stroke-dasharray:5 4}",
        *_colours(LIGHT),
        "@media (prefers-color-scheme:dark){",
        *_colours(DARK),
        "}",
    ]
    return "\n".join(rules)


def _colours(colours: dict[str, str]) -> Iterator[str]:
    yield f".paper{{fill:{colours['paper']}}}.title,.name{{fill:{colours['ink']}}}.small{{fill:{colours['faint']}}}"
    for kind in KINDS:
        fill, stroke = colours[kind].split()
        yield f".box.{kind} rect{{fill:{fill};stroke:{stroke}}}"
    for link, colour in (("flow", colours["line"]), *((link, colours[link]) for link in LINKS)):
        yield f"path.{link}{{stroke:{colour}}}marker.{link} path,.label.{link}{{fill:{colour}}}"
