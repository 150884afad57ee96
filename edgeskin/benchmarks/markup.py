"""Markdown of strings that others wrote: a name in a file is shown as it is, and never becomes markup.

Source: the GitHub Flavored Markdown Spec, 4.10 (tables), 6.1 (backslash escapes) and 6.3 (code spans).
"""

import re

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
