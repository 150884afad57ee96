"""A photograph with truth and answer drawn on it, for a page that its viewer makes for himself."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Picture:
    """One case. words: answer and truth, a line for each head. width, height: of the JPEG, in pixels."""

    image_id: str
    words: tuple[str, ...]
    width: int
    height: int
    jpeg: bytes = field(repr=False)
