"""TensorRT through its Python modules: `tensorrt` (8.6, 10, 11) and `tensorrt_rtx`, by what each of them has.

The modules say nearly the same of themselves (tests/targets/tensorrt_api/). What differs: 8.6 has no strongly typed
network, so flags permit int8 and fp16 there, and a batch of any size must be asked for; from 10 on every network of
ours is strongly typed, which 11 always is. 8.6 does not name the node that its parser refuses. Between 8.6.1, 10.3.0,
10.16.1 and 11.4.0 nobody was asked; TensorRT-RTX is 1.7.1, and it alone was called, as far as it goes without a GPU.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeskin import files
from edgeskin.contract.model import ModelCard
from edgeskin.errors import TargetError
from edgeskin.targets.base import Precision
from edgeskin.targets.tensorrt.configuration import configure
from edgeskin.targets.tensorrt.generations import RTX, Generation, Version, of, parse
from edgeskin.targets.tensorrt.log import log, without_gpu
from edgeskin.targets.tensorrt.runtime import ENGINE, LARGEST_BATCH, LAYERS, Built, Gpu
from edgeskin.targets.tensorrt.runtime.cuda import Cuda
from edgeskin.targets.tensorrt.runtime.engine import LoadedEngine, deserialize, reason, start
from edgeskin.targets.tensorrt.runtime.inputs import demand_precision, input_shapes

_FLAGS: dict[str, tuple[str, ...]] = {"int8": ("INT8",), "fp16": ("FP16",), "fp32": ()}
"""What is permitted where a network is not strongly typed; without FP16 what is not integers stays float32."""


@dataclass(frozen=True)
class Bindings:
    """A module of TensorRT, and CUDA beside it."""

    module: Any
    cuda: Cuda

    @property
    def version(self) -> Version:
        """Raises: TargetError for a module that says none."""
        return parse(str(self.module.__version__))

    @property
    def generation(self) -> Generation:
        """What its version is handed. Raises: TargetError for one that edgeskin does not know."""
        return of(self.version)

    @property
    def name(self) -> str:
        """With all of its number, because an engine runs in no other: `TensorRT 10.3.0`, `TensorRT-RTX 1.7.1.116`."""
        return f"{'TensorRT-RTX' if self.generation is RTX else 'TensorRT'} {self.module.__version__}"

    @property
    def gpu(self) -> Gpu:
        """The GPU that it builds for and runs on. Raises: TargetError where none answers."""
        return self.cuda.gpu()

    def build(
        self,
        onnx: Path,
        card: ModelCard,
        precision: Precision,
        folder: Path,
        *,
        largest_batch: int = LARGEST_BATCH,
        timing_cache: Path | None = None,
    ) -> Built:
        """Build an engine into an existing folder for batches of 1 to `largest_batch`, fastest at 1, wholly or not at
        all.

        onnx: the file for this generation, which `lint.check` should have passed. timing_cache: a file that makes the
        next build faster, made where there is none; one of another machine is not used.

        Raises: TargetError for a precision that it cannot build, a file that is no network of `card`, and where
        TensorRT fails, with its own words.
        """
        demand_precision(precision)
        try:
            plan = self.plan(onnx, card, precision, largest_batch, timing_cache)
            layers = self._layers(plan, card)
        except TargetError as error:
            raise TargetError(f"{onnx}: {self.name} builds no engine: {error}") from error
        with tempfile.TemporaryDirectory(dir=folder, prefix=".tensorrt-") as place:
            files.write_bytes(Path(place) / ENGINE, plan)
            files.write_text(Path(place) / LAYERS, layers)
            return Built(*((Path(place) / name).replace(folder / name) for name in (ENGINE, LAYERS)))

    def describe(self, engine: Path, card: ModelCard) -> str:
        """What TensorRT says is in an engine, as JSON. Raises: TargetError as `LoadedEngine`."""
        try:
            return self._layers(engine.read_bytes(), card)
        except OSError as error:
            raise TargetError(f"{engine}: cannot be read: {error.strerror or error}") from error
        except TargetError as error:
            raise TargetError(f"{engine}: {error}") from error

    def load(self, engine: Path, card: ModelCard) -> LoadedEngine:
        """Raises: TargetError as `LoadedEngine`."""
        return LoadedEngine(self.module, self.cuda, engine, card)

    def plan(
        self, onnx: Path, card: ModelCard, precision: Precision, largest_batch: int, timing_cache: Path | None = None
    ) -> bytes:
        """The bytes of an engine. TensorRT-RTX builds them without a GPU. Raises: TargetError as `build`."""
        library = self.module
        mark = len(log(library).errors)
        builder = start(library, self.cuda, "Builder")
        network = builder.create_network(_kind(library))
        parser = library.OnnxParser(network, log(library).logger)
        self._parse(parser, onnx)
        _demand_inputs(network, card)
        config = configure(library, builder, input_shapes(card), largest_batch)
        if "STRONGLY_TYPED" not in _members(library.NetworkDefinitionCreationFlag):
            for word in _FLAGS[precision]:
                config.set_flag(_members(library.BuilderFlag)[word])
        cache = None if timing_cache is None else _timing_cache(config, timing_cache)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise TargetError(reason(library, mark, self.cuda))
        if timing_cache is not None and cache is not None:
            files.write_bytes(timing_cache, bytes(cache.serialize()))
        return bytes(plan)

    def _layers(self, plan: bytes, card: ModelCard) -> str:
        """What TensorRT says is in an engine, as JSON; types and shapes are those at a batch of 1.

        Without a context whose shapes are set it says "N/A due to dynamic shapes" of every tensor.
        """
        engine = deserialize(self.module, self.cuda, plan)
        mark = len(log(self.module).errors)
        context = engine.create_execution_context()
        if context is None:
            raise TargetError(reason(self.module, mark, self.cuda))
        for name, shape in input_shapes(card).items():
            context.set_input_shape(name, (1, *shape))
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context
        return str(inspector.get_engine_information(self.module.LayerInformationFormat.JSON))

    def _parse(self, parser: Any, onnx: Path) -> None:
        mark = len(log(self.module).errors)
        try:
            content = onnx.read_bytes()
        except OSError as error:
            raise TargetError(f"cannot be read: {error.strerror or error}") from error
        if parser.parse(content):
            return
        told = [_told(parser.get_error(place)) for place in range(parser.num_errors)]
        raise TargetError(f"its parser refuses the file: {'; '.join(told) or log(self.module).since(mark)}")


def _members(enumeration: Any) -> dict[str, Any]:
    return dict(enumeration.__members__)


def _kind(library: Any) -> int:
    """How a network is asked for: strongly typed; where that does not exist, with a batch of any size, as it is since.

    From 11 on the flag is without effect, because every network is so.
    """
    known = _members(library.NetworkDefinitionCreationFlag)
    word = "STRONGLY_TYPED" if "STRONGLY_TYPED" in known else "EXPLICIT_BATCH"
    return 1 << int(known[word])


def _demand_inputs(network: Any, card: ModelCard) -> None:
    """Raises: TargetError for a network that takes something else than `card` says: an ONNX file that is not ours."""
    given = (network.get_input(place) for place in range(network.num_inputs))
    found = {each.name: tuple(int(size) for size in each.shape) for each in given}
    wanted = {name: (-1, *shape) for name, shape in input_shapes(card).items()}
    if found != wanted:
        raise TargetError(f"it takes {found}, and {card.name} takes {wanted}, -1 the batch. Export the network again")


def _timing_cache(config: Any, path: Path) -> Any:
    """The cache of a file, or an empty one where there is none, or none of this machine; None where none can be used.

    It must live until the engine is built.
    """
    known = path.read_bytes() if path.is_file() else b""
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _told(error: Any) -> str:
    """What a parser says of a node; 8.6 does not name it apart."""
    where = f"{error.node_name()} ({error.node_operator()}): " if hasattr(error, "node_name") else ""
    return f"{where}{without_gpu(error.desc())}"
