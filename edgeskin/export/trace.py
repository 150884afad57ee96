"""From a torch module to the network as data: where torch ends."""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.export.quantize import untie
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import normalise, rename, snap_biases

OPSET = 21


class _Doored(nn.Module):
    """A network between the door of the contract and the float tail: bytes in, probabilities out."""

    def __init__(self, network: nn.Module, heads: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.network = network
        self.kinds = tuple(head.kind for head in heads)

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, ...]:
        """Shapes: image uint8 (N, 3, S, S), perhaps metadata (N, M) -> one tensor of probabilities a head."""
        pixels = (image.float() - 128) * (1 / 128)
        answers = self.network(pixels) if metadata is None else self.network(pixels, metadata)
        return tuple(
            torch.softmax(logits, 1) if kind == "softmax" else torch.sigmoid(logits)
            for logits, kind in zip(answers[: len(self.kinds)], self.kinds, strict=True)
        )


def trace(network: nn.Module, heads: Sequence[HeadSpec], size: int, metadata: int | None = None) -> Network:
    """The network as data: batch symbolic, batch norm folded, biases on their integer grids, stable names.

    network: a float module in eval mode, or a converted one; image (N, 3, size, size) in [−1, 1), and metadata
    (N, metadata) where that is a width -> logits of every head, then whatever only training wants; that is dropped,
    with all that leads to nothing else.

    Raises: GraphError naming the first operator that edgeskin does not export.
    """
    example: tuple[Tensor, ...] = (torch.zeros(2, 3, size, size, dtype=torch.uint8),)
    if metadata is not None:
        example += (torch.zeros(2, metadata),)
    batch = {0: torch.export.Dim("N", min=1, max=4096)}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        path = Path(folder) / "traced.onnx"
        program = torch.export.export(_Doored(network, heads), example, dynamic_shapes=(batch,) * len(example))
        untied = program.module()
        assert isinstance(untied, fx.GraphModule)
        if untie(untied):
            program = torch.export.export(untied, example, dynamic_shapes=(batch,) * len(example))
        torch.onnx.export(
            program,
            (),
            path,
            input_names=["image", "metadata"][: len(example)],
            output_names=[head.name for head in heads],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return rename(snap_biases(normalise(read(path))))
