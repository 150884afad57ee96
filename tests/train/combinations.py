"""Which networks the shared suite builds: encoders, heads, and the links between them, in every pair that can be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

from edgeskin.models.spec import EncoderName
from edgeskin.train.recipe import Recipe

Table = dict[str, object]

ENCODERS: dict[EncoderName, tuple[str, ...]] = {
    "mobilenet_v2": ("native",),  # its own activation is ReLU6
    "mobilenet_v3_small": ("native", "relu6"),
    "mobilenet_v3_large": ("native", "relu6"),
    "squeezenet_1_0": ("native", "relu6"),
    "squeezenet_1_1": ("native", "relu6"),
}
"""The activations that each has."""

SYMMETRY: Table = {"kind": "softmax", "labels": ["symmetric", "one_axis", "asymmetric"]}
SIGMOIDS: Table = {name: {"kind": "sigmoid"} for name in ("melanoma", "seborrheic_keratosis")}


def diagnosis(*labels: str) -> Table:
    return {"diagnosis": {"kind": "softmax", "labels": list(labels)}}


THREE = diagnosis("melanoma", "nevus", "seborrheic_keratosis")
CLASSIFIERS: dict[str, Table] = {
    "no_class": {},
    "2_classes": diagnosis("benign", "malignant"),
    "3_classes_and_2_sigmoids": {**THREE, **SIGMOIDS},
    "6_classes": diagnosis("BCC", "SCC", "ACK", "SEK", "MEL", "NEV"),
    "7_classes": diagnosis("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
    "symmetry_and_diagnosis": {"symmetry": SYMMETRY, **THREE},
    "all": {"symmetry": SYMMETRY, **THREE, **SIGMOIDS},
}
"""The heads beside the mask, in the order in which they are declared."""

FIELDS: list[Table] = [
    {"kind": "number", "name": "age", "low": 0, "high": 100},
    {"kind": "choice", "name": "sex", "values": ["female", "male"]},
]
SIZE, BATCH = 64, 4


@dataclass(frozen=True)
class Links:
    """What stands between the parts.

    attention: decoder levels that join what the mask attends to, None without mask attention. metadata: how clinical
    fields are fused; `concat` imputes unknown ones too.
    """

    attention: int | None = None
    reverse: bool = False
    cbam: bool = False
    activation_map: bool = False
    metadata: str | None = None
    super_resolution: bool = False

    def names(self) -> tuple[str, ...]:
        """Those that are there."""
        return tuple(
            name if value is True else f"{name}_{value}"
            for name, value in vars(self).items()
            if value is not None and value is not False
        )

    def everything(self) -> bool:
        """Whether none is left out."""
        return len(self.names()) == len(vars(self))


LINKS = (
    Links(),
    Links(attention=0),
    Links(attention=2),
    Links(reverse=True),
    Links(cbam=True),
    Links(activation_map=True),
    Links(metadata="multiply"),
    Links(metadata="concat"),
    Links(super_resolution=True),
    Links(2, True, True, True, "multiply", True),
)
"""One at a time, none, and everything."""

HEADS = (*((name, False) for name in CLASSIFIERS if name not in ("no_class", "all")), ("no_class", True), ("all", True))
"""What the papers have, as classifiers and whether there is a mask."""


@dataclass(frozen=True)
class Combination:
    """One network of the suite."""

    encoder: EncoderName
    activation: str
    classifiers: str
    mask: bool
    links: Links

    def __str__(self) -> str:
        heads = f"mask+{self.classifiers}" if self.mask else self.classifiers
        return "-".join((self.encoder, self.activation, heads, "+".join(self.links.names()) or "unlinked"))

    def is_possible(self) -> bool:
        """Whether its links find their heads: two classifiers for a map, a mask to attend with, and so on."""
        count, links = len(CLASSIFIERS[self.classifiers]), self.links
        wants_mask = links.attention is not None or links.reverse
        wants_classifier = wants_mask or links.cbam or links.metadata is not None
        return (
            (self.mask or (count > 0 and not wants_mask))
            and (count > 0 or not wants_classifier)
            and (count > 1 or not links.activation_map)
        )

    def features(self) -> tuple[tuple[str, object], ...]:
        """Everything by which it differs from others; also whether it has no link, or each."""
        links = vars(self.links)
        extent = "unlinked" if self.links == Links() else "everything" if self.links.everything() else "some"
        own = {name: value for name, value in vars(self).items() if name != "links"}
        return (*own.items(), *links.items(), ("extent", extent))

    def recipe(self) -> Recipe:
        """A recipe for it at width 0.25 and 64²: the map is that of the first classifier, and all others read it."""
        links, classifiers = self.links, dict(CLASSIFIERS[self.classifiers])
        names = list(classifiers)
        readers = names[1:] if links.activation_map else names
        network: Table = {
            "encoder": self.encoder,
            "activation": self.activation,
            "width": 0.25,
            "start": "random",
            "size": SIZE,
            "decoder": [16, 8],
            "dropout": 0.0,
        }
        if links.attention is not None:
            network["mask_attention"] = {"heads": readers, "decoder_levels": links.attention}
        if links.reverse:
            last = classifiers[names[-1]]
            assert isinstance(last, dict)
            classifiers[names[-1]] = {**last, "hidden": 16}
            network["joint_reverse"] = {"head": names[-1], "levels": 2}
        if links.cbam:
            network |= {"cbam": {"levels": [4, 5]}, "pooled_levels": [4, 5]}
        if links.activation_map:
            network["activation_map"] = {"source": names[0], "heads": readers, "channels": 16}
        heads = {**({"mask": {"kind": "mask"}} if self.mask else {}), **classifiers}
        if links.super_resolution:
            heads["enlarged"] = {"kind": "super_resolution"}
        table: Table = {"name": "every", "data": {"dataset": "generic"}, "network": network, "heads": heads}
        if links.metadata is not None:
            imputation = 8 if links.metadata == "concat" else None
            network["fusion"] = {
                "heads": readers,
                "kind": links.metadata,
                "widths": [16, 32],
                "imputation": imputation,
            }
            table["metadata"] = {"fields": FIELDS}
        phase = {"epochs": 1, "batch": BATCH, "warmup": 0.0, "schedule": {"kind": "constant"}, "encoder_rate": 1.0}
        table["float"] = {**phase, "learning_rate": 3e-3}
        table["qat"] = {**phase, "learning_rate": 3e-4}
        table["card"] = {"name": "every", "intended_use": "Tests only.", "licence": "Apache-2.0"}
        return Recipe.model_validate(table)


def each_by_itself() -> Iterator[Combination]:
    """Every encoder under all heads of the papers with one link, none, or everything."""
    for encoder, activations in ENCODERS.items():
        for activation, (classifiers, mask), links in product(activations, HEADS, LINKS):
            yield Combination(encoder, activation, classifiers, mask, links)


def _every_mixture() -> Iterator[Combination]:
    """Likewise with any links at once, and a mask beside any classifiers; "all" heads are never without."""
    switches = (False, True)
    choices = (None, 0, 2), switches, switches, switches, (None, "multiply", "concat"), switches
    mixtures = [Links(*each) for each in product(*choices)]
    for encoder, activations in ENCODERS.items():
        for activation, classifiers, mask, links in product(activations, CLASSIFIERS, switches, mixtures):
            if mask or classifiers != "all":
                yield Combination(encoder, activation, classifiers, mask, links)


def pairs(combination: Combination) -> frozenset[tuple[tuple[str, object], tuple[str, object]]]:
    """Every two of its features."""
    return frozenset(combinations(combination.features(), 2))


@cache
def cover() -> tuple[Combination, ...]:
    """Few networks in which every two features that can meet do meet: always the one next that adds most pairs.

    Encoder × link alone has fifty pairs, so a network of the cover has several links at once.
    """
    candidates = [each for each in _every_mixture() if each.is_possible()]
    bits: dict[object, int] = {}
    sets = []
    for candidate in candidates:
        sets.append(sum(bits.setdefault(pair, 1 << len(bits)) for pair in pairs(candidate)))
    missing, chosen = (1 << len(bits)) - 1, []
    while missing:
        best = max(range(len(sets)), key=lambda index: (sets[index] & missing).bit_count())
        chosen.append(candidates[best])
        missing &= ~sets[best]
    return tuple(chosen)


def first_of_their_kind(rows: Iterable[Combination]) -> tuple[Combination, ...]:
    """Those that show a feature which none before them shows."""
    seen: set[tuple[str, object]] = set()
    chosen = []
    for each in rows:
        if not seen.issuperset(each.features()):
            seen.update(each.features())
            chosen.append(each)
    return tuple(chosen)
