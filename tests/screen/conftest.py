"""A Graph folder whose network is small enough to know by heart: what is darker than mid-grey is lesion."""

from pathlib import Path

import numpy as np
import pytest

from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Conv,
    Linear,
    Mean,
    Network,
    Node,
    Pixels,
    Quantization,
    Sigmoid,
    Softmax,
    Tensor,
)
from edgeskin.graph.write import write_onnx

SIZE = 64
HEADS = (
    HeadSpec(name="lesion", kind="mask", labels=("lesion",), threshold=0.5),
    HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus")),
    HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
)


def dark_is_lesion(*, quantized: bool) -> Network:
    """Logits by hand: a pixel's is -2·(r + g + b); the heads' are ∓ the mean of red, of -1…1 each."""

    def tensor(name: str, shape: tuple[int | str, ...], scale: float | None = None) -> Tensor:
        known = Quantization(np.float32(scale)) if quantized and scale is not None else None
        return Tensor(name, shape, known)

    def weight(name: str, integers: list[object], step: float) -> Tensor:
        data = np.array(integers, np.int8)
        scale = np.full(data.shape[0], step, np.float32)
        exact = Tensor(name, data.shape, Quantization(scale, 0), data)
        return exact if quantized else Tensor(name, data.shape, None, exact.real())

    n = ("N",)
    tensors = (
        Tensor("image", (*n, 3, SIZE, SIZE)),
        tensor("x", (*n, 3, SIZE, SIZE), PIXEL_SCALE),
        weight("mask_weight", [[[[-64]], [[-64]], [[-64]]]], 1 / 32),
        tensor("mask_logit", (*n, 1, SIZE, SIZE), 3 / 64),
        tensor("lesion", (*n, 1, SIZE, SIZE)),
        tensor("pooled", (*n, 3), 7 / 1024),
        weight("diagnosis_weight", [[-64, 0, 0], [64, 0, 0]], 1 / 64),
        tensor("diagnosis_logit", (*n, 2), 1 / 64),
        tensor("diagnosis", (*n, 2)),
        weight("melanoma_weight", [[-64, 0, 0]], 1 / 64),
        tensor("melanoma_logit", (*n, 1), 1 / 64),
        tensor("melanoma", (*n, 1)),
    )
    nodes = (
        Node("door", Pixels(), ("image",), "x"),
        Node("mask", Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), ("x", "mask_weight"), "mask_logit"),
        Node("mask_tail", Sigmoid(), ("mask_logit",), "lesion"),
        Node("pool", Mean((2, 3), keepdims=False), ("x",), "pooled"),
        Node("diagnose", Linear(), ("pooled", "diagnosis_weight"), "diagnosis_logit"),
        Node("diagnose_tail", Softmax(1), ("diagnosis_logit",), "diagnosis"),
        Node("suspect", Linear(), ("pooled", "melanoma_weight"), "melanoma_logit"),
        Node("suspect_tail", Sigmoid(), ("melanoma_logit",), "melanoma"),
    )
    outputs = tuple(head.name for head in HEADS)
    return Network(("image",), outputs, nodes, {tensor.name: tensor for tensor in tensors})


@pytest.fixture(scope="session")
def graph_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Graph folder without golden cases."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("graph")
    write_onnx(dark_is_lesion(quantized=False), folder / "fp32.onnx")
    write_onnx(dark_is_lesion(quantized=True), folder / "int8.onnx")
    ModelCard(
        name="dark_is_lesion",
        version="1",
        size=SIZE,
        heads=HEADS,
        cleanup=MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False),
        float_tail=("mask_tail", "diagnose_tail", "suspect_tail"),
        intended_use="tests",
        licence="none",
        provenance=Provenance(
            recipe="none", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=0, edgeskin_version="0"
        ),
    ).write(folder / "model.json")
    return folder
