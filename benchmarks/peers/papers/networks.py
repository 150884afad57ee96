"""The papers' workstation networks as ONNX files with random weights, only to be timed.

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==5.24.0 onnx==1.23.2 onnxscript==0.7.2
    peers/bin/python benchmarks/peers/papers/networks.py FOLDER [NAME …]

Needs nothing of edgeskin, and edgeskin nothing of this environment: `speed.py` reads FOLDER/NAME.onnx alone. ResNet-50,
EfficientNet-B4 and MobileNetV2 are those of transformers; the rest is written here from the papers. Where one leaves
something open, the docstring of its network says what was chosen.

Batch norms hold the statistics of a few random pictures: with untrained ones values sink below the least normal number
in a deep network, which CPUs compute slowly.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the name that torch's own documentation gives it

OPSET = 18


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU, at the input's size over `stride`."""
    padding = dilation * (kernel // 2)
    filters = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(filters, nn.BatchNorm2d(outputs), nn.ReLU())


def mean(x: Tensor) -> Tensor:
    """Shapes: (N, C, H, W) -> (N, C)."""
    return x.mean((2, 3))


# --- papers/joint_reverse_mtl_2024.txt ---


class Attention(nn.Module):
    """CBAM of Woo et al. 2018: channels, then places; (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, channels)
        )
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Re-weigh."""
        weights = torch.sigmoid(self.shared(mean(x)) + self.shared(x.amax((2, 3))))
        x = x * weights[:, :, None, None]
        return x * torch.sigmoid(self.places(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


class Up(nn.Module):
    """A level of a U-Net's decoder: transposed convolution, the encoder's map beside it, two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.mix = nn.Sequential(convolution(2 * outputs, outputs), convolution(outputs, outputs))

    def forward(self, x: Tensor, skip: Tensor, weights: Tensor | None = None) -> Tensor:
        """weights: (N, 2·outputs) on what the convolutions see; by default none."""
        x = torch.cat([self.up(x), skip], 1)
        return self.mix(x if weights is None else x * weights[:, :, None, None])


class JointUNet(nn.Module):
    """U-Net with a classifier, MTL0; with `links` MTL4: image (N, 3, 192, 256) -> mask (N, 1, 192, 256), (N, 2).

    The first block keeps the size, as nnU-Net's does: the U-Net alone then has the 10.71 M parameters of table 3. Left
    open: the hidden layer of the classifier (128 here: 10.75 M with it), CBAM's reduction (8), how the "FC weights" of
    equation 2 come to fit a level's channels (the hidden layer, projected), where CBAM's output goes (to the classifier
    alone). The paper counts 10.76 M and 10.90 M parameters, this 10.75 M and 10.88 M.
    """

    def __init__(
        self, widths: Sequence[int] = (32, 64, 128, 256, 320, 320), hidden: int = 128, *, links: bool = False
    ) -> None:
        super().__init__()
        strides = (1, *(2 for _ in widths[1:]))
        self.encoder = nn.ModuleList(
            nn.Sequential(convolution(a, b, 3, stride), convolution(b, b))
            for (a, b), stride in zip(itertools.pairwise((3, *widths)), strides, strict=True)
        )
        self.decoder = nn.ModuleList(Up(a, b) for a, b in itertools.pairwise(widths[::-1]))
        self.mask = nn.Conv2d(widths[0], 2, 1)
        self.links = links
        seen = sum(widths[-2:]) + sum(widths[:2]) if links else widths[-1]
        self.attention = nn.ModuleList(Attention(width) for width in widths[-2:] if links)
        self.weights = nn.ModuleList(nn.Linear(hidden, 2 * width) for width in widths[1::-1] if links)
        self.hidden, self.verdict = nn.Linear(seen, hidden), nn.Linear(hidden, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities."""
        maps: list[Tensor] = []
        for block in self.encoder:
            maps.append(block(maps[-1] if maps else image))
        levels = [maps[-1]]
        for up, skip in zip(self.decoder, maps[-2::-1], strict=True):
            levels.append(up(levels[-1], skip))
        mask = self.mask(levels[-1]).softmax(1)[:, 1:]
        pooled = [mean(maps[-1])]
        if self.links:
            pooled = [mean(attend(x)) for attend, x in zip(self.attention, maps[-2:], strict=True)]
            pooled += [mean(levels[-2] * F.avg_pool2d(mask, 2)), mean(levels[-1] * mask)]
        hidden = F.relu(self.hidden(torch.cat(pooled, 1)))
        if self.links:
            x = levels[-3]
            for up, skip, weights in zip(self.decoder[-2:], maps[1::-1], self.weights, strict=True):
                x = up(x, skip, weights(hidden))
            mask = self.mask(x).softmax(1)[:, 1:]
        return mask, self.verdict(hidden).softmax(1)


# --- papers/unet_multitask_thesis.txt ---


class ThesisUNet(nn.Module):
    """The original U-Net at half its depth with a classifier: (N, 3, 572, 572) -> (N, 1, 388, 388), (N, 3).

    Unpadded, as section V says. Pooled to 9×9 and with 1024 neurons the classifier has the "42M" parameters of table
    VII, and the network the "50M" of table X.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256, 512), places: int = 9, hidden: int = 1024) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Sequential:
            first, second = nn.Conv2d(inputs, outputs, 3), nn.Conv2d(outputs, outputs, 3)
            return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

        self.encoder = nn.ModuleList(block(a, b) for a, b in itertools.pairwise((3, *widths)))
        pairs = [*itertools.pairwise(widths[::-1])]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.mixes = nn.ModuleList(block(a, b) for a, b in pairs)
        self.mask = nn.Conv2d(widths[0], 1, 1)
        self.classifier = nn.Sequential(
            nn.MaxPool2d(3), nn.Flatten(), nn.Linear(widths[-1] * places**2, hidden), nn.ReLU(), nn.Linear(hidden, 3)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities."""
        maps: list[Tensor] = []
        for block in self.encoder:
            maps.append(block(F.max_pool2d(maps[-1], 2) if maps else image))
        x = maps[-1]
        for up, mix, skip in zip(self.ups, self.mixes, maps[-2::-1], strict=True):
            x = up(x)
            edge = (skip.shape[-1] - x.shape[-1]) // 2
            x = mix(torch.cat([skip[:, :, edge : edge + x.shape[-2], edge : edge + x.shape[-1]], x], 1))
        return self.mask(x).sigmoid(), self.classifier(maps[-1]).softmax(1)


# --- papers/se_lcn_symmetry_cascade_2024.txt ---


def resnet_50() -> nn.Module:
    """Without its classifier: `hidden_states` are the stem's map and those of four stages."""
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(ResNetConfig())


class DeepLab(nn.Module):
    """DeepLabv3+ at output stride 16: (N, 3, S, S) -> mask (N, 1, S, S).

    Left open: the encoder (ResNet-50 here), the size of all three networks (224), and whether the 3×3 convolutions
    behind the encoder are `separable`, as in the title of Chen et al. 2018; both are timed.
    """

    def __init__(self, *, separable: bool = True) -> None:
        super().__init__()
        self.separable = separable
        self.encoder = resnet_50()
        for layer in self.encoder.encoder.stages[-1].modules():
            if isinstance(layer, nn.Conv2d):
                if layer.stride == (2, 2):
                    layer.stride = (1, 1)
                if layer.kernel_size == (3, 3):
                    layer.dilation = layer.padding = (2, 2)
        rates = (6, 12, 18)
        self.branches = nn.ModuleList([convolution(2048, 256, 1), *(self._mix(2048, rate) for rate in rates)])
        self.whole = convolution(2048, 256, 1)
        self.join = convolution(5 * 256, 256, 1)
        self.low = convolution(256, 48, 1)
        self.mask = nn.Sequential(self._mix(304), self._mix(256), nn.Conv2d(256, 1, 1))

    def _mix(self, inputs: int, rate: int = 1) -> nn.Sequential:
        if not self.separable:
            return convolution(inputs, 256, dilation=rate)
        depthwise = nn.Conv2d(inputs, inputs, 3, padding=rate, dilation=rate, groups=inputs, bias=False)
        return nn.Sequential(depthwise, convolution(inputs, 256, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities."""
        _, low, _, _, high = self.encoder(image, output_hidden_states=True).hidden_states
        whole = self.whole(high.mean((2, 3), keepdim=True)).expand(-1, -1, *high.shape[2:])
        x = self.join(torch.cat([*(branch(high) for branch in self.branches), whole], 1))
        x = F.interpolate(x, size=low.shape[2:], mode="bilinear")
        x = self.mask(torch.cat([x, self.low(low)], 1))
        return F.interpolate(x, size=image.shape[2:], mode="bilinear").sigmoid()


class Fire(nn.Module):
    """Squeeze 1×1, then expand 1×1 and 3×3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand_1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand_3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand_1x1(x), self.expand_3x3(x)], 1))


class Symmetry(nn.Module):
    """SqueezeNet 1.0 of the picture where the lesion is: image and mask -> (N, 2), activation map (N, 1, 13, 13).

    The map is the one that lies in the network before its mean; the paper's, Grad-CAM++, also needs a pass backwards.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
        inputs = 96
        for number, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
            layers.append(Fire(inputs, squeezed, 4 * squeezed))
            inputs = 8 * squeezed
            if number in (2, 6):
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        self.maps = nn.Sequential(*layers, nn.Conv2d(inputs, 2, 1), nn.ReLU())

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, and the map of asymmetry."""
        maps = self.maps(image * (mask > 0.5))
        return mean(maps).softmax(1), maps[:, 1:]


class Lesion(nn.Module):
    """EfficientNet-B4 with an E-layer (figure 4): image and activation map (N, 1, 13, 13) -> (N, 7).

    Sees the whole picture, as the paper's best did. The E-layer's maps are pooled before the classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        from transformers import EfficientNetConfig, EfficientNetModel

        config = EfficientNetConfig(width_coefficient=1.4, depth_coefficient=1.8, hidden_dim=1792)
        self.encoder = EfficientNetModel(config)
        self.fuse = convolution(config.hidden_dim + 1, config.hidden_dim, 1)
        self.verdict = nn.Linear(config.hidden_dim, 7)

    def forward(self, image: Tensor, activation_map: Tensor) -> Tensor:
        """Probabilities."""
        features = self.encoder(image).last_hidden_state
        seen = F.interpolate(activation_map, size=features.shape[2:], mode="bilinear")
        return self.verdict(mean(self.fuse(torch.cat([features, seen], 1)))).softmax(1)


# --- papers/metadata_superresolution_pad_ufes_2024.txt ---


def mobilenet_v2() -> nn.Module:
    """Without its classifier."""
    from transformers import MobileNetV2Config, MobileNetV2Model

    return MobileNetV2Model(MobileNetV2Config(tf_padding=False))


class WithMetadata(nn.Module):
    """An encoder's features times those of 21 clinical fields: (N, 3, 224, 224) and (N, 21) -> (N, 6).

    The super-resolution decoder serves training alone. Left open: the image's features are projected to the 512 of the
    fields by a 1×1 convolution before they are pooled, and the classifier's hidden layer has 256 neurons here.
    """

    FIELDS = 21

    def __init__(self, encoder: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Conv2d(channels, 512, 1)
        sizes = (self.FIELDS, 64, 128, 256, 512)
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.fields = nn.Sequential(*layers[:-1])
        self.verdict = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 6))

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        """Probabilities."""
        features = mean(self.project(self.encoder(image).last_hidden_state))
        return self.verdict(features * self.fields(metadata)).softmax(1)


# --- writing ---


class Shaped(NamedTuple):
    """A value's name and its shape behind the batch."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Built:
    """How a file is made. outputs: names in the module's order; a later network of a cascade takes them by name."""

    module: Callable[[], nn.Module]
    inputs: tuple[Shaped, ...]
    outputs: tuple[str, ...]


IMAGE = Shaped("image", (3, 224, 224))
METADATA = Shaped("metadata", (WithMetadata.FIELDS,))
UNET = Shaped("image", (3, 192, 256))
NETWORKS = {
    "unet": Built(JointUNet, (UNET,), ("mask", "melanoma")),
    "unet_joint_reverse": Built(lambda: JointUNet(links=True), (UNET,), ("mask", "melanoma")),
    "unet_thesis": Built(ThesisUNet, (Shaped("image", (3, 572, 572)),), ("mask", "diagnosis")),
    "deeplab": Built(DeepLab, (IMAGE,), ("mask",)),
    "deeplab_plain": Built(lambda: DeepLab(separable=False), (IMAGE,), ("mask",)),
    "squeezenet": Built(Symmetry, (IMAGE, Shaped("mask", (1, 224, 224))), ("symmetry", "activation_map")),
    "efficientnet_b4": Built(Lesion, (IMAGE, Shaped("activation_map", (1, 13, 13))), ("diagnosis",)),
    "mobilenet_v2_metadata": Built(lambda: WithMetadata(mobilenet_v2(), 1280), (IMAGE, METADATA), ("diagnosis",)),
    "resnet_50_metadata": Built(lambda: WithMetadata(resnet_50(), 2048), (IMAGE, METADATA), ("diagnosis",)),
}


@torch.no_grad()
def write(built: Built, path: Path) -> nn.Module:
    """Write a network with the weights of seed 0 as ONNX, one picture at a time, and return it."""
    torch.manual_seed(0)
    module = built.module()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean of what it sees
    module.train()(*(torch.rand(2, *shape) for _, shape in built.inputs))
    torch.onnx.export(
        module.eval(),
        tuple(torch.rand(1, *shape) for _, shape in built.inputs),
        path,
        input_names=[name for name, _ in built.inputs],
        output_names=[*built.outputs],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return module


def main(folder: str, *names: str) -> None:
    """Write the networks that are named, by default all."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or NETWORKS:
        module = write(NETWORKS[name], Path(folder) / f"{name}.onnx")
        parameters = sum(each.numel() for each in module.parameters())
        print(f"{name}: {parameters / 1e6:.2f} M parameters", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
