r"""What is in an engine: which layers TensorRT made of the network, and what each computes in.

Read is what `trtexec --exportLayerInfo` and `IEngineInspector.get_engine_information` write: JSON of layers, with their
fused names, the types of what they read and write, the type of their weights, and the name of the kernel. A layer whose
type is not known here counts as untold, and so does everything inside a `Myelin` layer, which hides what it computes.

What each generation writes, and who says so:
- 8.x and 10.x: `Format/Datatype`, as `Thirty-two wide channel vectorized row major Int8 format`, or the type alone
  where Myelin made the layer, as `Half`; `Weights` with a `Type`; `Bindings`. TREx (NVIDIA/TensorRT,
  tools/experimental/trt-engine-explorer) lists the words in trex/activations.py and has whole files in tests/inputs;
  issues 3737, 4020 and 4397 of NVIDIA/TensorRT show 8.6 and 10.
- 11.x: `Format` and `Datatype` apart, `I/O Tensors` for `Bindings` (NVIDIA, Migrating IEngineInspector Usage from
  TensorRT 10.x to 11.x). How it spells the second key was seen in users' files alone; `DataType` is read as well.
- ONNX names: joined by ` + ` and ` || `, inside `PWN(…)`, and, from 8.6 on, `Metadata`: `[ONNX Layer: a]`, again and
  again, with \x1e or \x1f between (trex/parser.py). Myelin changes dots of names, so metadata goes first.
- An engine for several batch sizes says `N/A due to dynamic shapes` of every tensor, unless the inspector is given an
  execution context whose shapes are set. trtexec does so where it runs an engine, and not where it only builds it
  (samples/trtexec/trtexec.cpp, printLayerInfo). The weights and the kernel are told either way.

Int8 weights are enough to know that a convolution computes on integers: TensorRT quantizes weights alone for INT4 only
(NVIDIA, Working with Quantized Types). No engine of ours was ever seen here, and no file of 11.x from its own hand.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from edgeskin.contract.declaration import wrong_fields
from edgeskin.errors import TargetError
from edgeskin.graph.ir import Concat, Conv, ConvTranspose, Linear, Network, Node, Pad, Requantize, Reshape, Slice
from edgeskin.targets.base import PlacedLayer, Placement
from edgeskin.targets.onnx import is_integer

Kind: TypeAlias = Literal["int8", "fp16", "bf16", "fp32", "other"]
"""What a layer computes in, or a tensor is stored as. `other`: pixels, masks, shapes, types that we never ask for."""

_WIDEST: tuple[Kind, ...] = ("fp32", "bf16", "fp16", "other", "int8")
_FLOATS: frozenset[Kind | None] = frozenset({"fp32", "bf16", "fp16"})
_SPELLINGS: Mapping[Kind, tuple[str, ...]] = {
    "int8": ("int8",),
    "fp16": ("fp16", "half"),
    "bf16": ("bf16", "bfloat16"),
    "fp32": ("fp32", "float"),
    "other": ("uint8", "int4", "int32", "int64", "bool", "fp8", "fp4"),
}
_WORDS: Mapping[str, Kind] = {word: kind for kind, words in _SPELLINGS.items() for word in words}
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b", re.IGNORECASE)
_KERNELS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"_i8i8_|_i8f32_|_i8f16_|int8x4|i8816"), "int8"),
    (re.compile(r"_f16f16_"), "fp16"),
    (re.compile(r"_bf16bf16_"), "bf16"),
    (re.compile(r"_f32f32_|_tf32"), "fp32"),
)
"""How names of kernels spell what they multiply; integers first, because such a kernel may write float16."""

_WEIGHTED = frozenset(
    {
        "Convolution", "Deconvolution", "ConvActPool", "MatrixMultiply", "CaskConvolution", "CaskGemmConvolution",
        "CaskConvActPool", "CaskDeconvolutionV2", "CaskGemmMatrixMultiply", "CudaDepthwiseConvolution",
        "FusedConvActConvolution", "gemm",
    }
)  # fmt: skip
_MOVING = frozenset({"Reformat", "NoOp", "Constant", "signal", "wait"})
"""Layers that compute nothing of a node, even where they are called after one."""
_OPAQUE = "Myelin"
_KNOWN = frozenset(
    {
        *_WEIGHTED, *_MOVING, _OPAQUE, "kgen", "fusion", "PointWise", "PointWiseV2", "ElementWise", "Pooling", "Reduce",
        "Resize", "SoftMax", "Softmax", "Scale", "Quantize", "Dequantize", "Shuffle", "Slice", "Concatenation",
        "Activation", "Cast",
    }
)  # fmt: skip
"""Types of layers by the names that TREx, TensorRT's own classes and the files above give them."""

