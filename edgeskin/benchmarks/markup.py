"""Markdown of strings that others wrote: a name in a file is shown as it is, and never becomes markup.

Source: the GitHub Flavored Markdown Spec, 4.10 (tables), 6.1 (backslash escapes) and 6.3 (code spans).
"""

import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"[\\`*~]|(?<=\])\(|^(?:[#>\[]|[-+](?=[ -]))")
"""What would begin code, emphasis, a link or a block; underscores within words begin nothing."""


def text(words: str) -> str:
    """In one line, without HTML, links, code or emphasis; as plain text it still reads as it was written."""
    return _MARKS.sub(r"\\\g<0>", line(words)).replace("<", "&lt;")


def cell(words: str) -> str:
    """Likewise, in a table, whose columns bars divide."""
    return text(words).replace("|", "\\|")


def code(words: str) -> str:
    """As a code span, within longer backticks than it has itself."""
    inner = line(words)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", inner)), default=0))
    return f"{fence}{inner}{fence}" if len(fence) == 1 else f"{fence} {inner} {fence}"


def line(words: str) -> str:
    """In one line: line ends, and what else cannot be seen, become spaces."""
    return "".join(character if character.isprintable() else " " for character in words).strip()


def items(sentences: Iterable[str]) -> str:
    """A list, a line each."""
    return "\n".join(f"- {text(sentence)}" for sentence in sentences)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns line up in plain text."""
    cells = [[cell(words) for words in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    lines = [
        "| " + " | ".join(words.ljust(width) for words, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
