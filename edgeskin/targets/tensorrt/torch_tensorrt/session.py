"""A compiled program on a GPU: torch runs it, TensorRT inside."""

import logging
import operator
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgeskin.errors import TargetError
from edgeskin.graph.ir import Conv, ConvTranspose, Linear, Network
from edgeskin.targets.base import Effort, Float32, Inputs, Placement, Times, UInt8
from edgeskin.targets.tensorrt import placement

_LOG = logging.getLogger(__name__)


class TorchSession:
    """A network compiled by torch_tensorrt, or one that torch runs alone.

    path: of the artifact. module: takes and gives tensors on `device`. provider: what runs it, in words. largest_batch:
    the most rows at once; more are run in turns.
    """

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        network: Network,
        provider: str,
        device: str,
        *,
        largest_batch: int = 8,
    ) -> None:
        self.path = path
        self.module = module
        self._network = network
        self._provider = provider
        self._device = torch.device(device)
        self._largest_batch = largest_batch
        sizes = [tuple(int(size) for size in network.tensors[name].shape[1:]) for name in network.inputs]
        self._inputs = Inputs(str(path), sizes[0], sizes[1][0] if len(sizes) > 1 else None)

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`; None where the network takes the image alone."""
        return self._inputs.metadata_width

    @property
    def device_mib(self) -> float | None:
        """None: torch counts what it holds itself, and not what TensorRT takes."""
        return None

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        Raises: TargetError as `Session` says, and for GPU memory that is not there.
        """
        self._inputs.demand(image, metadata)
        given = (image,) if metadata is None else (image, metadata)
        starts = range(0, len(image), self._largest_batch)
        parts = [self._once(tuple(each[at : at + self._largest_batch] for each in given)) for at in starts]
        shapes = (tuple(int(n) for n in self._network.tensors[name].shape[1:]) for name in self._network.outputs)
        return {
            name: np.concatenate([np.zeros((0, *shape), np.float32), *(part[place] for part in parts)])
            for place, (name, shape) in enumerate(zip(self._network.outputs, shapes, strict=True))
        }

    def _once(self, given: tuple[UInt8 | Float32, ...]) -> tuple[Float32, ...]:
        return tuple(each.cpu().numpy() for each in self._answer(self._moved(given)))

    def _moved(self, given: tuple[UInt8 | Float32, ...]) -> tuple[Tensor, ...]:
        try:
            return tuple(torch.from_numpy(np.ascontiguousarray(each)).to(self._device) for each in given)
        except torch.OutOfMemoryError as error:
            raise self._no_memory(error) from error

    def _answer(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        try:
            with torch.no_grad():
                found: tuple[Tensor, ...] = tuple(self.module(*given))
        except torch.OutOfMemoryError as error:
            raise self._no_memory(error) from error
        return found

    def _no_memory(self, error: Exception) -> TargetError:
        told = str(error).splitlines()[0]
        return TargetError(f"{self.path}: no GPU memory for it: {told} Close what else runs there")

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        """Run one batch again and again: as a whole by the CPU's clock, the network alone by the GPU's.

        Raises: TargetError as `run`, and for more rows than fit one batch.
        """
        self._inputs.demand(image, metadata)
        if len(image) > self._largest_batch:
            raise TargetError(f"{self.path}: times {self._largest_batch} rows at most, not {len(image)}")
        given = (image,) if metadata is None else (image, metadata)
        self._query(given)
        begin = time.perf_counter()
        while time.perf_counter() - begin < effort.warm_up_ms / 1e3:
            self._query(given)
        taken, begin = list[tuple[float, float]](), time.perf_counter()
        while len(taken) < effort.iterations or time.perf_counter() - begin < effort.duration_s:
            taken.append(self._query(given))
        return Times(tuple(alone for alone, _ in taken), tuple(whole for _, whole in taken))

    def _query(self, given: tuple[UInt8 | Float32, ...]) -> tuple[float, float]:
        """Milliseconds of the network alone, and from inputs in memory to outputs in memory."""
        begin = time.perf_counter()
        moved = self._moved(given)
        if self._device.type != "cuda":
            before = time.perf_counter()
            self._answer(moved)
            end = time.perf_counter()
            return (end - before) * 1e3, (end - begin) * 1e3
        before_it, behind_it = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before_it.record()
        found = self._answer(moved)
        behind_it.record()
        for each in found:
            each.cpu()  # waits for the GPU
        whole = (time.perf_counter() - begin) * 1e3
        behind_it.synchronize()
        return before_it.elapsed_time(behind_it), whole

    def placement(self) -> Placement:
        """How many engines TensorRT made, what stayed in torch, and what the engine of all multiplies."""
        engines: list[Any] = [child for child in self.module.children() if hasattr(child, "get_layer_info")]
        where = f"{self._provider}: {len(engines)} TensorRT engine{'' if len(engines) == 1 else 's'}"
        told = self._told(engines[0], where) if len(engines) == 1 else None
        if told is None:
            convolutions = sum(isinstance(node.operator, Conv | ConvTranspose) for node in self._network.nodes)
            told = Placement(where, convolutions, None, None)
        left = tuple(_calls(self.module))
        # Even a single operator goes to TensorRT (`compiling.OPTIONS`).
        why = "torch_tensorrt has no converter for them as they are" if left else None
        return replace(told, partitions=len(engines), undelegated=left, why_undelegated=why)

    def _told(self, engine: Any, where: str) -> Placement | None:
        """What an engine says of itself, None where it says nothing that is understood."""
        names = torchs_names(self._network)
        nodes = (replace(node, name=names.get(node.name, node.name)) for node in self._network.nodes)
        ours = {theirs: name for name, theirs in names.items()}
        with tempfile.TemporaryDirectory() as folder:
            layers = Path(folder) / "layers.json"
            layers.write_text(engine.get_layer_info(), encoding="utf-8")
            try:
                found = placement.of(layers, replace(self._network, nodes=tuple(nodes)), where)
            except TargetError as error:
                _LOG.warning("%s: what its layers compute in is not told: %s", self.path, error)
                return None
        floats = found.float_operators
        return replace(
            found, float_operators=None if floats is None else tuple(ours.get(name, name) for name in floats)
        )


def _calls(module: nn.Module) -> Iterator[str]:
    """The operators of a compiled module that torch computes, and not TensorRT."""
    for part in (module, *module.children()):
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            if node.op == "call_function" and node.target is not operator.getitem:
                yield f"{node.name} ({node.target})"


def torchs_names(network: Network) -> Mapping[str, str]:
    """How torch_tensorrt 2.13.0 calls the layers with weights that it makes for TensorRT, by our names.

    They are numbered in their order, but for the first of each kind. What it calls others depends on more.
    """
    found: dict[str, str] = {}
    for kinds, word, ending in ((Conv | ConvTranspose, "/convolution", ""), (Linear, "/linear", "_matrix_multiply")):
        nodes = [node for node in network.nodes if isinstance(node.operator, kinds)]
        found |= {node.name: f"{word}{f'_{number}' if number else ''}{ending}" for number, node in enumerate(nodes)}
    return found