_UNCOMPUTED = (Reshape, Slice, Concat, Pad, Requantize)
"""Operators that only move values or change their type; an engine has no layer of its own for most of them."""


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    type: TensorRT's own word. nodes: the names of the ONNX nodes in it, and of weights where there is no metadata.
    weights: what they are stored as. kernel: what its name says that it multiplies. inputs: what the layer reads from
    other layers and from outside, weights and constants left out. Whatever is not told is None.
    """

    name: str
    type: str
    nodes: tuple[str, ...]
    weights: Kind | None
    kernel: Kind | None
    inputs: tuple[Kind | None, ...]

    @property
    def multiplies(self) -> bool:
        """Whether it is about weights."""
        return self.type in _WEIGHTED or self.weights is not None or self.kernel is not None

    @property
    def precision(self) -> Kind | None:
        """The widest of what it computes with; None where that is not told."""
        if self.type not in _KNOWN or self.type == _OPAQUE:
            return None
        if self.kernel is not None:
            return _widest((self.weights, self.kernel))
        if self.weights is not None:
            return _widest((self.weights, *self.inputs[:1]))
        found = _widest(self.inputs[:1] if self.multiplies else self.inputs)
        untold = self.multiplies or None in self.inputs
        return None if untold and found not in _FLOATS else found

    @property
    def besides(self) -> tuple[Kind | None, ...]:
        """What it reads besides what it multiplies: what is for the operators that are fused into it."""
        if not self.multiplies:
            return self.inputs
        own = self.inputs.index(self.precision) if self.precision in self.inputs else 0
        return (*self.inputs[:own], *self.inputs[own + 1 :])


def rows(layers: Path) -> tuple[EngineLayer, ...]:
    """Every layer of an engine, in its order.

    Raises: TargetError for a file that is absent, no such JSON, or without the details.
    """
    written = _read(layers)
    made = {tensor.name for each in written.layers for tensor in each.outputs if each.type != "Constant"}
    outside = {name if isinstance(name, str) else name.name for name in written.io or ()}
    # Files of older versions do not list what comes from outside; then nothing but a constant is left out.
    constant = {tensor.name for each in written.layers for tensor in each.outputs} - made
    return tuple(
        EngineLayer(
            name=each.name,
            type=each.type,
            nodes=_nodes(each),
            weights=None if each.weights is None else _kind(each.weights.type),
            kernel=_kernel(each.tactic),
            inputs=tuple(
                _kind(tensor.kind)
                for tensor in each.inputs
                if tensor.name in made | outside or (written.io is None and tensor.name not in constant)
            ),
        )
        for each in written.layers
    )


def of(layers: Path, network: Network, provider: str) -> Placement:
    """Where the operators of a network run in the engine that was built from it.

    layers: what TensorRT wrote of the engine. provider: what runs it, in words.

    Raises: TargetError as `rows`.
    """
    found = rows(layers)
    integer = {node.name: is_integer(network, node) for node in network.nodes}
    verdicts = {
        node.name: _verdict(node, found, integer)
        for node in network.nodes
        if integer[node.name] and not isinstance(node.operator, _UNCOMPUTED)
    }
    convolutions = [node for node in network.nodes if isinstance(node.operator, Conv | ConvTranspose)]
    told = [verdicts[node.name] for node in convolutions if integer[node.name]]
    floats = tuple(name for name, verdict in verdicts.items() if verdict in _FLOATS)
    return Placement(
        provider=provider,
        convolutions=len(convolutions),
        integer_convolutions=None if None in told else told.count("int8"),
        float_operators=None if not floats and None in verdicts.values() else floats,
        layers=tuple(PlacedLayer(each.name, each.type, each.precision, each.nodes) for each in found),
    )


def _verdict(node: Node, layers: Iterable[EngineLayer], integer: Mapping[str, bool]) -> Kind | None:
    """What a node that the network quantizes is computed in, None where nobody tells."""
    own = [each for each in layers if node.name in each.nodes and each.type not in _MOVING]
    if isinstance(node.operator, Conv | ConvTranspose | Linear):
        told = [each.precision for each in own if each.multiplies]
    else:
        told = [_beside(each, integer) for each in own]
    return None if None in told and not _FLOATS & set(told) else _widest(told)


def _beside(layer: EngineLayer, integer: Mapping[str, bool]) -> Kind | None:
    """What a layer computes an operator without weights in."""
    if layer.type not in _KNOWN or layer.type == _OPAQUE:
        return None
    read = layer.besides or (layer.precision,)
    found = _widest(read)
    if found in _FLOATS:
        shared = any(not integer.get(name, True) for name in layer.nodes)
        return None if shared else found
    return None if None in read else found


def _widest(kinds: Iterable[Kind | None]) -> Kind | None:
    told = set(kinds)
    return next((kind for kind in _WIDEST if kind in told), None)


# --- what TensorRT writes ---


class _Written(BaseModel):
    """Strict about what is read of it; other keys are other versions' business."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Tensor(_Written):
    name: str = Field(alias="Name")
    kind: str | None = Field(None, validation_alias=AliasChoices("Datatype", "DataType", "Format/Datatype"))


