"""How the format pads a window: SAME, by its own rule, or VALID, not at all."""

from edgeskin.graph.ir import Pads, Pair


def same_pads(size: Pair, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> Pads:
    """What SAME means in pixels: as many outputs as size / stride, rounded up; an odd pixel goes to the end."""
    ends = []
    for n, k, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        ends.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right
