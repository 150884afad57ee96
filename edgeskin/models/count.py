"""What the parts of a network cost: parameters and multiply-adds."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Hook: TypeAlias = Callable[[nn.Module, tuple[object, ...], object], None]


@dataclass(frozen=True)
class PartCost:
    """One part of a network on an example input.

    name: as in `named_modules`; "" is the network itself, where it is one layer or holds parameters of its own.
    output_shapes: of every tensor that the part gave when it last ran, batch first; none where it does not run.
    parameters: learned numbers; one that several parts share counts in the first.
    multiply_adds: of all its convolutions and linear layers for the whole example batch; a layer that runs twice counts
    twice, one that several parts share counts in the first. Products of activations, and convolutions that are no
    modules, are not counted; published figures leave out the former too.
    """

    name: str
    output_shapes: tuple[tuple[int, ...], ...]
    parameters: int
    multiply_adds: int


def count(network: nn.Module, *example: Tensor) -> tuple[PartCost, ...]:
    """The cost of each part of a network, in the order of its declaration, from running it once as it is.

    A part is a child of the network; lists and tables of modules are opened, for they are never run themselves. On the
    meta device nothing is computed: `with torch.device("meta")` around both constructions.
    """
    parts = _parts(network)
    shapes: dict[str, tuple[tuple[int, ...], ...]] = dict.fromkeys(parts, ())
    multiply_adds = dict.fromkeys(parts, 0)
    parameters = dict.fromkeys(parts, 0)
    handles: list[RemovableHandle] = []
    seen: set[nn.Module | nn.Parameter] = set()
    for name, part in parts.items():
        handles.append(part.register_forward_hook(_shape_hook(shapes, name)))
        for layer in part.modules() if name else [part]:
            if layer not in seen:
                seen.add(layer)
                handles.append(layer.register_forward_hook(_cost_hook(multiply_adds, name)))
        for parameter in part.parameters(recurse=bool(name)):
            if parameter not in seen:
                seen.add(parameter)
                parameters[name] += parameter.numel()
    try:
        with torch.no_grad():
            network(*example)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(PartCost(name, shapes[name], parameters[name], multiply_adds[name]) for name in parts)


def _parts(network: nn.Module) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {}
    pending = list(network.named_children())
    if not pending or any(True for _ in network.parameters(recurse=False)):
        parts[""] = network
    while pending:
        name, module = pending.pop(0)
        if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            pending = [(f"{name}.{key}", child) for key, child in module.named_children()] + pending
        else:
            parts[name] = module
    return parts


def _shapes(output: object) -> tuple[tuple[int, ...], ...]:
    """The shapes of all tensors in what a module returned."""
    if isinstance(output, Tensor):
        return (tuple(output.shape),)
    if isinstance(output, dict):
        output = tuple(output.values())
    return tuple(shape for item in output for shape in _shapes(item)) if isinstance(output, (tuple, list)) else ()


def _shape_hook(shapes: dict[str, tuple[tuple[int, ...], ...]], name: str) -> Hook:
    def hook(_: nn.Module, __: tuple[object, ...], output: object) -> None:
        shapes[name] = _shapes(output)

    return hook


def _cost_hook(multiply_adds: dict[str, int], name: str) -> Hook:
    def hook(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not isinstance(output, Tensor):
            return
        if isinstance(layer, nn.ConvTranspose2d):
            # Each input value meets the taps of every output channel of its group.
            (x,) = inputs
            assert isinstance(x, Tensor)
            multiply_adds[name] += x.numel() * prod(layer.weight.shape[1:])
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            multiply_adds[name] += output.numel() * prod(layer.weight.shape[1:])

    return hook
