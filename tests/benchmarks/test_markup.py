"""What a file says never becomes markup: judged by markdown-it, which rich renders with."""

import re
from typing import get_args

import pytest
import whole_report
from markdown_it import MarkdownIt

from edgeskin.benchmarks import markup
from edgeskin.benchmarks.measurements import LayerFigure, Measurements
from edgeskin.benchmarks.report import Report, markdown
from edgeskin.contract.model import ModelCard
from edgeskin.targets.base import Precision

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<!-- the rest is gone",
    "a\n\n# passed",
    "a\r\n| all | 1 | 1 | passed |",
    "a\u2028b\x00c",
    "a|b",
    "a\\|b",
    "a\\",
    "a`b",
    "`a` ``b``",
    "\\`<b>`",
    "[here](https://example.com)",
    "![seen](https://example.com/pixel.png)",
    "[a]: https://example.com",
    "[x] passed",
    "**passed** ~~failed~~ *a*",
    "# passed",
    "> passed",
    "- passed",
    "+ passed",
)
INERT = {"text", "text_special", "code_inline"}


def seen(words: str) -> str:
    """What a reader should see of it."""
    return markup.line(words)


def shown(source: str) -> tuple[list[str], list[str]]:
    """The kinds of blocks that Markdown makes of it, and the text of each line in them."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(source)
    inline = [token.children or [] for token in tokens if token.type == "inline"]
    assert {part.type for line in inline for part in line} <= INERT, source
    return [token.type for token in tokens], ["".join(part.content for part in line) for line in inline]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_string_is_one_paragraph_that_reads_as_it_was_written(words: str) -> None:
    assert shown(markup.text(words)) == (["paragraph_open", "inline", "paragraph_close"], [seen(words)])


@pytest.mark.parametrize("words", HOSTILE)
def test_and_an_item_that_begins_nothing_else(words: str) -> None:
    kinds, lines = shown(f"- {markup.text(words)}")
    assert kinds.count("list_item_open") == 1
    assert "heading_open" not in kinds
    assert "blockquote_open" not in kinds
    assert lines == [seen(words)]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_cell_stays_a_cell_of_one_row(words: str) -> None:
    cell = markup.cell(words)
    kinds, lines = shown(f"| name | state |\n|---|---|\n| {cell} | failed |\n| b | {cell} |")
    assert kinds.count("tr_open") == 3
    assert lines == ["name", "state", seen(words), "failed", "b", seen(words)]


@pytest.mark.parametrize("words", HOSTILE)
def test_code_ends_where_it_should(words: str) -> None:
    (line,) = shown(f"gate {markup.code(words)}: failed")[1]
    assert line == f"gate {seen(words)}: failed"


@pytest.mark.parametrize(
    "words", ["mask_jaccard", "melanoma_sensitivity[sex=female]", "-0.0012", "/stem/conv.1", "a < b"]
)
def test_an_honest_name_stays_as_it_is(words: str) -> None:
    assert markup.cell(words).replace("&lt;", "<") == words


# --- the whole report ---

CHOSEN = {"form", "state", "section", "comparison", "kind", "judged", "mode", "way", "verified", "date"}
"""Fields that take a few words alone, or a date."""
PRECISIONS = get_args(Precision)
NAMED = {"metrics", "confusion", "drops"}
"""Fields whose keys are names."""
DEFACED = " `<img src=x>|\n| all | passed |\n|---|---|\n\n# passed [a](https://example.com)"


def defaced(value: object) -> object:
    """The same with that behind every string, and before each name that is a key."""
    if isinstance(value, str):
        return value + DEFACED
    if isinstance(value, list):
        return [defaced(item) for item in value]
    if isinstance(value, dict):
        return {
            key: {DEFACED + name: defaced(item) for name, item in below.items()}
            if key in NAMED
            else below
            if key in CHOSEN or below in PRECISIONS
            else defaced(below)
            for key, below in value.items()
        }
    return value


def structure(source: str) -> tuple[list[str], list[list[str]], list[str]]:
    """Its blocks, its HTML tags, and the kinds of what stands in its lines, its own markup left out."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(source)
    tags = [re.findall(r"<[^>]*>", token.content) for token in tokens if token.type == "html_block"]
    inline = {part.type for token in tokens for part in token.children or []} - INERT
    return [token.type for token in tokens], tags, sorted(inline)


def test_a_report_of_hostile_strings_is_built_as_an_honest_one(card: ModelCard, measured: Measurements) -> None:
    whole = whole_report.whole(measured)
    assert whole.placement is not None
    layers = (LayerFigure(name="conv", type="Conv", precision="Int8", nodes=("a", "b")),)
    place = whole.placement.model_copy(update={"layers": layers, "partitions": 1, "undelegated": ("ADD (1)",)})
    assert whole.accuracy is not None
    accuracy = whole.accuracy.model_copy(update={"seen_in_training": ("ISIC_0000001",)})
    honest = whole_report.report(card, whole.model_copy(update={"placement": place, "accuracy": accuracy}))
    hostile = Report.model_validate(defaced(honest.model_dump(mode="json")))
    text = markdown.render(hostile)
    assert text.count("img src=x") > 50
    assert structure(text) == structure(markdown.render(honest))
    assert structure(markdown.summary(hostile)) == structure(markdown.summary(honest))
