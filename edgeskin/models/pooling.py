"""What a classifier sees of an image: encoder levels behind CBAM, E-layer and mask attention, pooled and joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgeskin.models.attention import CbamBlock, ELayer
from edgeskin.models.spec import NetworkSpec


@dataclass(frozen=True)
class Evidence:
    """What classifiers pool from, for one batch.

    levels: encoder level -> map. activation_map: of the head whose map others read. gates: stride -> the lesion mask.
    decoded: the decoder's levels, coarse to fine, as stride -> map.
    """

    levels: Mapping[int, Tensor]
    activation_map: Tensor | None = None
    gates: Mapping[int, Tensor] = field(default_factory=dict)
    decoded: Mapping[int, Tensor] = field(default_factory=dict)


class Pooling(nn.Module):
    """Evidence to one vector a head: (N, C).

    encoder: channels of its five maps. decoder: the channels of those decoder levels, by stride, that the mask lets in.
    map_labels: labels of the head whose activation map others read.
    """

    def __init__(
        self, spec: NetworkSpec, encoder: Sequence[int], decoder: Mapping[int, int], map_labels: int | None
    ) -> None:
        super().__init__()
        self.levels = spec.pooled_levels
        self.attending = frozenset() if spec.mask_attention is None else frozenset(spec.mask_attention.heads)
        self.reading = frozenset() if spec.activation_map is None else frozenset(spec.activation_map.heads)
        self.encoder = tuple(encoder)
        self.decoder = dict(decoder)
        levels = () if spec.cbam is None else spec.cbam.levels
        assert levels == () or spec.cbam is not None
        self.cbam = nn.ModuleDict(
            {str(level): CbamBlock(encoder[level - 1], spec.cbam.reduction) for level in levels if spec.cbam}
        )
        self.e_layer: ELayer | None = None
        if spec.activation_map is not None:
            assert map_labels is not None, "a recipe's activation map has a source"
            self.e_layer = ELayer(encoder[-1], map_labels, spec.activation_map.channels)
            self.mapped_channels = spec.activation_map.channels

    def channels(self, head: str) -> int:
        """The width of what `head` is given."""
        widths = {level: self.encoder[level - 1] for level in self.levels}
        if head in self.reading:
            widths[5] = self.mapped_channels
        return sum(widths.values()) + (sum(self.decoder.values()) if head in self.attending else 0)

    def refine(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """The pooled levels of an encoder's maps, behind CBAM where a level has it."""
        levels = {level: maps[level - 1] for level in self.levels}
        for name, block in self.cbam.items():
            if int(name) in levels:
                levels[int(name)] = block(levels[int(name)])
        return levels

    def strides(self) -> tuple[int, ...]:
        """The strides at which the mask is needed as a gate."""
        return tuple(dict.fromkeys((*(2**level for level in self.levels), *self.decoder)))

    def forward(self, evidence: Evidence, heads: Sequence[str]) -> dict[str, Tensor]:
        """One vector a head; heads that see the same share it."""
        seen: dict[tuple[bool, bool], Tensor] = {}
        pooled: dict[str, Tensor] = {}
        for head in heads:
            view = (head in self.attending, head in self.reading)
            if view not in seen:
                seen[view] = self._pool(evidence, *view)
            pooled[head] = seen[view]
        return pooled

    def _pool(self, evidence: Evidence, attends: bool, reads: bool) -> Tensor:
        levels = dict(evidence.levels)
        if reads:
            assert self.e_layer is not None
            assert evidence.activation_map is not None
            levels[5] = self.e_layer(levels[5], evidence.activation_map)
        maps = [(2**level, x) for level, x in levels.items()]
        if attends:
            maps = [(stride, x * evidence.gates[stride]) for stride, x in (*maps, *evidence.decoded.items())]
        vectors = [x.mean((2, 3)) for _, x in maps]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors, 1)
