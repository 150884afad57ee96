"""A network with a metadata input, small enough to know by heart, and its Graph folder; needs no torch.

What is known multiplies what is seen: gate = ¼·age + 1 (female), ½ (male) or ¼ (unknown), age from −1 at 0 to 1 at 100
years. The logit of melanoma is −4 × gate × the mean of red from −1 to 1.
"""

from pathlib import Path

import numpy as np

from edgeskin.contract.metadata import METADATA_SCALE, ChoiceField, MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance
from edgeskin.data.phantom import golden_photos
from edgeskin.export import golden
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Conv,
    Linear,
    Mean,
    Mul,
    Network,
    Node,
    Pixels,
    Quantization,
    Sigmoid,
    Softmax,
    Tensor,
)
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import reference_session

SIZE = 32
PHOTOS = 16
SPEC = MetadataSpec(
    fields=(NumberField(name="age", low=0, high=100), ChoiceField(name="sex", values=("female", "male")))
)
SEPARATE = (1, 1), (0, 0, 0, 0), (1, 1), 1


def told_and_seen(*, quantized: bool) -> Network:
    """A mask, three diagnoses, melanoma; keeps the whole contract."""

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
        tensor("metadata", (*n, SPEC.width), METADATA_SCALE),
        tensor("x", (*n, 3, SIZE, SIZE), PIXEL_SCALE),
        weight("mask_weight", [[[[-64]], [[-64]], [[-64]]]], 1 / 32),
        tensor("mask_logit", (*n, 1, SIZE, SIZE), 3 / 64),
        tensor("mask", (*n, 1, SIZE, SIZE)),
        tensor("pooled", (*n, 3), 9 / 1024),
        weight("gate_weight", [[16, 0, 64, 32, 16]] * 3, 1 / 64),
        tensor("gate", (*n, 3), 3 / 256),
        tensor("fused", (*n, 3), 3 / 256),
        weight("diagnosis_weight", [[-64, 0, 0], [64, 0, 0], [0, 64, 0]], 1 / 64),
        tensor("diagnosis_logit", (*n, 3), 1 / 64),
        tensor("diagnosis", (*n, 3)),
        weight("melanoma_weight", [[-64, 0, 0]], 1 / 16),
        tensor("melanoma_logit", (*n, 1), 3 / 64),
        tensor("melanoma", (*n, 1)),
    )
    nodes = (
        Node("door", Pixels(), ("image",), "x"),
        Node("draw", Conv(*SEPARATE), ("x", "mask_weight"), "mask_logit"),
        Node("draw_tail", Sigmoid(), ("mask_logit",), "mask"),
        Node("pool", Mean((2, 3), keepdims=False), ("x",), "pooled"),
        Node("listen", Linear(), ("metadata", "gate_weight"), "gate"),
        Node("fuse", Mul(), ("pooled", "gate"), "fused"),
        Node("diagnose", Linear(), ("fused", "diagnosis_weight"), "diagnosis_logit"),
        Node("diagnose_tail", Softmax(1), ("diagnosis_logit",), "diagnosis"),
        Node("suspect", Linear(), ("fused", "melanoma_weight"), "melanoma_logit"),
        Node("suspect_tail", Sigmoid(), ("melanoma_logit",), "melanoma"),
    )
    outputs = ("mask", "diagnosis", "melanoma")
    return Network(("image", "metadata"), outputs, nodes, {tensor.name: tensor for tensor in tensors})


def card() -> ModelCard:
    return ModelCard(
        name="told",
        version="1",
        size=SIZE,
        heads=(
            HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
            HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis")),
            HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
        ),
        metadata=SPEC,
        cleanup=MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False),
        float_tail=("draw_tail", "diagnose_tail", "suspect_tail"),
        intended_use="Tests only.",
        licence="Apache-2.0",
        provenance=Provenance(
            recipe="told", recipe_sha256="0" * 64, data=("generic",), data_list_sha256="1" * 64, seed=1,
            edgeskin_version="0",
        ),
    )  # fmt: skip


def write_metadata_graph(folder: Path) -> None:
    """The whole Graph folder, golden cases included."""
    folder.mkdir()
    write_onnx(told_and_seen(quantized=True), folder / "int8.onnx")
    write_onnx(told_and_seen(quantized=False), folder / "fp32.onnx")
    card().write(folder / "model.json")
    in_float, in_int8 = (reference_session(folder / name) for name in ("fp32.onnx", "int8.onnx"))
    golden.write(folder / "golden", golden_photos(PHOTOS), card(), in_float.run, in_int8.run)
