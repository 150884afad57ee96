"""How functions of single values are said, gates among them."""

from collections.abc import Callable

import numpy as np

from edgeskin.graph.ir import Add, Softmax
from edgeskin.targets.tflite.lower.site import Site, scale
from edgeskin.targets.tflite.program import Scale, nhwc, place
from edgeskin.targets.tflite.schema import ACTIVATIONS, VALID

ONE = (np.int8(64), np.float32(1 / 64))
"""The number 1: an integer and its scale, both exact."""
INNER_GATE = Scale(np.asarray([1 / 255], np.float32), -128)
"""0 to 1 in all 256 steps: the gate inside a hard swish, clipped at both ends by saturation."""


def pair(site: Site) -> None:
    """A sum or product, where both sides have the same rank."""
    kind = "ADD" if isinstance(site.node.operator, Add) else "MUL"
    rank = len(site.result.shape)
    for tensor in site.tensors:
        if len(tensor.shape) not in (0, rank):
            raise site.refuse(
                f"{tensor.name} of rank {len(tensor.shape)} meets rank {rank}, which broadcasts along another axis "
                "where channels stand last; export it as [N, C, 1, 1] or [N, 1, H, W]"
            )
    site.emit(kind, (site.x(0), site.x(1)), site.y(), FusedActivationFunction=site.activation)


def _on_a_map(site: Site, compute: Callable[[int, int], int]) -> None:
    """Apply what needs an image [1, H, W, C] to any rank; `compute` takes the input and the place of its result."""
    x, y = site.x(), nhwc(site.result.shape)
    if len(y) == 4:
        compute(x, site.y())
        return
    wide = (1, 1, 1, int(np.prod(y)))
    x = site.emit(
        "RESHAPE", (x, site.numbers("shape", *wide)), site.inner("wide", wide, site.scale_of(x)), NewShape=wide
    )
    value = compute(x, site.inner("full", wide, scale(site.result.quantization)))
    site.emit("RESHAPE", (value, site.numbers("size", *y)), site.y(), NewShape=y)


def _gate(site: Site, x: int, y: int, *, clipped: bool) -> int:
    """x/6 + 1/2 of integers as a depthwise convolution; below 0 and above 1 it saturates, or a ReLU cuts it."""
    channels = site.shape(x)[3]
    scale = site.scale_of(x)
    assert scale is not None
    number, step, half_steps = sixth(scale.steps[0])
    steps = np.full(channels, step, np.float32)
    weights = np.full((1, 1, 1, channels), number, np.int8)
    half = np.full(channels, half_steps, np.int32)
    grid = np.asarray(scale.steps[0] * steps, np.float32)
    return site.emit(
        "DEPTHWISE_CONV_2D",
        (x, site.constant("sixth", weights, Scale(steps, 0, 3)), site.constant("half", half, Scale(grid))),
        y,
        Padding=VALID,
        StrideW=1,
        StrideH=1,
        DepthMultiplier=1,
        FusedActivationFunction=ACTIVATIONS["relu" if clipped else None],
        DilationWFactor=1,
        DilationHFactor=1,
    )


def sixth(scale: np.float32) -> tuple[int, np.float32, int]:
    """How a gate says x/6 + 1/2 of integers at that scale: a weight, its scale, and 1/2 in steps of both.

    Of all weights with seven bits it takes the one by which 1/2 is nearest to a whole number of steps: with a fixed one
    the remainder moved a quarter of a per cent of the results.
    """

    def remainder(weight: int) -> float:
        steps = 3 * weight / float(scale)
        return abs(steps - round(steps))

    weight = min(range(127, 63, -1), key=remainder)
    return weight, np.float32(1 / 6 / weight), round(3 * weight / float(scale))


def rescale(site: Site) -> None:
    """Other integers for the same values, by a product with 1: it rounds the exact quotient of the scales once.

    XNNPACK's own conversion has eight bits for that quotient, and 4 % of its results are one step off.
    """
    number, step = ONE
    one = site.constant("one", np.asarray([number]), Scale(np.asarray([step])))
    site.emit("MUL", (site.x(), one), site.y(), FusedActivationFunction=site.activation)


def hard_sigmoid(site: Site) -> None:
    """Of integers as a gate; of floats as clip(x + 3, 0, 6) / 6."""
    if site.integer:
        quantization = site.result.quantization
        assert quantization is not None
        if float(quantization.scale) * 127 > 1 + float(quantization.scale) / 2:
            raise site.refuse(f"its scale {float(quantization.scale):g} reaches beyond 1; a gate has 1/128")
        _on_a_map(site, lambda x, y: _gate(site, x, y, clipped=True))
        return
    x = site.x()
    three = site.constant("three", np.asarray([3], np.float32))
    lifted = site.inner("gate", site.shape(x), None)
    site.emit("ADD", (x, three), lifted, FusedActivationFunction=ACTIVATIONS["relu6"])
    factor = site.constant("sixth", np.asarray([1 / 6], np.float32))
    site.emit("MUL", (lifted, factor), site.y(), FusedActivationFunction=0)


def hard_swish(site: Site) -> None:
    """Of integers as a gate and a product: HARD_SWISH is one operator, but slow, as no delegate takes its integers."""
    if not site.integer:
        site.emit("HARD_SWISH", (site.x(),), site.y())
        return

    def compute(x: int, y: int) -> int:
        gate = _gate(site, x, site.inner("gate", site.shape(x), INNER_GATE), clipped=False)
        return site.emit("MUL", (x, gate), y, FusedActivationFunction=0)

    _on_a_map(site, compute)


def sigmoid(site: Site) -> None:
    """In float32."""
    site.emit("LOGISTIC", (site.x(),), site.y())


def softmax(site: Site) -> None:
    """In float32, over the channels."""
    assert isinstance(site.node.operator, Softmax)
    rank = len(site.result.shape)
    if place(site.node.operator.axis, rank) != rank - 1:
        raise site.refuse(f"along axis {site.node.operator.axis}; only along the channels is possible here")
    site.emit("SOFTMAX", (site.x(),), site.y(), Beta=1.0)


def activate(site: Site) -> None:
    """Of integers with another scale perhaps."""
    assert site.node.activation is not None
    if site.integer:
        rescale(site)
        return
    site.emit(site.node.activation.upper(), (site.x(),), site.y())
