"""How functions of single values are said, gates among them."""

import numpy as np

from edgeskin.graph.ir import Add, Softmax
from edgeskin.targets.tflite.lower.site import Site
from edgeskin.targets.tflite.program import Scale, place
from edgeskin.targets.tflite.schema import ACTIVATIONS

ONE, SIXTH, HALF = (Scale(np.asarray([step], np.float32)) for step in (1 / 64, 1 / 384, 1 / 128))
"""The scales at which the integer `NUMBER` says 1, 1/6 and 1/2."""
NUMBER = np.int8(64)


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


def _constant(site: Site, role: str, scale: Scale) -> int:
    return site.constant(role, np.asarray([NUMBER]), scale)


def rescale(site: Site) -> None:
    """Other integers for the same values, by a product with 1: it rounds the exact quotient of the scales once.

    XNNPACK's own conversion has eight bits for that quotient, and 4 % of its results are one step off.
    """
    one = _constant(site, "one", ONE)
    site.emit("MUL", (site.x(), one), site.y(), FusedActivationFunction=site.activation)


def hard_sigmoid(site: Site) -> None:
    """Of integers as a gate; of floats as clip(x + 3, 0, 6) / 6."""
    x = site.x()
    if site.integer:
        _gate(site, x)
        return
    three = site.constant("three", np.asarray([3], np.float32))
    lifted = site.inner("part", site.shape(x), None)
    site.emit("ADD", (x, three), lifted, FusedActivationFunction=ACTIVATIONS["relu6"])
    factor = site.constant("sixth", np.asarray([1 / 6], np.float32))
    site.emit("MUL", (lifted, factor), site.y(), FusedActivationFunction=0)


def _gate(site: Site, x: int) -> None:
    """x/6 + 1/2 of integers: x/6 has the very integers of x, at a sixth of its scale. Above 1 it saturates.

    A depthwise convolution could say both at once, and took five times as long (XNNPACK, AVX-512): its smallest kernel
    has more than one place.
    """
    before, after = site.scale_of(x), site.result.quantization
    assert before is not None
    assert after is not None
    if float(after.scale) * 127 > 1 + float(after.scale) / 2:
        raise site.refuse(f"its scale {float(after.scale):g} reaches beyond 1; a gate has 1/128")
    part = site.inner("part", site.shape(x), Scale(before.steps / np.float32(6)))
    site.emit("MUL", (x, _constant(site, "sixth", SIXTH)), part, FusedActivationFunction=0)
    half = _constant(site, "half", HALF)
    site.emit("ADD", (part, half), site.y(), FusedActivationFunction=ACTIVATIONS["relu"])


def hard_swish(site: Site) -> None:
    """In float32."""
    site.emit("HARD_SWISH", (site.x(),), site.y())


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
