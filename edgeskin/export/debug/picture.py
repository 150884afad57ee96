"""Error by depth as SVG: a panel a step, one column a node in running order; one file, for light and dark pages."""

import math
from collections.abc import Iterator
from itertools import accumulate, groupby

from edgeskin.benchmarks import drawing
from edgeskin.benchmarks.drawing import Axis, Frame, Markup, Plot, element
from edgeskin.benchmarks.report.words import many
from edgeskin.export.debug.step import Diagnosis, Step, TensorError

WIDTH, MARGIN, LEFT = 1080, 24, 58
HEADER, PANEL, CAPTION, LABEL, GAP, FOOTER = 92, 132, 26, 14, 22, 104
LOWEST, HIGHEST = -6, 0
"""The powers of ten between which errors are drawn; what is less lies on the ground line."""
SHOWN = 3
"""How many names of divergent nodes a panel holds; how many there are besides is said."""

_COLOURS = {
    "carried": ("#8fb3e3", "#3f6595"),
    "alone": ("#1f5fb8", "#7fb2f5"),
    "bad": ("#c8102e", "#ff6b7f"),
    "good": ("#2f7d32", "#7cc758"),
}
_RULES = """
.label { font-weight: 600; font-size: 11px; }
.flag { stroke: var(--bad); stroke-dasharray: 3 3; }
""" + "\n".join(f".{name} {{ fill: var(--{name}); }}" for name in _COLOURS)


def to_svg(found: Diagnosis) -> str:
    """Every step whose tensors were compared; a step without any error is a line of words."""
    steps = [step for step in found.steps if step.tensors]
    *tops, bottom = accumulate((_height(step) for step in steps), initial=HEADER)
    count = max((step.nodes for step in steps), default=1)
    title = f"Error by depth: {found.bundle}"
    about = f"{found.target} {found.precision}, {many(count, 'node')}, {many(len(found.cases), 'golden case')}"
    longest = max((step.tensors for step in steps), key=len, default=())
    drawn = [
        element("text", title, x=MARGIN, y=MARGIN + 12, class_="title"),
        element("text", about, x=MARGIN, y=MARGIN + 32, class_="hint"),
        element("text", found.verdict, x=MARGIN, y=MARGIN + 50, class_=f"hint {_kind(found)}"),
        *_legend(),
    ]
    for step, top in zip(steps, tops, strict=True):
        drawn += _step(step, top, count, longest)
    drawn += _names(longest, count, bottom + 2)
    return drawing.document(f"{title}: {found.verdict}", WIDTH, bottom + FOOTER, _COLOURS, _RULES, *drawn)


def _kind(found: Diagnosis) -> str:
    return {0: "good", 3: "bad"}.get(found.exit_code, "")


def _is_drawn(step: Step) -> bool:
    """Whether anything would rise above the ground line."""
    least = 10.0**LOWEST
    return any(tensor.diverges or max(tensor.carried or 0.0, tensor.alone or 0.0) > least for tensor in step.tensors)


def _labelled(step: Step) -> int:
    """How high the names of divergent nodes stand over the plane."""
    return LABEL * len(step.divergent[:SHOWN])


def _height(step: Step) -> int:
    return CAPTION + GAP + (_labelled(step) + PANEL if _is_drawn(step) else 0)


def _flat(step: Step) -> str:
    if any(tensor.carried or tensor.alone for tensor in step.tensors):
        return f"no error above {10.0**LOWEST:.0e}"
    return "all nodes are the same"


def _plot(count: int, ground: int) -> Plot:
    """The plane of a step: places of nodes across, powers of ten upwards."""
    ticks = [(power, _power(power)) for power in range(LOWEST, HIGHEST + 1, 2)]
    frame = Frame(left=LEFT, right=WIDTH - MARGIN, top=ground, bottom=ground + PANEL)
    return Plot(Axis("", -0.5, count - 0.5, ()), Axis("", LOWEST, HIGHEST, tuple(ticks)), frame)


def _power(power: int) -> str:
    if power in {LOWEST, 0}:
        return "0" if power else "1"
    return Markup(f"10{element('tspan', str(power), dy=-4, font_size=8)}")


def _high(error: float) -> float:
    return LOWEST if error <= 0 else math.log10(error)


def _step(step: Step, top: int, count: int, longest: tuple[TensorError, ...]) -> Iterator[Markup]:
    mark = ("✗" if step.diverges else "✓") if step.judged else "·"
    kind = ("bad" if step.diverges else "good") if step.judged else "hint"
    words = "" if _is_drawn(step) else f": {_flat(step)}"
    yield element(
        "text", element("tspan", mark, class_=kind), f" {step.name}{words}", x=LEFT, y=top + 14, class_="name"
    )
    if not _is_drawn(step):
        return
    plot = _plot(count, top + CAPTION + _labelled(step))
    yield from plot.grid()
    for _, first, _ in _groups(longest)[1:]:
        yield plot.rule(first - 0.5, "grid")
    for one in step.tensors:
        if one.carried:
            yield plot.bar(one.place - 0.5, one.place + 0.5, _high(one.carried), "carried", _hint(one))
    for one in step.tensors:
        if one.alone is not None:
            kind, radius = ("bad", 4.0) if one.diverges else ("alone", 2.4)
            yield plot.dot((one.place, _high(one.alone)), kind, radius, _hint(one))
    yield from _flags(step, plot)


def _flags(step: Step, plot: Plot) -> Iterator[Markup]:
    """The first divergent nodes by name, each in a line of its own over the plane."""
    shown = step.divergent[:SHOWN]
    for number, tensor in enumerate(shown):
        above = LABEL * (len(shown) - number)
        more = len(step.divergent) - SHOWN if number == SHOWN - 1 else 0
        words = tensor.node + (f" and {more} more" if more > 0 else "")
        x, _ = plot.place((tensor.place, 0))
        side, shift = ("end", -6) if x > WIDTH / 2 else ("start", 6)
        yield plot.rule(tensor.place, "flag", above)
        y = plot.frame.top - above + 9
        yield element("text", words, x=x + shift, y=y, class_="label bad", text_anchor=side)


def _hint(tensor: TensorError) -> str:
    """What a browser shows under the pointer."""
    parts = [f"{tensor.node} ({tensor.kind})"]
    parts += [f"carried {tensor.carried:.3g}"] if tensor.carried is not None else []
    parts += [f"alone {tensor.alone:.3g}"] if tensor.alone is not None else []
    return ", ".join([*parts, *tensor.otherwise])


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


def _names(tensors: tuple[TensorError, ...], count: int, y: int) -> Iterator[Markup]:
    """Slanted, where there is room for one more."""
    plot, free = _plot(count, 0), -math.inf
    for name, first, last in _groups(tensors):
        x, _ = plot.place(((first + last) / 2, 0))
        if x < free:
            continue
        free = x + 13
        slanted = f"rotate(-40 {x:.1f} {y})"
        yield element("text", name, x=x, y=y, class_="hint", text_anchor="end", transform=slanted)


def _legend() -> Iterator[Markup]:
    x, y = WIDTH - MARGIN - 430, MARGIN + 12
    words = (
        "carried: each side runs its own whole network",
        "alone: the node fed equal values",
        "diverges. Errors as a share of the tensor, root mean square",
    )
    yield element("rect", x=x, y=y - 9, width=10, height=10, class_="carried")
    yield element("circle", cx=x + 5, cy=y + 14, r=2.4, class_="alone")
    yield element("circle", cx=x + 5, cy=y + 32, r=4, class_="bad")
    yield from (element("text", one, x=x + 16, y=y + 18 * row, class_="hint") for row, one in enumerate(words))
