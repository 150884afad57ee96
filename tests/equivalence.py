"""A torch network carried through quantization-aware training to onnxruntime, and what each form of it answers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeskin.contract.metadata import METADATA_SCALE
from edgeskin.contract.model import HeadSpec
from edgeskin.export import quantize
from edgeskin.export.trace import trace
from edgeskin.graph.ir import Network
from edgeskin.graph.lint import float_tail
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import optimised_session, reference_session
from edgeskin.train import qat

SIZE = 16
MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)

Steps = Mapping[str, npt.NDArray[np.float64]]
"""Logits by head, in steps of their scale."""


@dataclass(frozen=True)
class Carried:
    """One network in all its forms; the first three answer in torch, plain and optimised in onnxruntime, from int8.onnx
    as written and from its uint8 twin."""

    network: Network
    fake_quantized: Steps
    converted: Steps
    snapped: Steps
    plain: Steps
    optimised: Steps

    def farthest(self, one: Steps, other: Steps) -> float:
        """The largest difference of any logit, in steps."""
        return max(float(np.abs(one[name] - other[name]).max()) for name in one)

    def levels(self) -> int:
        """How many different logits the duller head gives: equality of constants would show nothing."""
        return min(len(np.unique(values)) for values in self.snapped.values())


def inputs(count: int, seed: int, metadata: int | None = None) -> tuple[Tensor, ...]:
    """Random colours with noise, and random fields, which the contract's doors hold exactly."""
    random = torch.Generator().manual_seed(seed)
    colour, noise = torch.rand(count, 3, 1, 1, generator=random), torch.rand(count, 3, SIZE, SIZE, generator=random)
    image = (255 * (0.7 * colour + 0.3 * noise) - 128).round() / 128
    if metadata is None:
        return (image,)
    return image, torch.randint(-64, 65, (count, metadata), generator=random) * METADATA_SCALE


def carry(network: nn.Module, heads: Sequence[HeadSpec], folder: Path, metadata: int | None = None) -> Carried:
    """Train a little, freeze, convert, trace, and answer thirty images in every form."""
    prepared = qat.prepare(network, *inputs(2, 0, metadata))
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.01)
    for seed in range(12):
        optimizer.zero_grad()
        torch.autograd.backward(sum((logits**2).mean() for logits in prepared(*inputs(8, seed, metadata))))
        optimizer.step()
    qat.freeze_observers(prepared)
    qat.to_evaluation(prepared)
    examples = inputs(30, 99, metadata)
    with torch.no_grad():
        prepared(*examples)
        answers = [prepared(*examples)]
        converted = quantize.convert(copy.deepcopy(prepared))
        answers.append(converted(*examples))
        quantize.snap_biases(converted)
        answers.append(converted(*examples))
    traced = trace(converted, heads, SIZE, metadata)
    write_onnx(traced, folder / "int8.onnx")
    pixels = (examples[0] * 128 + 128).to(torch.uint8).numpy()
    sessions = [make(folder / "int8.onnx") for make in (reference_session, optimised_session)]
    probabilities = [session.run(pixels, *(each.numpy() for each in examples[1:])) for session in sessions]
    scales = [traced.tensors[node.inputs[0]].quantization for node in float_tail(traced)]
    steps = {head.name: float(scale.scale) for head, scale in zip(heads, scales, strict=True) if scale is not None}
    in_torch = [
        {head.name: logits.double().numpy() / steps[head.name] for head, logits in zip(heads, each, strict=False)}
        for each in answers
    ]
    in_onnx = [
        {name: np.rint(np.log(p / (1 - p)) / steps[name]) for name, p in found.items()}
        for found in ({name: value.astype(np.float64) for name, value in each.items()} for each in probabilities)
    ]
    return Carried(traced, *in_torch, *in_onnx)
