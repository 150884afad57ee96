"""A network that runs twice, small enough to know by heart, and its Graph folder; needs no torch.

What is darker than mid-grey is lesion: a pixel's logit is -2·(r + g + b), of -1…1 each. The logit of melanoma is -4
times the mean of red. A dark lesion on light skin is no melanoma on the first look, which sees both, and is one on the
second, which sees the lesion alone.
"""

from pathlib import Path

import numpy as np

from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance
from edgeskin.contract.preprocess import ShadesOfGray
from edgeskin.contract.region import SecondPass
from edgeskin.data.phantom import golden_photos
from edgeskin.export import golden
from edgeskin.graph.ir import PIXEL_SCALE, Conv, Linear, Mean, Network, Node, Pixels, Quantization, Sigmoid, Tensor
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import reference_session

SIZE = 32
PHOTOS = 8
TOLERANCE = 0.011
"""int8 rounds the mean to 9/1024 and the logit to 3/64: at most 4 · 4.5/1024 + 1.5/64 on the logit, a quarter after."""


def dark_is_lesion(*, quantized: bool) -> Network:
    """A mask and melanoma; keeps the whole contract."""

    def tensor(name: str, shape: tuple[int | str, ...], scale: float | None = None) -> Tensor:
        known = Quantization(np.float32(scale)) if quantized and scale is not None else None
        return Tensor(name, shape, known)

    def weight(name: str, integers: object, step: float) -> Tensor:
        data = np.array(integers, np.int8)
        exact = Tensor(name, data.shape, Quantization(np.full(data.shape[0], step, np.float32), 0), data)
        return exact if quantized else Tensor(name, data.shape, None, exact.real())

    n = ("N",)
    tensors = (
        Tensor("image", (*n, 3, SIZE, SIZE)),
        tensor("x", (*n, 3, SIZE, SIZE), PIXEL_SCALE),
        weight("mask_weight", [[[[-64]], [[-64]], [[-64]]]], 1 / 32),
        tensor("mask_logit", (*n, 1, SIZE, SIZE), 3 / 64),
        tensor("mask", (*n, 1, SIZE, SIZE)),
        tensor("pooled", (*n, 3), 9 / 1024),
        weight("melanoma_weight", [[-64, 0, 0]], 1 / 16),
        tensor("melanoma_logit", (*n, 1), 3 / 64),
        tensor("melanoma", (*n, 1)),
    )
    nodes = (
        Node("door", Pixels(), ("image",), "x"),
        Node("draw", Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), ("x", "mask_weight"), "mask_logit"),
        Node("draw_tail", Sigmoid(), ("mask_logit",), "mask"),
        Node("pool", Mean((2, 3), keepdims=False), ("x",), "pooled"),
        Node("suspect", Linear(), ("pooled", "melanoma_weight"), "melanoma_logit"),
        Node("suspect_tail", Sigmoid(), ("melanoma_logit",), "melanoma"),
    )
    return Network(("image",), ("mask", "melanoma"), nodes, {tensor.name: tensor for tensor in tensors})


def card() -> ModelCard:
    return ModelCard(
        name="twice",
        version="1",
        size=SIZE,
        heads=(
            HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
            HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
        ),
        preprocessing=(ShadesOfGray(),),
        second_pass=SecondPass(strategy="mask", heads=("melanoma",)),
        cleanup=MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False),
        float_tail=("draw_tail", "suspect_tail"),
        intended_use="Tests only.",
        licence="Apache-2.0",
        provenance=Provenance(
            recipe="twice", recipe_sha256="0" * 64, data=("generic",), data_list_sha256="1" * 64, seed=1,
            edgeskin_version="0",
        ),
    )  # fmt: skip


def write_second_pass_graph(folder: Path) -> None:
    """The whole Graph folder, golden cases included."""
    folder.mkdir()
    write_onnx(dark_is_lesion(quantized=True), folder / "int8.onnx")
    write_onnx(dark_is_lesion(quantized=False), folder / "fp32.onnx")
    card().write(folder / "model.json")
    in_float, in_int8 = (reference_session(folder / name) for name in ("fp32.onnx", "int8.onnx"))
    golden.write(folder / "golden", golden_photos(PHOTOS), card(), in_float.run, in_int8.run)
