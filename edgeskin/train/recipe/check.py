"""Whether the parts of a recipe fit: a link needs its heads, a fusion its metadata, a loss its kind of head."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from edgeskin.contract.region import SecondPass
from edgeskin.models.spec import NetworkSpec
from edgeskin.train.recipe.data import MetadataChoice
from edgeskin.train.recipe.heads import LOSSES, HeadChoice
from edgeskin.train.recipe.learning import Balance, Sampling

Heads = Mapping[str, HeadChoice]


def problems(
    heads: Heads,
    network: NetworkSpec,
    metadata: MetadataChoice | None,
    sampling: Sampling | None,
    balance: Balance | None,
    second_pass: SecondPass | None = None,
) -> list[str]:
    """A sentence for every mistake that shows only when the tables are seen together."""
    found = [problem for name, head in heads.items() for problem in _head(name, head)]
    found += _counts(heads)
    found += _links(heads, network)
    found += _fusion(heads, network, metadata)
    found += _sampling(heads, sampling)
    if second_pass is not None:
        found += _demand(heads, "second_pass.heads", second_pass.heads)
        if not _of_kind(heads, "mask"):
            found.append("second_pass needs a mask head: the first pass's mask decides the region")
    if balance is not None and balance.kind == "alpha" and not _of_kind(heads, "mask"):
        found.append('balance.kind is "alpha", which weighs the mask against the rest, but there is no mask head')
    return found


def _of_kind(heads: Heads, *kinds: str) -> list[str]:
    return [name for name, head in heads.items() if head.kind in kinds]


RESERVED = frozenset({
    "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear", "compile", "cpu", "cuda",
    "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state",
    "get_parameter", "get_submodule", "half", "image", "ipu", "items", "keys", "load_state_dict", "metadata",
    "modules", "mtia", "named_buffers", "named_children", "named_modules", "named_parameters", "parameters", "pop",
    "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook",
    "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory",
    "state_dict", "to", "to_empty", "train", "training", "type", "update", "values", "xpu", "zero_grad",
})  # fmt: skip
"""Names that a head cannot have: the network's inputs, and what torch's table of modules calls its own members."""


def _head(name: str, head: HeadChoice) -> Iterator[str]:
    if name in RESERVED:
        yield f"heads.{name}: a head cannot be called {name}; call it {name}_head, with column = {name!r}"
    if head.kind != "super_resolution":
        try:
            head.spec(name)
        except ValidationError as error:
            yield from (str(item["ctx"]["error"]) for item in error.errors())
    allowed = LOSSES[head.kind]
    if head.loss not in (None, *allowed):
        yield f"heads.{name}.loss is {head.loss!r}; a {head.kind} head learns by {' or '.join(allowed)}"
    if head.rank is not None and head.loss != "dice_rank":
        yield f'heads.{name}.rank is for loss = "dice_rank"'
    for option in ("target_sensitivity", "threshold"):
        if getattr(head, option) is not None and head.kind != "sigmoid":
            yield f"heads.{name}.{option} is for sigmoid heads; {name} is a {head.kind} head"
    if head.target_sensitivity is not None and head.threshold is not None:
        yield f"heads.{name} has a threshold and a target_sensitivity, which chooses one; give one of them"
    if head.kind not in ("softmax", "sigmoid"):
        plain = HeadChoice(kind=head.kind)
        for option in ("hidden", "column", "values", "class_weights", "focus"):
            if getattr(head, option) != getattr(plain, option):
                yield f"heads.{name}.{option} is for softmax and sigmoid heads; {name} is a {head.kind} head"


def _counts(heads: Heads) -> Iterator[str]:
    for kind in ("mask", "super_resolution"):
        if len(_of_kind(heads, kind)) > 1:
            yield f"heads: at most one {kind} head"
    if all(head.auxiliary for head in heads.values()):
        yield "heads: none but auxiliary ones; nothing would be exported"


def _demand(heads: Heads, key: str, names: tuple[str, ...]) -> Iterator[str]:
    """Every name must be a softmax or sigmoid head."""
    classifiers = _of_kind(heads, "softmax", "sigmoid")
    for name in names:
        if name not in heads:
            yield f"{key} names the head {name!r}, which is not there; heads: {', '.join(classifiers) or 'none'}"
        elif name not in classifiers:
            yield f"{key} names {name!r}, a {heads[name].kind} head; a softmax or sigmoid head is needed"


def _links(heads: Heads, network: NetworkSpec) -> Iterator[str]:
    if network.activation != "native" and network.encoder == "mobilenet_v2":
        yield f"network.activation is {network.activation!r}; mobilenet_v2 has no other than its own"
    has_mask = bool(_of_kind(heads, "mask"))
    attention, reverse, maps = network.mask_attention, network.joint_reverse, network.activation_map
    if attention is not None:
        yield from _demand(heads, "network.mask_attention.heads", attention.heads)
        if not has_mask:
            yield "network.mask_attention needs a mask head"
        if attention.decoder_levels > len(network.decoder):
            yield (
                f"network.mask_attention.decoder_levels is {attention.decoder_levels}, "
                f"the decoder has {len(network.decoder)}"
            )
        finest = 5 - len(network.decoder)
        if min(network.pooled_levels) < finest:
            yield (
                f"network.pooled_levels holds {min(network.pooled_levels)}, finer than the mask that attends to it: "
                f"the decoder ends at level {finest}; give network.decoder more widths"
            )
    if reverse is not None:
        yield from _demand(heads, "network.joint_reverse.head", (reverse.head,))
        if not has_mask:
            yield "network.joint_reverse needs a mask head"
        if reverse.head in _of_kind(heads, "softmax", "sigmoid") and heads[reverse.head].hidden is None:
            yield (
                f"network.joint_reverse reads the hidden layer of {reverse.head}: "
                f"give heads.{reverse.head}.hidden a width"
            )
        if reverse.levels > len(network.decoder):
            yield f"network.joint_reverse.levels is {reverse.levels}, the decoder has {len(network.decoder)}"
    if maps is not None:
        yield from _demand(heads, "network.activation_map.source", (maps.source,))
        yield from _demand(heads, "network.activation_map.heads", maps.heads)
        yield from _map_source(heads, network)
    unseen = sorted(set(network.cbam.levels if network.cbam else ()) - set(network.pooled_levels))
    if unseen:
        yield (
            f"network.cbam.levels holds {', '.join(map(str, unseen))}, which network.pooled_levels does not: "
            "no classifier would see that"
        )


def _map_source(heads: Heads, network: NetworkSpec) -> Iterator[str]:
    """The map of a head is a 1×1 convolution only where nothing stands between pooling and its linear layer."""
    maps = network.activation_map
    assert maps is not None
    source = maps.source
    if source in maps.heads:
        yield f"network.activation_map: {source} cannot be both its source and one of its heads"
    if source in heads and heads[source].hidden is not None:
        yield f"heads.{source}.hidden: the source of an activation map is pooled and linear, without a hidden layer"
    if network.fusion is not None and source in network.fusion.heads:
        yield f"network.fusion.heads names {source}, the source of an activation map, which sees the image alone"
    if network.mask_attention is not None and source in network.mask_attention.heads:
        yield f"network.mask_attention.heads names {source}, the source of an activation map, which sees no mask"
    if 5 not in network.pooled_levels:
        yield "network.activation_map: the map is that of encoder level 5; add it to network.pooled_levels"


def _fusion(heads: Heads, network: NetworkSpec, metadata: MetadataChoice | None) -> Iterator[str]:
    if network.fusion is None:
        if metadata is not None:
            yield "metadata is given, but no network.fusion reads it"
        return
    if metadata is None:
        yield "network.fusion needs fields: write a [metadata] table"
    else:
        asked = {head.column or name for name, head in heads.items() if head.kind in ("softmax", "sigmoid")}
        for field in metadata.fields:
            if field.name in asked:
                yield f"metadata.fields names {field.name}, which a head is asked; an answer is no clinical field"
    yield from _demand(heads, "network.fusion.heads", network.fusion.heads)


def _sampling(heads: Heads, sampling: Sampling | None) -> Iterator[str]:
    if sampling is None:
        return
    yield from _demand(heads, "sampling.head", (sampling.head,))
    if sampling.kind == "counts" and not sampling.counts:
        yield 'sampling.kind is "counts": say how often in [sampling.counts]'
    if sampling.kind == "balanced" and sampling.counts:
        yield 'sampling.counts is for sampling.kind = "counts"; "balanced" shows every class equally often'
    head = heads.get(sampling.head)
    classes = () if head is None else head.classes
    for name in sampling.counts:
        if name not in classes:
            yield f"sampling.counts.{name} is no class of {sampling.head}; write {', '.join(classes)}"