class _Weights(_Written):
    type: str = Field(alias="Type")


class _Layer(_Written):
    name: str = Field(alias="Name")
    layer: str = Field(alias="LayerType")
    parameters: str | None = Field(None, alias="ParameterType")
    inputs: list[_Tensor] = Field([], alias="Inputs")
    outputs: list[_Tensor] = Field([], alias="Outputs")
    weights: _Weights | None = Field(None, validation_alias=AliasChoices("Weights", "ConvWeights"))
    tactic: str = Field("", alias="TacticName")
    metadata: str = Field("", alias="Metadata")

    @property
    def type(self) -> str:
        """Its type; that of its parameters where the layer's own is not known, as TREx has it."""
        return self.layer if self.layer in _KNOWN or self.parameters is None else self.parameters


class _Io(_Written):
    name: str = Field(alias="Name")


class _Engine(_Written):
    layers: list[_Layer] = Field(alias="Layers", min_length=1)
    io: list[str | _Io] | None = Field(None, validation_alias=AliasChoices("I/O Tensors", "Bindings"))


def _read(path: Path) -> _Engine:
    try:
        # Not strict, because of the control characters between the names in metadata.
        value = json.loads(path.read_text(encoding="utf-8"), strict=False)
    except FileNotFoundError as error:
        raise TargetError(f"{path}: no such file. {_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise TargetError(f"{path}: cannot be read as JSON: {error}. {_AGAIN}") from error
    layers = value.get("Layers") if isinstance(value, dict) else None
    if isinstance(layers, list) and all(isinstance(layer, str) for layer in layers):
        raise TargetError(
            f"{path}: does not say what its layers compute in. Build the engine with detailed profiling verbosity "
            "(--profilingVerbosity=detailed)"
        )
    try:
        return _Engine.model_validate(value)
    except ValidationError as error:
        raise TargetError(f"{path}: is no layer information of TensorRT: {wrong_fields(error)}. {_AGAIN}") from error


_AGAIN = "Remove the engine's folder, and it is built again"


def _kind(text: str | None) -> Kind | None:
    found = _WORD.search(text or "")
    return None if found is None else _WORDS[found[1].lower()]


def _kernel(tactic: str) -> Kind | None:
    # Myelin calls its kernels after the operators in them.
    found = (kind for pattern, kind in _KERNELS if pattern.search(tactic))
    return None if tactic.startswith("__myl") else next(found, None)


def _nodes(layer: _Layer) -> tuple[str, ...]:
    told = re.findall(r"\[ONNX Layer: ([^\]]+)\]", layer.metadata)
    words = told or re.findall(r"[^\s+|(),{}\[\]]+", layer.name.replace("...", " "))
    return tuple(dict.fromkeys(word for word in words if word not in {"PWN", "ForeignNode"}))
