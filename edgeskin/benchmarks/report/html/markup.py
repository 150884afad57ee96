"""Markup whose text is always escaped: a plain string is text, and only `element` makes markup of it."""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """HTML or SVG that is ready; every other string is text and is escaped where it meets markup."""

    __slots__ = ()


Child: TypeAlias = str | None
"""Markup, text, or nothing."""
Value: TypeAlias = str | float | None

_VOID = frozenset({"meta", "img", "br", "col"})


def element(kind: str, /, *children: Child, **attributes: Value) -> Markup:
    """One element. An attribute that is None is left out; `class_` and `aria_label` are class and aria-label."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_spelled(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if kind in _VOID:
        return Markup(f"<{kind}{told}>")
    return Markup(f"<{kind}{told}>{joined(children)}</{kind}>")


def joined(children: Iterable[Child], between: str = "") -> Markup:
    """Some markup and text, one behind the other."""
    kept = (child if isinstance(child, Markup) else escape(child) for child in children if child is not None)
    return Markup(escape(between).join(kept))


def _spelled(value: str | float) -> str:
    """Coordinates to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
