"""Error by depth as SVG: a panel a step, one column a node in running order; one file, for light and dark pages."""

import math
from collections.abc import Iterator
from itertools import groupby
from xml.sax.saxutils import escape

from edgeskin.export.debug.step import Diagnosis, Step, TensorError

WIDTH, MARGIN, LEFT = 1080, 24, 58
HEADER, PANEL, CAPTION, GAP, FOOTER = 92, 132, 26, 22, 104
LOWEST, HIGHEST = -6, 0
"""The powers of ten between which errors are drawn; what is less lies on the ground line."""
SHOWN = 3
"""How many names of divergent nodes a panel holds; how many there are besides is said."""

LIGHT = {"paper": "#ffffff", "ink": "#1f2933", "faint": "#64707d", "grid": "#e4e8ec", "carried": "#8fb3e3",
         "alone": "#1f5fb8", "bad": "#c8102e", "good": "#2f7d32"}  # fmt: skip
DARK = {"paper": "#12171d", "ink": "#e8edf2", "faint": "#9aa7b4", "grid": "#29323b", "carried": "#3f6595",
        "alone": "#7fb2f5", "bad": "#ff6b7f", "good": "#7cc758"}  # fmt: skip


def to_svg(found: Diagnosis) -> str:
    """Every step whose tensors were compared; a step without any error is a line of words."""
    steps = [step for step in found.steps if step.tensors]
    heights = [CAPTION + (PANEL if _is_drawn(step) else 0) + GAP for step in steps]
    height = HEADER + sum(heights) + FOOTER
    count = max((step.nodes for step in steps), default=1)
    tops = [HEADER + sum(heights[:number]) for number in range(len(steps))]
    title = f"Error by depth: {found.bundle}"
    subtitle = f"{found.target} {found.precision}, {count} nodes, {len(found.cases)} golden cases"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title">',
        f'<title id="title">{escape(title)}: {escape(_verdict(found))}</title>',
        f"<style>\n{_style()}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="{MARGIN + 12}">{escape(title)}</text>',
        f'<text class="small" x="{MARGIN}" y="{MARGIN + 32}">{escape(subtitle)}</text>',
        f'<text class="small {"bad" if found.first else "good"}" x="{MARGIN}" y="{MARGIN + 50}">'
        f"{escape(_verdict(found))}</text>",
        *_legend(),
    ]
    for step, top in zip(steps, tops, strict=True):
        lines += _step(step, top, count)
    longest = max(steps, key=lambda step: len(step.tensors), default=None)
    if longest is not None:
        lines += _stages(
            longest.tensors, count, [top for step, top in zip(steps, tops, strict=True) if _is_drawn(step)]
        )
        lines += _names(longest.tensors, count, height - FOOTER + 2)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _verdict(found: Diagnosis) -> str:
    first = found.first
    if first is None:
        return "nothing diverges"
    return f"first divergence: {first.node or first.tensor}, {first.step}"


def _is_drawn(step: Step) -> bool:
    """Whether anything would rise above the ground line."""
    least = 10.0**LOWEST
    return any(tensor.diverges or max(tensor.carried or 0.0, tensor.alone or 0.0) > least for tensor in step.tensors)


def _flat(step: Step) -> str:
    if any(tensor.carried or tensor.alone for tensor in step.tensors):
        return f"no error above {10.0**LOWEST:.0e}"
    return "all nodes are the same"


def _x(place: int, count: int) -> float:
    return LEFT + (place + 0.5) * (WIDTH - LEFT - MARGIN) / count


def _y(error: float, top: int) -> float:
    power = LOWEST if error <= 0 else min(max(math.log10(error), LOWEST), HIGHEST)
    return top + PANEL * (HIGHEST - power) / (HIGHEST - LOWEST)


def _step(step: Step, top: int, count: int) -> Iterator[str]:
    mark = ("✗" if step.diverges else "✓") if step.judged else "·"
    kind = ("bad" if step.diverges else "good") if step.judged else "small"
    words = "" if _is_drawn(step) else f": {_flat(step)}"
    title = f'<tspan class="{kind}">{mark}</tspan> {escape(step.name + words)}'
    yield f'<text class="name" x="{LEFT}" y="{top + 14}">{title}</text>'
    if not _is_drawn(step):
        return
    ground = top + CAPTION
    for power in range(LOWEST, HIGHEST + 1, 2):
        y = _y(10.0**power, ground)
        label = f"10<tspan dy='-4' font-size='8'>{power}</tspan>" if power not in (LOWEST, 0) else "0" if power else "1"
        yield f'<path class="grid" d="M{LEFT} {y:g}H{WIDTH - MARGIN}"/>'
        yield f'<text class="small" x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end">{label}</text>'
    width = (WIDTH - LEFT - MARGIN) / count
    bottom = ground + PANEL
    for tensor in step.tensors:
        if tensor.carried:
            y = _y(tensor.carried, ground)
            left = _x(tensor.place, count) - width / 2
            yield (
                f'<rect class="carried" x="{left + 0.5:g}" y="{y:.1f}" width="{width - 1:.2f}" '
                f'height="{bottom - y:.1f}">{_hint(tensor)}</rect>'
            )
    for tensor in step.tensors:
        if tensor.alone is not None:
            kind = "bad" if tensor.diverges else "alone"
            yield (
                f'<circle class="{kind}" cx="{_x(tensor.place, count):.1f}" cy="{_y(tensor.alone, ground):.1f}" '
                f'r="{4 if tensor.diverges else 2.4}">{_hint(tensor)}</circle>'
            )
    yield from _flags(step, ground, count)


