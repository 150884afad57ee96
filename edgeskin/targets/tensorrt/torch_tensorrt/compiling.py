"""The exported program through torch_tensorrt: TensorRT engines for this GPU, with our scales as its own layers.

torch_tensorrt (2.13.0) converts scales only where NVIDIA's ModelOpt is installed, and in ModelOpt's own operator, whose
import wants packages that a plain install does not bring, and whose weights want a compiler of CUDA. So the converters
of torch's own pairs stand here; they are added by torch_tensorrt's documented decorator.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from edgeskin import optional
from edgeskin.errors import TargetError
from edgeskin.graph.ir import Network
from edgeskin.targets.base import IMAGE
from edgeskin.targets.tensorrt.torch_tensorrt import MODULE
from edgeskin.targets.tensorrt.torch_tensorrt.network import QDQ

LARGEST_BATCH = 8
OPTIONS: dict[str, bool | int] = {"min_block_size": 1, "disable_tf32": True, "require_full_compilation": False}
"""min_block_size: as few operators as one go to TensorRT. disable_tf32: float32 keeps its 24 bits. What TensorRT does
not take stays in torch, and `placement` lists it."""


def compiled(program: ExportedProgram, network: Network, device: str) -> fx.GraphModule:
    """The program with its parts in TensorRT, for batches of 1 to `LARGEST_BATCH`, fastest at 1.

    device: as torch calls it. Raises: TargetError with torch_tensorrt's own words.
    """
    with redirect_stdout(sys.stderr):  # torch_tensorrt prints, and standard output is for results
        return _compiled(program, network, device)


def _compiled(program: ExportedProgram, network: Network, device: str) -> fx.GraphModule:
    library = optional.require(MODULE)
    define_operator()
    _add_converters()
    found = [_input(library, network, name) for name in network.inputs]
    placed = move_to_device_pass(_kept(program), device)
    try:
        with _detailed(library):
            module: fx.GraphModule = library.dynamo.compile(placed, arg_inputs=found, device=device, **OPTIONS)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise TargetError(f"torch_tensorrt {library.__version__} cannot compile it: {told[0]}") from error
    return module


@contextmanager
def _detailed(library: Any) -> Iterator[None]:
    """Have engines say what their layers compute in, which torch_tensorrt does under its debugger alone.

    The debugger takes over the root logger for good, so that is put back.
    """
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    with tempfile.TemporaryDirectory() as folder:
        try:
            with library.dynamo.Debugger(log_level="error", engine_builder_monitor=False, logging_dir=folder):
                yield
        finally:
            root.handlers[:] = before
            root.setLevel(level)


def _input(library: Any, network: Network, name: str) -> Any:
    sizes = tuple(int(size) for size in network.tensors[name].shape[1:])
    one, most = (1, *sizes), (LARGEST_BATCH, *sizes)
    kind = torch.uint8 if name == IMAGE else torch.float32
    return library.Input(min_shape=one, opt_shape=one, max_shape=most, dtype=kind, name=name)


def _kept(program: ExportedProgram) -> ExportedProgram:
    """The program with its stored integers behind an operator that no folding of constants touches."""
    stored = program.graph_signature.inputs_to_buffers
    for node in program.graph.nodes:
        if node.target == QDQ.dequantize_per_channel.default and node.args[0].name in stored:
            integers, scale, _, axis, *_ = node.args
            node.target, node.args = torch.ops.edgeskin.dequantize.default, (integers, scale, axis)
    program.graph_module.recompile()
    return program


def _dequantized(integers: Tensor, scale: Tensor, axis: int) -> Tensor:
    return integers.float() * scale.reshape([-1 if each == axis else 1 for each in range(integers.ndim)])


@cache
def define_operator() -> None:
    """Make `edgeskin::dequantize` known to torch, which is one scale a channel for stored integers.

    It is called random, because that is what torch's folding of constants leaves alone (torch 2.13.0,
    _inductor/constant_folding.py); folded, a weight would reach TensorRT as a float.
    """
    torch.library.define(
        "edgeskin::dequantize",
        "(Tensor integers, Tensor scale, int axis) -> Tensor",
        tags=(torch.Tag.nondeterministic_seeded,),
    )
    torch.library.impl("edgeskin::dequantize", "CompositeExplicitAutograd")(_dequantized)
    torch.library.register_fake("edgeskin::dequantize")(_dequantized)


@cache
def _add_converters() -> None:
    """Tell torch_tensorrt how TensorRT says what these operators say. Source: its guide, Writing Dynamo Converters."""
    conversion, trt = optional.require(MODULE).dynamo.conversion, optional.require("tensorrt")

    def tensor(context: Any, value: float | Tensor, name: str) -> Any:
        number = torch.tensor(value, dtype=torch.float32) if isinstance(value, float) else value
        return conversion.converter_utils.get_trt_tensor(context, number, name)

    def operands(context: Any, args: Sequence[Any], name: str) -> tuple[Any, Any]:
        return tensor(context, args[0], f"{name}_x"), tensor(context, args[1], f"{name}_scale")

    def finished(layer: Any, name: str) -> Any:
        layer.name = name
        return layer.get_output(0)

    def quantize(context: Any, _target: Any, args: Sequence[Any], _kwargs: Any, name: str) -> Any:
        return finished(context.net.add_quantize(*operands(context, args, name), trt.DataType.INT8), name)

    def dequantize(context: Any, _target: Any, args: Sequence[Any], _kwargs: Any, name: str) -> Any:
        return finished(context.net.add_dequantize(*operands(context, args, name), trt.DataType.FLOAT), name)

    def dequantize_stored(context: Any, _target: Any, args: Sequence[Any], _kwargs: Any, name: str) -> Any:
        layer = context.net.add_dequantize(*operands(context, args, name), trt.DataType.FLOAT)
        layer.axis = args[2]
        return finished(layer, name)

    for operator, converter in (
        (QDQ.quantize_per_tensor.default, quantize),
        (QDQ.dequantize_per_tensor.default, dequantize),
        (torch.ops.edgeskin.dequantize.default, dequantize_stored),
    ):
        conversion.dynamo_tensorrt_converter(operator, supports_dynamic_shapes=True)(converter)
