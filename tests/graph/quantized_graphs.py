"""A small network and its faithful int8: float weights rounded channel by channel, scales from what it computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from raw_graphs import small
from small_graphs import SIZE, write_small_graph

from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.data.cases import data_list_sha256
from edgeskin.data.phantom import golden_photos
from edgeskin.export import golden
from edgeskin.graph import execute
from edgeskin.graph.folder import TRAINING_IDS
from edgeskin.graph.ir import PIXEL_SCALE, HardSigmoid, Network, Quantization, Tensor
from edgeskin.graph.island import groups
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import WEIGHTED, rename, snap_biases
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import reference_session

PHOTOS = 16
DAMAGED = ("encoder.stem", "heads.mask.logits", "heads.diagnosis.logits")
"""The layers that `damaged` spoils: by a scale 16 times too small, by weights four times too large, and by both."""


def quantized(network: Network, fp32: Network) -> Network:
    """`network` with the weights of `fp32`, and the scales of what fp32 computes of golden photos."""
    tensors = dict(network.tensors)
    image = np.stack([network_input(photo.image, SIZE, ())[0] for photo in golden_photos(PHOTOS)])
    seen = execute.run(fp32, {"image": image})
    for node in network.nodes:
        if isinstance(node.operator, WEIGHTED):
            weight, bias = (fp32.tensors[name] for name in node.inputs[1:])
            values = weight.real()
            scale = (np.abs(values).reshape(len(values), -1).max(axis=1) / 127).astype(np.float32)
            own = Quantization(scale, 0)
            integers = np.rint(values / own.along(values.ndim)).astype(np.int8)
            tensors[weight.name] = Tensor(weight.name, weight.shape, own, integers)
            tensors[bias.name] = bias
    for group in groups(network):
        nodes = [node for node in network.nodes if node.name in group]
        most = max(float(np.abs(seen[node.output]).max()) for node in nodes)
        scale = PIXEL_SCALE if any(isinstance(node.operator, HardSigmoid) for node in nodes) else most / 127
        for node in nodes:
            tensors[node.output] = replace(tensors[node.output], quantization=_scale(scale))
    return snap_biases(replace(network, tensors=tensors))


def _scale(value: float) -> Quantization:
    return Quantization(np.asarray(np.float16(value), np.float32))


def damaged(network: Network) -> Network:
    """The same with three layers spoilt, as a training that went wrong would leave them."""
    tensors = dict(network.tensors)
    stem, mask, diagnosis = (next(node for node in network.nodes if node.name == name) for name in DAMAGED)
    for node in (stem, diagnosis):
        tensors[node.output] = replace(tensors[node.output], quantization=_scale(_of(network, node.output) / 16))
    for node in (mask, diagnosis):
        weight = tensors[node.inputs[1]]
        assert weight.quantization is not None
        wrong = Quantization(weight.quantization.scale * np.float32(4), weight.quantization.axis)
        tensors[weight.name] = replace(weight, quantization=wrong)
    return snap_biases(replace(network, tensors=tensors))


def _of(network: Network, tensor: str) -> float:
    quantization = network.tensors[tensor].quantization
    assert quantization is not None
    return float(quantization.scale)


def write_quantized_graph(folder: Path, data: Path, *, spoilt: bool) -> None:
    """A Graph folder of it, trained on an image that is nowhere. spoilt: with three damaged layers."""
    write_small_graph(folder, data)
    card, fp32 = ModelCard.read(folder / "model.json"), read(folder / "fp32.onnx")
    (folder / TRAINING_IDS).write_text("elsewhere")
    provenance = card.provenance.model_copy(update={"data_list_sha256": data_list_sha256(["elsewhere"])})
    card = card.model_copy(update={"provenance": provenance})
    card.write(folder / "model.json")
    network = quantized(read(folder / "int8.onnx"), fp32)
    write_onnx(damaged(network) if spoilt else network, folder / "int8.onnx")
    in_float, in_int8 = (reference_session(folder / name) for name in ("fp32.onnx", "int8.onnx"))
    golden.write(folder / "golden", golden_photos(PHOTOS), card, in_float.run, in_int8.run)


def quantized_pair() -> tuple[Network, Network]:
    """The faithful int8 network and its float one, without a folder."""
    fp32 = rename(read(small(size=SIZE, quantized=False).model()))
    return quantized(rename(snap_biases(read(small(size=SIZE).model()))), fp32), fp32
