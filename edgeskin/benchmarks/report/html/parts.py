"""What every section of the page is put together from: tables, lists, states and captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeskin.benchmarks.drawing import Child, Markup, element, joined
from edgeskin.benchmarks.report.words import MARKS, NOT_MEASURED

_WORDS = {
    "auroc": "AUROC",
    "ece": "calibration error",
    "mcc": "MCC",
    "f1": "F1",
    "jaccard": "Jaccard",
    "dice": "Dice",
    "vs": "against",
    "ms": "(ms)",
    "mib": "(MiB)",
    "upper95": "(95 % bound)",
}


@dataclass(frozen=True)
class Column:
    """A column of a table. number: whether it lines up at the right. wide: whether it takes what room there is."""

    title: str
    number: bool = False
    wide: bool = False

    @property
    def style(self) -> str | None:
        """Its class."""
        return "number" if self.number else "wide" if self.wide else None


def section(anchor: str, title: str, *parts: Child) -> Markup:
    """One section of the page."""
    heading = element("h2", title, id=f"{anchor}-title")
    return element("section", heading, *parts, id=anchor, aria_labelledby=f"{anchor}-title")


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Child] | Markup], kind: str | None = None
) -> Markup:
    """A table of columns; the first names the rows. A row that is markup already, such as `group`, is taken as it is.

    kind: its class.
    """
    head = element("tr", *(element("th", one.title, scope="col", class_=one.style) for one in columns))
    body = [row if isinstance(row, Markup) else _row(columns, row) for row in rows]
    return scrolling(caption, element("thead", head), element("tbody", *body), kind=kind)


def scrolling(caption: str, *parts: Child, kind: str | None = None) -> Markup:
    """A table that scrolls on its own where it is wider than the page. parts: what is in it."""
    made = element("table", element("caption", element("span", caption)), *parts, class_=kind)
    return element("div", made, class_="table", tabindex="0", role="region", aria_label=caption)


def _row(columns: Sequence[Column], cells: Sequence[Child]) -> Markup:
    named = element("th", cells[0], scope="row")
    return element(
        "tr", named, *(element("td", cell, class_=one.style) for one, cell in zip(columns[1:], cells[1:], strict=True))
    )


def group(title: str, columns: int) -> Markup:
    """A row that heads those below it."""
    return element("tr", element("th", title, colspan=columns, scope="colgroup"), class_="group")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names and what they are."""
    return element("dl", *(joined((element("dt", name), element("dd", value))) for name, value in pairs))


def listed(sentences: Iterable[Child]) -> Markup:
    """A plain list."""
    return element("ul", *(element("li", sentence) for sentence in sentences), class_="plain")


def figure(title: str, picture: Markup, *words: Child) -> Markup:
    """A picture under its name, with what is said of it."""
    return element("figure", picture, element("figcaption", element("b", title), *words))


def legend(ships: str) -> Markup:
    """The two networks' lines. ships: what the network that ships is called."""
    return joined(
        (element("span", ships, class_="legend"), element("span", "float", class_="legend float")),
    )


def state(name: str) -> Markup:
    """A state as a mark, a word and a colour."""
    return element("span", f"{MARKS[name]} {name}", class_=f"state {name}")


def missing(reason: str | None = None) -> Markup:
    """That a section was not measured, and why, where that is known."""
    told = NOT_MEASURED.capitalize()
    return element("p", told + "." if reason is None else f"{told}: {reason}.", class_="faint")


def plain(metric: str) -> str:
    """The name of a metric or promise in words: `melanoma_auroc_drop[sex=male]` is melanoma AUROC drop [sex=male]."""
    name, bracket, subgroup = metric.partition("[")
    return " ".join(_WORDS.get(word, word) for word in name.split("_")) + f" {bracket}{subgroup}".rstrip()
