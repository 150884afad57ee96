"""A saved package run by torch: each operator of its specification as MIL's documentation defines it, nothing of ours.

It shares no line with lowering, parsing or lifting: the message is read with coremltools' classes, weights with its own
storage reader. So it judges all of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from coremltools.libmilstoragepython import _BlobStorageReader
from coremltools.proto import MIL_pb2, Model_pb2
from torch import Tensor
from torch.nn import functional

Get = Callable[[str], Any]
FLOATS = {"fp16": torch.float16, "fp32": torch.float32}
READERS = {
    "FLOAT32": ("read_float_data", np.float32),
    "FLOAT16": ("read_fp16_data", np.uint16),
    "INT8": ("read_int8_data", np.int8),
}


class Package:
    """A package's program."""

    def __init__(self, path: Path) -> None:
        root = path / "Data" / "com.apple.CoreML"
        self.model = Model_pb2.Model.FromString((root / "model.mlmodel").read_bytes())
        weights = root / "weights" / "weight.bin"
        self.reader = _BlobStorageReader(str(weights)) if weights.exists() else None
        self.function = self.model.mlProgram.functions["main"]
        self.block = self.function.block_specializations[self.function.opset]

    def run(self, feeds: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
        """Every value, for one picture [1, 3, S, S] and perhaps metadata: int8, or float32 whatever the float is."""
        values: dict[str, Any] = {name: torch.from_numpy(np.asarray(each, np.float32)) for name, each in feeds.items()}
        for operation in self.block.operations:
            values[operation.outputs[0].name] = self._apply(operation, values)
        found = {name: each for name, each in values.items() if isinstance(each, Tensor)}
        return {name: (each if each.dtype == torch.int8 else each.float()).numpy() for name, each in found.items()}

    def _apply(self, operation: Any, values: Mapping[str, Any]) -> Any:
        def get(word: str) -> Any:
            if word in operation.attributes:
                return self._stored(operation.attributes[word])
            if word not in operation.inputs:
                return None
            given = [
                values[each.name] if each.WhichOneof("binding") == "name" else self._stored(each.value)
                for each in operation.inputs[word].arguments
            ]
            return given if word == "values" else given[0]

        if operation.type == "const":
            return get("val")
        return OPERATORS[operation.type](get)

    def _stored(self, value: Any) -> Any:
        kind = MIL_pb2.DataType.Name(value.type.tensorType.dataType)
        shape = [each.constant.size for each in value.type.tensorType.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            method, word = READERS[kind]
            raw = np.array(getattr(self.reader, method)(value.blobFileValue.offset), word)
            return torch.from_numpy(raw.view(np.float16) if kind == "FLOAT16" else raw).reshape(shape)
        tensor = value.immediateValue.tensor
        held = tensor.WhichOneof("value")
        if held == "strings":
            return tensor.strings.values[0]
        if held == "bytes":
            words = {"FLOAT16": np.float16, "INT8": np.int8}
            return torch.from_numpy(np.frombuffer(tensor.bytes.values, words[kind]).copy()).reshape(shape)
        words = {"floats": torch.float32, "ints": torch.int64, "bools": torch.bool}
        return torch.tensor(list(getattr(tensor, held).values), dtype=words[held]).reshape(shape)


def wide(operation: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
    """In float32, rounded once to the type of what is read: torch on a CPU has not every operator in float16."""
    kind = given[0].dtype
    return operation(*(each.float() if isinstance(each, Tensor) else each for each in given), **named).to(kind)


def padded(x: Tensor, pads: Tensor, value: float) -> Tensor:
    top, bottom, left, right = pads.tolist()
    return functional.pad(x, (left, right, top, bottom), value=value)


def conv(get: Get) -> Tensor:
    assert get("pad_type") == "custom"
    strides, dilations = get("strides").tolist(), get("dilations").tolist()

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(padded(x, get("pad"), 0.0), weight, bias, strides, 0, dilations, int(get("groups")))

    return wide(run, get("x"), get("weight"), get("bias"))


def conv_transpose(get: Get) -> Tensor:
    top, _, left, _ = get("pad").tolist()
    whole = wide(
        lambda x, weight, bias: functional.conv_transpose2d(
            x, weight, bias, get("strides").tolist(), 0, 0, int(get("groups")), get("dilations").tolist()
        ),
        get("x"), get("weight"), get("bias"),
    )  # fmt: skip
    height, width = get("output_shape").tolist()[2:]
    # What lies beyond the last window is bias alone.
    more = (max(0, left + width - whole.shape[3]), max(0, top + height - whole.shape[2]))
    if any(more):
        edge = get("bias")
        beyond = torch.zeros(whole.shape[1], dtype=whole.dtype) if edge is None else edge
        grown = beyond.reshape(1, -1, 1, 1).repeat(1, 1, whole.shape[2] + more[1], whole.shape[3] + more[0])
        grown[:, :, : whole.shape[2], : whole.shape[3]] = whole
        whole = grown
    return whole[:, :, top : top + height, left : left + width]


def pooled(get: Get, *, largest: bool) -> Tensor:
    assert get("pad_type") == "custom"
    kernel, strides = get("kernel_sizes").tolist(), get("strides").tolist()
    if largest:
        return functional.max_pool2d(padded(get("x"), get("pad"), -torch.inf), kernel, strides)
    assert bool(get("exclude_padding_from_average"))
    x = get("x").float()
    sums = functional.avg_pool2d(padded(x, get("pad"), 0.0), kernel, strides)
    shares = functional.avg_pool2d(padded(torch.ones_like(x), get("pad"), 0.0), kernel, strides)
    return (sums / shares).to(get("x").dtype)


def resized(get: Get, size: list[int]) -> Tensor:
    return wide(functional.interpolate, get("x"), size=size, mode="bilinear", align_corners=False)


def upsampled(get: Get, mode: str) -> Tensor:
    factors = [float(get("scale_factor_height")), float(get("scale_factor_width"))]
    size = [int(n * factor) for n, factor in zip(get("x").shape[2:], factors, strict=True)]
    if mode == "nearest":
        return functional.interpolate(get("x"), size=size, mode="nearest")
    assert not bool(get("align_corners"))
    assert get("half_pixel_centers") is None  # by default they are half pixels where corners are not aligned
    return resized(get, size)


def resize_bilinear(get: Get) -> Tensor:
    assert get("sampling_mode") == "UNALIGN_CORNERS"
    return resized(get, [int(get("target_size_height")), int(get("target_size_width"))])


def quantize(get: Get) -> Tensor:
    assert get("output_dtype") == "int8"
    assert get("zero_point") is None
    return torch.clamp(torch.round(get("input").double() / get("scale").double()), -128, 127).to(torch.int8)


def dequantize(get: Get) -> Tensor:
    return (get("input").float() * get("scale").float()).to(get("scale").dtype)


def affine(get: Get) -> Tensor:
    data, scale = get("quantized_data"), get("scale")
    along = [-1 if axis == int(get("axis")) else 1 for axis in range(data.ndim)] if scale.ndim else []
    return ((data.float() - get("zero_point").float()) * scale.float().reshape(along)).to(scale.dtype)


def constant_pad(get: Get) -> Tensor:
    assert get("mode") == "constant"
    return padded(get("x"), get("pad")[4:], float(get("constant_val")))


def cut(get: Get) -> Tensor:
    begin, size = get("begin").tolist(), get("size").tolist()
    return get("x")[tuple(slice(start, start + n) for start, n in zip(begin, size, strict=True))]


OPERATORS: Mapping[str, Callable[[Get], Any]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": lambda get: wide(functional.linear, get("x"), get("weight"), get("bias")),
    "add": lambda get: get("x") + get("y"),
    "mul": lambda get: get("x") * get("y"),
    "concat": lambda get: torch.cat(get("values"), int(get("axis"))),
    "relu": lambda get: functional.relu(get("x")),
    "relu6": lambda get: functional.relu6(get("x")),
    "sigmoid": lambda get: wide(torch.sigmoid, get("x")),
    "sigmoid_hard": lambda get: wide(lambda x, a, b: torch.clamp(x * a + b, 0, 1), get("x"), get("alpha"), get("beta")),
    "softmax": lambda get: wide(torch.softmax, get("x"), dim=int(get("axis"))),
    "max_pool": lambda get: pooled(get, largest=True),
    "avg_pool": lambda get: pooled(get, largest=False),
    "reduce_mean": lambda get: wide(torch.mean, get("x"), dim=get("axes").tolist(), keepdim=bool(get("keep_dims"))),
    "reduce_max": lambda get: torch.amax(get("x"), get("axes").tolist(), bool(get("keep_dims"))),
    "upsample_bilinear": lambda get: upsampled(get, "bilinear"),
    "upsample_nearest_neighbor": lambda get: upsampled(get, "nearest"),
    "resize_bilinear": resize_bilinear,
    "pad": constant_pad,
    "reshape": lambda get: get("x").reshape(get("shape").tolist()),
    "slice_by_size": cut,
    "cast": lambda get: get("x").to(FLOATS[get("dtype")]),
    "quantize": quantize,
    "dequantize": dequantize,
    "constexpr_affine_dequantize": affine,
}
"""By MIL's documentation of each operator, iOS 17."""
