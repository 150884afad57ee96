"""Functions of single values, the door and changes of scale among them."""

from collections.abc import Callable

import numpy as np

from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Activate,
    Activation,
    Add,
    HardSigmoid,
    Mul,
    Operator,
    Pixels,
    Requantize,
    Softmax,
)
from edgeskin.targets.tflite.lift.group import Group, Read, network_axis
from edgeskin.targets.tflite.lower.elementwise import HALF, NUMBER, ONE, SIXTH
from edgeskin.targets.tflite.program import Operation, Scale


def quantize(group: Group) -> Read:
    """The door, or another scale."""
    return _door(group) or Read(Requantize(), (group.operations[0].inputs[0],))


def _door(group: Group) -> Read | None:
    place = group.source(group.operations[0].inputs[0])
    image = group.program.tensors[place]
    if image.kind != "uint8":
        return None
    expected = Scale(np.asarray([PIXEL_SCALE], np.float32), 128)
    group.demand(image.scale == expected, "pixels are not at scale 1/128 with zero point 128")
    return Read(Pixels(), (place,))


def pair(operator: Add | Mul) -> Callable[[Group], Read]:
    """A sum or product; a product with 1 only changes the scale."""

    def rule(group: Group) -> Read:
        operation = group.operations[0]
        if group.is_own(group.value(operation, 1), "one"):
            return _rescale(group, operation)
        inputs = tuple(group.source(index) for index in operation.inputs)
        return Read(operator, inputs, group.activation(operation))

    return rule


def _is_number(group: Group, operation: Operation, scale: Scale) -> bool:
    """Whether its second operand is the constant of that scale."""
    value = group.value(operation, 1)
    return value.data is not None and value.data.tolist() == [NUMBER] and value.scale == scale


def _rescale(group: Group, operation: Operation) -> Read:
    group.demand(_is_number(group, operation, ONE), "is multiplied with other than 1")
    activation = group.activation(operation)
    return Read(Requantize() if activation is None else Activate(), (operation.inputs[0],), activation)


def hard_sigmoid_of_integers(group: Group) -> Read:
    """A product and a sum: x/6 + 1/2."""
    part, gate = group.operations
    x = group.value(part, 0)
    assert x.scale is not None
    right = _is_number(group, part, SIXTH) and _is_number(group, gate, HALF) and group.activation(part) is None
    right = right and group.output(part).scale == Scale(x.scale.steps / np.float32(6))
    group.demand(right and gate.inputs[0] == part.outputs[0], "its gate is not x/6 + 1/2")
    group.demand(group.activation(gate) == "relu", "its gate is not cut off at 0")
    return Read(HardSigmoid(), (part.inputs[0],))


def hard_sigmoid_of_floats(group: Group) -> Read:
    """clip(x + 3, 0, 6) / 6."""
    lift, scale = group.operations
    three, sixth = (group.stored(operation, 1).data for operation in (lift, scale))
    assert three is not None
    assert sixth is not None
    right = float(three[0]) == 3 and sixth[0] == np.float32(1 / 6) and group.activation(lift) == "relu6"
    group.demand(right and group.activation(scale) is None, "its gate is not clip(x/6 + 1/2, 0, 1)")
    return Read(HardSigmoid(), (group.source(lift.inputs[0]),))


def alone(operator: Operator, activation: Activation | None = None) -> Callable[[Group], Read]:
    """A form whose one operator says everything."""
    return lambda group: Read(operator, (group.source(group.operations[0].inputs[0]),), activation)


def softmax(group: Group) -> Read:
    """Over the channels."""
    operation = group.operations[0]
    group.demand(operation.options.get("Beta") == 1.0, f"its beta is {operation.options.get('Beta')}")
    rank = len(group.output(operation).shape)
    return Read(Softmax(network_axis(rank - 1, rank)), (group.source(operation.inputs[0]),))
