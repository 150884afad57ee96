"""The auxiliary ×2 super-resolution decoder: it sharpens the encoder in training and vanishes at export."""

from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (128, 64, 32, 16, 8, 3)


class SuperResolution(nn.Module):
    """Six convolutions, each followed by a depth-to-space of 2: the last map (N, C, S/32, S/32) -> (N, 3, 2S, 2S).

    Source: papers/metadata_superresolution_pad_ufes_2024.txt, section 2.2 (a 6-layer decoder on the last feature maps);
    how it grows is our choice.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for outputs in CHANNELS:
            self.layers.append(nn.Conv2d(inputs, 4 * outputs, 3, padding=1))
            inputs = outputs

    def forward(self, features: Tensor) -> Tensor:
        """The picture at twice the input's size, in [−1, 1) as far as it has learnt to."""
        *hidden, last = self.layers
        for layer in hidden:
            features = functional.relu(functional.pixel_shuffle(layer(features), 2))
        return functional.pixel_shuffle(last(features), 2)
