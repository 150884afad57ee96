"""Small ONNX graphs spelled as torch exports them, leftovers included; shared by the tests of graph and targets."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PIXEL = 1 / 128


class Raw:
    """A graph under construction; every method returns the name of the value it adds.

    quantized: put QuantizeLinear and DequantizeLinear where the contract wants them.
    """

    def __init__(self, *, quantized: bool = True, size: int = 12, seed: int = 0, batch: str | int = "s77") -> None:
        self.quantized = quantized
        self.batch = batch
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 3, size, size])]
        self.outputs: list[str] = []

    def constant(self, data: npt.ArrayLike, dtype: npt.DTypeLike = np.float32, name: str = "") -> str:
        name = name or f"val_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(data, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def q(self, value: str, scale: float, dtype: npt.DTypeLike = np.int8, zero: int = 0) -> str:
        """Quantize and dequantize; nothing in a float graph."""
        if not self.quantized:
            return value
        parameters = self.constant(scale), self.constant(zero, dtype)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", value, *parameters), *parameters)

    def door(self) -> str:
        cast = self.op("Cast", "image", to=TensorProto.FLOAT)
        return self.q(self.op("Mul", self.op("Sub", cast, self.constant(128)), self.constant(PIXEL)), PIXEL)

    def weight(self, *shape: int, axis: int = 0, name: str = "") -> str:
        if not self.quantized:
            return self.constant(self.random.normal(0, 0.3, shape), name=name)
        data = self.constant(self.random.integers(-127, 128, shape), np.int8, name)
        scale = self.constant(self.random.uniform(0.001, 0.01, shape[axis]))
        return self.op("DequantizeLinear", data, scale, self.constant(np.zeros(shape[axis]), np.int8), axis=axis)

    def bias(self, size: int, name: str = "") -> str:
        return self.constant(self.random.normal(0, 0.2, size), name=name)

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int = 3, groups: int = 1, name: str = "", **given: object
    ) -> str:
        pads = given.pop("pads", [kernel // 2] * 4)
        weight = self.weight(outputs, inputs // groups, kernel, kernel, name=f"{name}.weight" if name else "")
        bias = self.bias(outputs, f"{name}.bias" if name else "")
        attributes = {"kernel_shape": [kernel, kernel], "pads": pads, "group": groups, "auto_pad": "NOTSET", **given}
        return self.op("Conv", x, weight, bias, **attributes)

    def relu6(self, x: str) -> str:
        return self.op("Clip", x, self.constant(0.0), self.constant(6.0))

    def linear(self, x: str, inputs: int, outputs: int, name: str = "") -> str:
        weight = self.weight(outputs, inputs, name=f"{name}.weight" if name else "")
        return self.op("Gemm", x, weight, self.bias(outputs, f"{name}.bias" if name else ""), transB=1)

    def head(self, pooled: str, channels: int, name: str, labels: int = 1, scale: float = 0.0625) -> str:
        """Dropout left over, linear layer, logits with a scale of their own, float tail."""
        logits = self.q(
            self.linear(self.op("Dropout", pooled), channels, labels, f"network.heads.{name}.logits"), scale
        )
        self.outputs.append(name)
        return self.op("Softmax" if labels > 1 else "Sigmoid", logits, output=name)

    def model(self) -> onnx.ModelProto:
        outputs = [helper.make_empty_tensor_value_info(name) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, outputs, self.initializers)
        opset = helper.make_opsetid("", 21)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10, producer_name="pytorch")
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def small(*, quantized: bool = True, size: int = 12) -> Raw:
    """A mask, a softmax and a sigmoid head; keeps the whole contract once biases are snapped."""
    raw = Raw(quantized=quantized, size=size)
    x = raw.door()
    padded = raw.q(raw.op("Pad", x, raw.constant([0, 0, 0, 0, 0, 0, 1, 1], np.int64), mode="constant"), PIXEL)
    stem = raw.conv(padded, 3, 8, strides=[2, 2], pads=[0, 0, 0, 0], name="network.encoder.stem")
    stem = raw.q(raw.relu6(stem), 0.046875)
    deep = raw.q(raw.relu6(raw.conv(stem, 8, 8, groups=8, name="network.encoder.deep")), 0.03125)
    gate = raw.q(raw.op("ReduceMean", deep, raw.constant([-1, -2], np.int64), keepdims=1), 0.015625)
    gate = raw.q(raw.op("Relu", raw.conv(gate, 8, 4, 1, name="network.encoder.squeeze")), 0.0078125)
    gate = raw.q(raw.conv(gate, 4, 8, 1, name="network.encoder.excite"), 0.0234375)
    gate = raw.q(raw.op("HardSigmoid", gate, alpha=1 / 6, beta=0.5), PIXEL)
    deep = raw.q(raw.op("Mul", deep, gate), 0.0390625)
    deep = raw.q(raw.op("Add", deep, stem), 0.0625)
    pooled = raw.q(raw.op("ReduceMean", deep, raw.constant([2, 3], np.int64), keepdims=0), 0.0283203125)
    wide = raw.op(
        "Resize",
        deep,
        "",
        raw.constant([1, 1, 2, 2]),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    )
    wide = raw.q(wide, 0.0625)
    side = raw.q(raw.relu6(raw.conv(x, 3, 8, 1, name="network.decoder.lateral")), 0.0625)
    mixed = raw.q(raw.op("Concat", wide, side, axis=1), 0.0625)
    logits = raw.q(raw.conv(mixed, 16, 1, 1, name="network.heads.mask.logits"), 0.09375)
    raw.outputs.append("mask")
    raw.op("Sigmoid", logits, output="mask")
    raw.head(pooled, 8, "diagnosis", 3, 0.0546875)
    raw.head(pooled, 8, "melanoma", 1, 0.05078125)
    return raw


def pixels(size: int = 12, count: int = 2, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def run(model: onnx.ModelProto, feeds: dict[str, npt.NDArray[np.generic]]) -> Sequence[npt.NDArray[np.float32]]:
    """Outputs of onnxruntime with every operator as written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)
