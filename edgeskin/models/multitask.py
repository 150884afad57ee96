"""The multi-task network: one encoder, one decoder, any heads."""

from collections.abc import Sequence

from torch import Tensor, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.models.decoder import LightDecoder
from edgeskin.models.heads import ClassifyHead, MaskHead
from edgeskin.models.mobilenet import MobileNetV2


class MultiTask(nn.Module):
    """Image to one tensor of logits per head, in the order of `heads`.

    Shapes: image (N, 3, S, S) in [−1, 1) -> mask (N, 1, S, S), any other head (N, labels).
    The final sigmoid and softmax are not here: losses want logits, and in every exported file they are the float tail.
    """

    def __init__(
        self, encoder: MobileNetV2, heads: Sequence[HeadSpec], decoder_widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        masks = [head for head in heads if head.kind == "mask"]
        self.decoder = LightDecoder(encoder.channels, decoder_widths) if masks else None
        self.heads = nn.ModuleDict()
        for head in heads:
            if self.decoder is not None and head.kind == "mask":
                self.heads[head.name] = MaskHead(self.decoder.channels, self.decoder.stride)
            else:
                self.heads[head.name] = ClassifyHead(encoder.channels[-1], len(head.labels), dropout)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits of every head."""
        maps = self.encoder(image)
        pooled = maps[-1].mean((2, 3))
        decoded = None if self.decoder is None else self.decoder(maps)
        return tuple(head(decoded if isinstance(head, MaskHead) else pooled) for head in self.heads.values())
