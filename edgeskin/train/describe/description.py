"""What `edgeskin describe` tells of a recipe's network."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

PartKind: TypeAlias = Literal["input", "encoder", "decoder", "attention", "metadata", "pooling", "head", "auxiliary"]
LinkKind: TypeAlias = Literal["mask_attention", "joint_reverse", "activation_map", "fusion", "super_resolution"]


@dataclass(frozen=True)
class Input:
    """What the network is given: its shape for one case, and what each number stands for where they have names."""

    name: str
    shape: tuple[int, ...]
    slots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One part of the network, for one case.

    what: in words. reads: the names of the inputs and parts it reads from. shapes: of what it gives, without the batch.
    parameters: learned numbers, batch norm's among them. multiply_adds: of the convolutions and linear layers that run
    in it; where it runs layers of another part again, these are here and their parameters there. exported: whether
    anything of it is in the exported file. dropped_multiply_adds: those of them that an export leaves out although it
    keeps the part, because nothing reads that run or another computes the same.
    """

    name: str
    kind: PartKind
    what: str
    reads: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    multiply_adds: int
    exported: bool = True
    dropped_multiply_adds: int = 0


@dataclass(frozen=True)
class Link:
    """A reading that a link of the recipe adds: `target` reads `source`; `label` says what happens there."""

    kind: LinkKind
    source: str
    target: str
    label: str


@dataclass(frozen=True)
class HeadFacts:
    """What a head answers and learns by; `part` is its name among the parts."""

    name: str
    part: str
    kind: str
    labels: tuple[str, ...]
    loss: str
    weight: float
    exported: bool


@dataclass(frozen=True)
class Total:
    """A sum over parts."""

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Description:
    """A recipe's network.

    parts: each behind all it reads. taps: what training reads beside the logits. exported, training_only: sums over
    parts of what an export keeps and leaves out.
    """

    recipe: str
    network: str
    inputs: tuple[Input, ...]
    parts: tuple[Part, ...]
    links: tuple[Link, ...]
    heads: tuple[HeadFacts, ...]
    taps: tuple[str, ...]
    exported: Total
    training_only: Total


def shape_in_words(shape: tuple[int, ...]) -> str:
    """As 32 × 48 × 48; a square map is shorter: 32 × 48²."""
    if len(shape) == 3 and shape[1] == shape[2]:
        return f"{shape[0]} × {shape[1]}²"
    return " × ".join(str(size) for size in shape)


def shapes_in_words(shapes: tuple[tuple[int, ...], ...]) -> str:
    """Every shape once, the channels of maps that have the same only in the first: 1 × 12², 6², 24²."""
    words: list[str] = []
    for shape, before in zip(shapes, (None, *shapes), strict=False):
        maps = before is not None and len(shape) == len(before) == 3 and shape[0] == before[0]
        words.append(shape_in_words(shape).partition(" × ")[2] if maps else shape_in_words(shape))
    return ", ".join(dict.fromkeys(words))


def amount(number: int) -> str:
    """A count to three figures: 960, 1.25 k, 3.06 M, 1.14 G; a dash for none."""
    if number == 0:
        return "–"
    power = next((power for power in range(4) if number < 999.5 * 1000**power), 3)
    scaled = number / 1000**power
    digits = 0 if power == 0 or scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f} {' kMG'[power]}".rstrip()
