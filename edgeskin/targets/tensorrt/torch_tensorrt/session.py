"""A compiled program on a GPU: torch runs it, TensorRT inside."""

import itertools
import logging
import tempfile
import time
from collections.abc import Mapping
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
from edgeskin.targets.tensorrt.torch_tensorrt.compiling import LARGEST_BATCH

GPU = "cuda"
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
        *,
        device: str,
        largest_batch: int = LARGEST_BATCH,
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
        if self._device.type != GPU:
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
        """How many engines TensorRT made, what stayed in torch, and what the engines multiply."""
        engines = [child for child in self.module.children() if hasattr(child, "get_layer_info")]
        rest = tuple(_calls(self.module))
        where = f"{self._provider}: {len(engines)} TensorRT engine{'' if len(engines) == 1 else 's'}"
        found = Placement(
            where, sum(isinstance(n.operator, Conv | ConvTranspose) for n in self._network.nodes), None, None
        )
        with tempfile.TemporaryDirectory() as folder:
            if len(engines) == 1:
                layers = Path(folder) / "layers.json"
                told: Any = engines[0]
                layers.write_text(told.get_layer_info(), encoding="utf-8")
                try:
                    found = placement.of(layers, _as_torch_calls_it(self._network), where)
                except TargetError as error:
                    _LOG.warning("%s: where its layers run is not told: %s", self.path, error)
        return replace(found, partitions=len(engines), undelegated=rest)


def _calls(module: nn.Module) -> "itertools.chain[str]":
    """The operators of a compiled module that torch computes, and not TensorRT."""
    parts = [module, *(child for child in module.children() if isinstance(child, fx.GraphModule))]
    calls = (node for part in parts if isinstance(part, fx.GraphModule) for node in part.graph.nodes)
    return itertools.chain(
        f"{node.name} ({node.target})"
        for node in calls
        if node.op == "call_function" and "getitem" not in str(node.target)
    )


def _as_torch_calls_it(network: Network) -> Network:
    """The network with its layers as torch_tensorrt 2.13.0 names those of TensorRT; others keep their names.

    The n-th convolution is `/convolution_n`, the first has no number, and so are linear layers.
    """
    counts = {"/convolution": itertools.count(), "/linear": itertools.count()}
    nodes = []
    for node in network.nodes:
        word = "/linear" if isinstance(node.operator, Linear) else "/convolution"
        if isinstance(node.operator, Conv | ConvTranspose | Linear):
            number = next(counts[word])
            nodes.append(replace(node, name=f"{word}_{number}" if number else word))
        else:
            nodes.append(node)
    return replace(network, nodes=tuple(nodes))
