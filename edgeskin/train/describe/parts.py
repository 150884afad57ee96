"""The parts of a network in the order of its data flow: what each is, which modules it is made of, what it reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from edgeskin.models.heads import MapHead
from edgeskin.models.multitask import MultiTask
from edgeskin.train.describe.description import Link, PartKind
from edgeskin.train.describe.levels import encoder_levels
from edgeskin.train.recipe import Recipe

FUSION_LABELS = {"multiply": "× fields", "concat": "+ fields"}


@dataclass(frozen=True)
class Plan:
    """A part before it is counted.

    modules: what it is made of; the last gives its shape unless `shapes` does. again: the part in which the last module
    runs a second time.
    """

    name: str
    kind: PartKind
    what: str
    reads: tuple[str, ...]
    modules: tuple[nn.Module, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    again: str | None = None


class Planner:
    """Walks through a network as its `forward` does."""

    def __init__(self, recipe: Recipe, network: MultiTask, image: Tensor) -> None:
        self.recipe, self.spec, self.network = recipe, recipe.network, network
        self.image = image
        self.specs = {spec.name: spec for spec in recipe.head_specs()}
        masks = [name for name, spec in self.specs.items() if spec.kind == "mask"]
        self.mask = masks[0] if masks else None
        self.source = None if self.spec.activation_map is None else self.spec.activation_map.source
        self.fused = () if self.spec.fusion is None else self.spec.fusion.heads
        self.classifiers = [name for name in self.specs if name not in (self.mask, self.source)]

    def plans(self) -> tuple[Plan, ...]:
        """Every part, each behind all it reads."""
        walk = (self._encoder(), self._decoder(), self._attention(), self._pooling(), self._fusion(), self._heads())
        return tuple(plan for step in walk for plan in step)

    def links(self, plans: Sequence[Plan]) -> tuple[Link, ...]:
        """What the recipe's links add to the flow; of each kind first that which says most of it."""
        return tuple(self._links(plans))

    def _encoder(self) -> Iterator[Plan]:
        spec = self.spec
        for number, level in enumerate(encoder_levels(self.network.encoder, self.image), 1):
            before = "image" if number == 1 else f"encoder {number - 1}"
            width = "" if spec.width == 1 else f" × {spec.width:g}"
            what = f"{spec.encoder}{width}, level {number}: stride {2**number}"
            yield Plan(f"encoder {number}", "encoder", what, (before,), level.layers, (tuple(level.shape),))

    def _decoder(self) -> Iterator[Plan]:
        decoder = self.network.decoder
        if decoder is None:
            return
        yield Plan("decoder entry", "decoder", "encoder 5 made narrower", ("encoder 5",), (decoder.entry,))
        again = range(0) if self.spec.joint_reverse is None else self._reversed(self.spec.joint_reverse.levels)
        for number, layers in enumerate(zip(decoder.laterals, decoder.mixes, strict=True), 1):
            before = "decoder entry" if number == 1 else f"decoder {number - 1}"
            yield Plan(
                f"decoder {number}",
                "decoder",
                f"twice the size, joined with encoder {5 - number}: stride {2 ** (5 - number)}",
                (before, f"encoder {5 - number}"),
                layers,
                again="joint reverse" if number in again else None,
            )

    def _attention(self) -> Iterator[Plan]:
        pooling, gate = self.network.pooling, self.network.mask_gate
        for level, block in pooling.cbam.items():
            what = "channels, then places, re-weighed (CBAM)"
            if int(level) not in self.spec.pooled_levels:
                what += "; no classifier pools this level, so it never runs"
            yield Plan(f"cbam {level}", "attention", what, (f"encoder {level}",), (block,))
        if gate is not None:
            strides = _listed([str(stride) for stride in pooling.strides()])
            what = f"the mask, read early by the weights of its head, as a gate at strides {strides}"
            yield Plan("mask gate", "attention", what, (self._finest(),), (gate,))
        if self.source is not None and pooling.e_layer is not None:
            head = self.network.heads[self.source]
            assert isinstance(head, MapHead)
            yield Plan(f"head {self.source}", "head", self._answer(self.source), (self._level(5),), (head,))
            what = f"the class-activation map of {self.source} mixed into level 5"
            yield Plan("E-layer", "attention", what, (self._level(5), f"head {self.source}"), (pooling.e_layer,))

    def _pooling(self) -> Iterator[Plan]:
        for heads in self._views().values():
            reads, what = self._pooled(heads[0])
            shape = (self.network.pooling.channels(heads[0]),)
            yield Plan(self._pool_of(heads[0]), "pooling", what, reads, shapes=(shape,))

    def _pooled(self, head: str) -> tuple[tuple[str, ...], str]:
        """What a head's pooling reads, and what it does, in words."""
        pooling = self.network.pooling
        levels = {level: self._level(level) for level in self.spec.pooled_levels}
        if head in pooling.reading:
            levels[5] = "E-layer"
        reads = tuple(levels.values())
        if head not in pooling.attending:
            return reads, "the mean of every channel"
        decoder = self.network.decoder
        assert decoder is not None
        attended = tuple(f"decoder {decoder.strides.index(stride) + 1}" for stride in pooling.decoder)
        return (*reads, *attended, "mask gate"), "the mean of every channel times the mask"

    def _fusion(self) -> Iterator[Plan]:
        spec, fusion = self.spec.fusion, self.network.fusion
        if spec is None or fusion is None:
            return
        fields = "metadata"
        if fusion.imputation is not None:
            what = f"unknown fields filled in from the known ones, {spec.imputation} wide inside"
            yield Plan("imputation", "metadata", what, (fields,), (fusion.imputation,))
            fields = "imputation"
        widths = "-".join(str(width) for width in spec.widths)
        yield Plan("metadata encoder", "metadata", f"fully connected, {widths}", (fields,), (fusion.encoder,))
        joined = "the image, projected, times the fields" if spec.kind == "multiply" else "the image beside the fields"
        for name, module in fusion.fusions.items():
            reads = (self._pool_of(name), "metadata encoder")
            yield Plan(f"fusion {name}", "metadata", joined, reads, (module,))

    def _heads(self) -> Iterator[Plan]:
        network = self.network
        for name in self.classifiers:
            read = f"fusion {name}" if name in self.fused else self._pool_of(name)
            yield Plan(f"head {name}", "head", self._answer(name), (read,), (network.heads[name],))
        reverse, finest = self.spec.joint_reverse, ""
        if self.mask is not None:
            finest = self._finest()
        if reverse is not None and network.reverse is not None and network.decoder is not None:
            numbers = self._reversed(reverse.levels)
            before = f"decoder {numbers[0] - 1}" if numbers[0] > 1 else "decoder entry"
            levels = tuple(f"decoder {number}" for number in numbers)
            runs = "run" if len(levels) > 1 else "runs"
            what = f"{_listed(levels)} {runs} again, weighed by the hidden layer of {reverse.head}"
            yield Plan("joint reverse", "decoder", what, (before, *levels, f"head {reverse.head}"), (network.reverse,))
            finest = "joint reverse"
        if self.mask is not None:
            again = None if network.mask_gate is None or reverse is None else "mask gate"
            yield Plan(
                f"head {self.mask}",
                "head",
                self._answer(self.mask),
                (finest,),
                (network.heads[self.mask],),
                again=again,
            )
        if "super_resolution" in network.auxiliary:
            what = "the image at twice its size: six convolutions, each enlarging by 2"
            yield Plan("super-resolution", "auxiliary", what, ("encoder 5",), (network.auxiliary["super_resolution"],))

    def _links(self, plans: Sequence[Plan]) -> Iterator[Link]:
        spec = self.spec
        attending = [plan for plan in plans if plan.kind == "pooling" and "mask gate" in plan.reads]
        yield from (Link("mask_attention", "mask gate", plan.name, "× mask") for plan in attending)
        for plan in attending:
            attended = [read for read in plan.reads if read.startswith("decoder")]
            yield from (Link("mask_attention", read, plan.name, "pooled too") for read in attended)
        for plan in plans:
            if plan.name == "mask gate":
                yield Link("mask_attention", plan.reads[0], plan.name, "mask")
            if plan.name == "E-layer":
                yield Link("activation_map", plan.reads[1], plan.name, "activation map")
            if plan.name.startswith("fusion ") and spec.fusion is not None:
                yield Link("fusion", plan.reads[1], plan.name, FUSION_LABELS[spec.fusion.kind])
            if plan.name == "joint reverse":
                yield Link("joint_reverse", plan.reads[-1], plan.name, "hidden layer")
                yield from (Link("joint_reverse", read, plan.name, "runs again") for read in plan.reads[:-1])
            if plan.kind == "auxiliary":
                yield Link("super_resolution", plan.reads[0], plan.name, "training only")

    def _views(self) -> dict[tuple[bool, bool], list[str]]:
        """Classifiers by what they see: whether the mask attends for them, whether an activation map enters."""
        pooling = self.network.pooling
        views: dict[tuple[bool, bool], list[str]] = {}
        for name in self.classifiers:
            views.setdefault((name in pooling.attending, name in pooling.reading), []).append(name)
        return views

    def _pool_of(self, head: str) -> str:
        views = list(self._views().values())
        return "pooling" if len(views) == 1 else f"pooling {next(', '.join(view) for view in views if head in view)}"

    def _level(self, level: int) -> str:
        return f"cbam {level}" if str(level) in self.network.pooling.cbam else f"encoder {level}"

    def _finest(self) -> str:
        return f"decoder {len(self.spec.decoder)}"

    def _reversed(self, levels: int) -> range:
        return range(len(self.spec.decoder) - levels + 1, len(self.spec.decoder) + 1)

    def _answer(self, name: str) -> str:
        spec, hidden = self.specs[name], self.recipe.heads[name].hidden
        labels = (
            f"softmax over {', '.join(spec.labels)}" if spec.kind == "softmax" else f"{spec.kind} of {spec.labels[0]}"
        )
        return labels if hidden is None else f"{labels}; hidden layer of {hidden}"


def _listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
