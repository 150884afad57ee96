"""Charts of the page as inline SVG: colours come from its style, so that they follow light and dark."""

from edgeskin.benchmarks.drawing import Markup, Plot, element

WIDTH, HEIGHT = 360, 250


def chart(plot: Plot, title: str, description: str, *drawn: Markup) -> Markup:
    """The whole chart with axes and grid; title and description are for readers who do not see it."""
    frame = plot.frame
    middle = (frame.top + frame.bottom) / 2
    across = element(
        "text", plot.x.label, x=(frame.left + frame.right) / 2, y=HEIGHT - 8, class_="axis", text_anchor="middle"
    )
    upwards = element(
        "text",
        plot.y.label,
        x=12,
        y=middle,
        class_="axis",
        text_anchor="middle",
        transform=f"rotate(-90 12 {middle:g})",
    )
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *plot.grid(),
        *drawn,
        across,
        upwards,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}. {description}",
    )


def whisker(low: float | None, high: float | None, ships: float | None, in_float: float | None) -> Markup | None:
    """A figure from 0 to 1 in one line: its interval, a dot for the network that ships, a tick for float."""
    if ships is None:
        return None
    width, height, middle = 140, 18, 9

    def at(value: float) -> float:
        return 4 + min(max(value, 0.0), 1.0) * (width - 8)

    drawn = [element("line", x1=4, x2=width - 4, y1=middle, y2=middle, class_="grid")]
    if low is not None and high is not None:
        drawn.append(element("line", x1=at(low), x2=at(high), y1=middle, y2=middle, class_="whisker"))
    if in_float is not None:
        x = at(in_float)
        drawn.append(element("line", x1=x, x2=x, y1=2, y2=height - 2, class_="line float"))
    drawn.append(element("circle", cx=at(ships), cy=middle, r=4, class_="dot ships"))
    # The table beside it says the same, so nobody needs it read out.
    return element("svg", *drawn, viewBox=f"0 0 {width} {height}", width=width, height=height, aria_hidden="true")


def meter(share: float, kind: str = "ships", interval: tuple[float | None, float | None] | None = None) -> Markup:
    """A bar from 0 to 1 of its whole width, and its interval; the numbers stand beside it."""
    drawn = [element("span", style=f"width:{_percent(share)}", class_=kind)]
    low, high = interval or (None, None)
    if low is not None and high is not None:
        drawn.append(element("i", style=f"left:{_percent(low)};right:{_percent(1 - high)}"))
    return element("span", *drawn, class_="meter", aria_hidden="true")


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
