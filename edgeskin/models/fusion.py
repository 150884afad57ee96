"""Clinical fields beside the image: filling in what is unknown, encoding, and fusion with pooled features.

Source: papers/metadata_superresolution_pad_ufes_2024.txt, sections 2 to 2.3.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.contract.metadata import MetadataSpec
from edgeskin.models.spec import MetadataFusion


class Imputation(nn.Module):
    """Fills in the slots of unknown fields from the known ones: (N, M) -> filled (N, M), predicted (N, M).

    The flag of an unknown field opens the gate of that field's value slots, which are zero then; known values pass
    untouched. Trained by predicting fields that were hidden on purpose.
    """

    opens: Tensor

    def __init__(self, spec: MetadataSpec, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(spec.width, hidden)
        self.predict = nn.Linear(hidden, spec.width)
        opens = torch.zeros(spec.width, spec.width)
        for group in spec.groups:
            opens[group.start : group.unknown, group.unknown] = 1
        self.register_buffer("opens", opens)

    def forward(self, metadata: Tensor) -> tuple[Tensor, Tensor]:
        """Fill in."""
        predicted: Tensor = self.predict(functional.relu(self.squeeze(metadata)))
        return metadata + functional.linear(metadata, self.opens) * predicted, predicted


class MetadataEncoder(nn.Module):
    """Fully connected layers, ReLU behind all but the last: (N, M) -> (N, widths[-1])."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = (inputs, *widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, metadata: Tensor) -> Tensor:
        """Encode."""
        *hidden, last = self.layers
        for layer in hidden:
            metadata = functional.relu(layer(metadata))
        encoded: Tensor = last(metadata)
        return encoded


class Fusion(nn.Module):
    """Image features (N, C) and encoded metadata (N, E) -> (N, `channels`).

    multiply: the image is projected to E and weighed by the metadata (equation 2). The paper's projection is a 1×1
    convolution before pooling; behind pooling it is the same linear function for a fraction of the multiplications.
    concat: its rival.
    """

    def __init__(self, kind: Literal["multiply", "concat"], image: int, metadata: int) -> None:
        super().__init__()
        self.project = nn.Linear(image, metadata) if kind == "multiply" else None
        self.channels = metadata if kind == "multiply" else image + metadata

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        """Fuse."""
        if self.project is None:
            return torch.cat([image, metadata], 1)
        projected: Tensor = self.project(image)
        return projected * metadata


class MetadataFusionBlock(nn.Module):
    """Clinical fields meet the pooled features of some heads.

    pooled: head -> channels of its pooled features, for the heads that are fused.
    channels: head -> channels of what it is given instead.
    """

    def __init__(self, spec: MetadataFusion, metadata: MetadataSpec, pooled: Mapping[str, int]) -> None:
        super().__init__()
        self.imputation = None if spec.imputation is None else Imputation(metadata, spec.imputation)
        self.encoder = MetadataEncoder(metadata.width, spec.widths)
        fusions = {name: Fusion(spec.kind, channels, spec.widths[-1]) for name, channels in pooled.items()}
        self.channels = {name: fusion.channels for name, fusion in fusions.items()}
        self.fusions = nn.ModuleDict(fusions)

    def forward(self, features: Mapping[str, Tensor], metadata: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Features of every head, fused where it is fused, and the imputation's prediction (N, M)."""
        imputed = None
        if self.imputation is not None:
            metadata, imputed = self.imputation(metadata)
        encoded = self.encoder(metadata)
        fused = {name: fusion(features[name], encoded) for name, fusion in self.fusions.items()}
        return {**features, **fused}, imputed