def _flags(step: Step, ground: int, count: int) -> Iterator[str]:
    """The first divergent nodes by name, each at a line from the top of its panel."""
    for number, tensor in enumerate(step.divergent[:SHOWN]):
        x = _x(tensor.place, count)
        more = len(step.divergent) - SHOWN if number == SHOWN - 1 else 0
        words = tensor.node + (f" and {more} more" if more > 0 else "")
        side, shift = ("end", -6) if x > WIDTH / 2 else ("start", 6)
        yield f'<path class="flag" d="M{x:.1f} {ground - 4}V{ground + PANEL}"/>'
        yield (
            f'<text class="label bad" x="{x + shift:.1f}" y="{ground + 8 + 14 * number}" '
            f'text-anchor="{side}">{escape(words)}</text>'
        )


def _hint(tensor: TensorError) -> str:
    """What a browser shows under the pointer."""
    parts = [f"{tensor.node} ({tensor.kind})"]
    parts += [f"carried {tensor.carried:.3g}"] if tensor.carried is not None else []
    parts += [f"alone {tensor.alone:.3g}"] if tensor.alone is not None else []
    return f"<title>{escape(', '.join([*parts, *tensor.otherwise]))}</title>"


# --- the stages of the network below all panels ---


def _groups(tensors: tuple[TensorError, ...]) -> list[tuple[str, int, int]]:
    """Name, first and last place of each run of nodes of one part; a node without a part's name joins those before."""
    parts: list[tuple[str, int]] = []
    for tensor in tensors:
        name = ".".join(tensor.node.split(".")[: 3 if ".stages." in f".{tensor.node}" else 2])
        known = "." in tensor.node or not parts
        parts.append((name if known else parts[-1][0], tensor.place))
    runs = [(name, [place for _, place in run]) for name, run in groupby(parts, key=lambda part: part[0])]
    return [(name, places[0], places[-1]) for name, places in runs]


def _stages(tensors: tuple[TensorError, ...], count: int, tops: list[int]) -> Iterator[str]:
    width = (WIDTH - LEFT - MARGIN) / count
    for _, first, _ in _groups(tensors)[1:]:
        x = _x(first, count) - width / 2
        for top in tops:
            yield f'<path class="grid" d="M{x:.1f} {top + CAPTION}V{top + CAPTION + PANEL}"/>'


def _names(tensors: tuple[TensorError, ...], count: int, y: int) -> Iterator[str]:
    """Slanted, where there is room for one more."""
    free = -math.inf
    for name, first, last in _groups(tensors):
        x = (_x(first, count) + _x(last, count)) / 2
        if x < free:
            continue
        free = x + 13
        yield (
            f'<text class="small" x="{x:.1f}" y="{y}" text-anchor="end" '
            f'transform="rotate(-40 {x:.1f} {y})">{escape(name)}</text>'
        )


def _legend() -> Iterator[str]:
    x, y = WIDTH - MARGIN - 430, MARGIN + 12
    yield f'<rect class="carried" x="{x}" y="{y - 9}" width="10" height="10"/>'
    yield f'<text class="small" x="{x + 16}" y="{y}">carried: each side runs its own whole network</text>'
    yield f'<circle class="alone" cx="{x + 5}" cy="{y + 14}" r="2.4"/>'
    yield f'<text class="small" x="{x + 16}" y="{y + 18}">alone: the node fed equal values</text>'
    yield f'<circle class="bad" cx="{x + 5}" cy="{y + 32}" r="4"/>'
    words = "diverges. Errors as a share of the tensor, root mean square"
    yield f'<text class="small" x="{x + 16}" y="{y + 36}">{words}</text>'


def _style() -> str:
    rules = [
        "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}",
        ".title{font-size:18px;font-weight:600}.name{font-size:13px;font-weight:600}.small{font-size:11px}",
        ".label{font-size:11px;font-weight:600}.grid,.flag{fill:none;stroke-width:1px}.flag{stroke-dasharray:3 3}",
        *_colours(LIGHT),
        "@media (prefers-color-scheme:dark){",
        *_colours(DARK),
        "}",
    ]
    return "\n".join(rules)


def _colours(colours: dict[str, str]) -> Iterator[str]:
    yield f".paper{{fill:{colours['paper']}}}.title,.name{{fill:{colours['ink']}}}.small{{fill:{colours['faint']}}}"
    yield f".grid{{stroke:{colours['grid']}}}.flag{{stroke:{colours['bad']}}}"
    yield from (f".{kind}{{fill:{colours[kind]}}}" for kind in ("carried", "alone", "bad", "good"))
