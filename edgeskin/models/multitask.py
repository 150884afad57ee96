"""The multi-task network: one encoder, one decoder, any heads, and the links between them."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

from edgeskin.contract.metadata import MetadataSpec
from edgeskin.models.attention import MaskGate
from edgeskin.models.decoder import Decoded, LightDecoder, ReverseDecoder
from edgeskin.models.encoder import Encoder
from edgeskin.models.fusion import MetadataFusionBlock
from edgeskin.models.heads import ClassifyHead, MapHead, MaskHead
from edgeskin.models.pooling import Evidence, Pooling
from edgeskin.models.spec import HeadLayout, NetworkSpec
from edgeskin.models.super_resolution import SuperResolution

Tap: TypeAlias = Literal["features", "imputed", "first_mask"]
"""What training reads beside the logits: the encoder's last map; the imputation network's prediction; where classifiers
attend to the mask of the decoder's first run and a second run gives the answer, the logits of that first mask."""

FIRST_MASK = "mask.first"
"""No head can have a name with a dot."""


class MultiTask(nn.Module):
    """Image, and clinical fields where it was built for them, to one tensor of logits per head, then the taps.

    Shapes: image (N, 3, S, S) in [−1, 1), metadata (N, M) -> mask (N, 1, S, S), any other head (N, labels), in the
    order of `heads`; behind them what `taps` names. The final sigmoid and softmax are not here: losses want logits, and
    in every exported file they are the float tail.

    super_resolution: whether the auxiliary decoder is trained. It reads the tap `features` and is not part of
    `forward`, so that no export ever sees it.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: NetworkSpec,
        heads: Sequence[HeadLayout],
        metadata: MetadataSpec | None = None,
        *,
        super_resolution: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.order = tuple(head.spec.name for head in heads)
        masks = [head for head in heads if head.spec.kind == "mask"]
        self.decoder = LightDecoder(encoder.channels, spec.decoder) if masks else None
        self.pooling = Pooling(spec, encoder.channels, self._attended(spec), _map_labels(spec, heads))
        self.mask_gate = None if self.decoder is None or not spec.mask_attention else MaskGate(self.decoder.stride)
        self.fusion: MetadataFusionBlock | None = None
        if spec.fusion is not None:
            assert metadata is not None, "a recipe with a fusion names its fields"
            pooled = {name: self.pooling.channels(name) for name in spec.fusion.heads}
            self.fusion = MetadataFusionBlock(spec.fusion, metadata, pooled)
        self.heads = nn.ModuleDict({head.spec.name: self._head(head, spec) for head in heads})
        self.reverse_head = None if spec.joint_reverse is None else spec.joint_reverse.head
        self.reverse: ReverseDecoder | None = None
        if spec.joint_reverse is not None and self.decoder is not None:
            source = self.heads[spec.joint_reverse.head]
            assert isinstance(source, ClassifyHead)
            self.reverse = ReverseDecoder(self.decoder, source.logits.in_features, spec.joint_reverse.levels)
        self.auxiliary = nn.ModuleDict()
        self.taps: tuple[Tap, ...] = ()
        if super_resolution:
            self.auxiliary["super_resolution"] = SuperResolution(encoder.channels[-1])
            self.taps += ("features",)
        if self.fusion is not None and self.fusion.imputation is not None:
            self.taps += ("imputed",)
        if self.reverse is not None and self.mask_gate is not None:
            self.taps += ("first_mask",)

    def _attended(self, spec: NetworkSpec) -> dict[int, int]:
        """Channels by stride of the decoder levels that mask attention lets classifiers pool."""
        if self.decoder is None or spec.mask_attention is None or spec.mask_attention.decoder_levels == 0:
            return {}
        levels = list(zip(self.decoder.strides, self.decoder.widths, strict=True))
        return dict(levels[-spec.mask_attention.decoder_levels :])

    def _head(self, head: HeadLayout, spec: NetworkSpec) -> nn.Module:
        name, labels = head.spec.name, len(head.spec.labels)
        if head.spec.kind == "mask":
            assert self.decoder is not None
            return MaskHead(self.decoder.widths[-1], self.decoder.stride)
        if spec.activation_map is not None and name == spec.activation_map.source:
            return MapHead(self.encoder.channels[-1], labels)
        fused = self.fusion is not None and name in self.fusion.channels
        channels = self.fusion.channels[name] if self.fusion and fused else self.pooling.channels(name)
        return ClassifyHead(channels, labels, spec.dropout, head.hidden)

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, ...]:
        """Logits of every head, then the taps."""
        maps = self.encoder(image)
        decoded = None if self.decoder is None else self.decoder(maps)
        logits: dict[str, Tensor] = {}
        evidence = self._evidence(maps, decoded, logits)
        classifiers = {name: head for name, head in self.heads.items() if isinstance(head, ClassifyHead)}
        features = self.pooling(evidence, tuple(classifiers))
        imputed = None
        if self.fusion is not None:
            assert metadata is not None, "this network takes metadata"
            features, imputed = self.fusion(features, metadata)
        for name, classifier in classifiers.items():
            features[name] = classifier.features(features[name])
            logits[name] = classifier(features[name])
        for name, head in self.heads.items():
            if isinstance(head, MaskHead) and name not in logits:
                assert decoded is not None
                logits[name] = head(head.logits(self._finest(decoded, features)))
        taps = {"features": maps[-1], "imputed": imputed, "first_mask": logits.get(FIRST_MASK)}
        answers = [*(logits[name] for name in self.order), *(taps[name] for name in self.taps)]
        return tuple(answer for answer in answers if answer is not None)

    def _evidence(self, maps: Sequence[Tensor], decoded: Decoded | None, logits: dict[str, Tensor]) -> Evidence:
        """What classifiers pool from; a head whose map or mask others read answers here already.

        Under joint reverse learning the mask that attends is another one than the answer, and is taught beside it.
        """
        levels = self.pooling.refine(maps)
        activation_map = None
        gates: dict[int, Tensor] = {}
        for name, head in self.heads.items():
            if isinstance(head, MapHead):
                activation_map, logits[name] = head(levels[5])
            elif isinstance(head, MaskHead) and self.mask_gate is not None and decoded is not None:
                attending = head.logits(decoded.levels[-1])
                gates = self.mask_gate(attending, self.pooling.strides())
                if self.reverse is not None:
                    logits[FIRST_MASK] = head(attending)
                else:
                    # From the same tensor: a second, equal convolution would be observed at a scale of its own, and the
                    # exporter, which joins equal ones, would quantize the one that is left at both.
                    logits[name] = head(attending)
        attended = {stride: decoded.at(stride) for stride in self.pooling.decoder} if decoded is not None else {}
        return Evidence(levels, activation_map, gates, attended)

    def _finest(self, decoded: Decoded, features: dict[str, Tensor]) -> Tensor:
        """The map that the mask is read from: the decoder's last, or that of its second run."""
        if self.reverse is None or self.decoder is None or self.reverse_head is None:
            return decoded.levels[-1]
        finest: Tensor = self.reverse(self.decoder, decoded, features[self.reverse_head])
        return finest


def _map_labels(spec: NetworkSpec, heads: Sequence[HeadLayout]) -> int | None:
    if spec.activation_map is None:
        return None
    return next(len(head.spec.labels) for head in heads if head.spec.name == spec.activation_map.source)
