"""The forms of a run that only torch has, tensor by tensor: not quantized, fake-quantized, converted, biases snapped.

What the exported network calls a tensor is found in torch where it is quantized: a layer by the name of its weight,
anything else by the tensors that it reads. What is not found is left out, and said to be.
"""

import copy
import re
import warnings
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import fx
from torchao.quantization.pt2e import FakeQuantizeBase, disable_fake_quant

from edgeskin.export.debug import compare
from edgeskin.export.debug.step import TensorError
from edgeskin.export.from_run import FAKE_QUANTIZED, SNAPPED
from edgeskin.export.golden import Golden, Inputs
from edgeskin.export.quantize import WEIGHTED, convert, snap_biases
from edgeskin.graph import execute
from edgeskin.graph.execute import Executor, Real
from edgeskin.graph.ir import Array, Network
from edgeskin.graph.rewrite import WEIGHTED as LAYERS
from edgeskin.train.checkpoint import read_run
from edgeskin.train.networks import trained_network

quantized = torch.ops.quantized_decomposed
UNQUANTIZED = "QAT weights, not quantized"
_MOVES = (
    quantized.dequantize_per_tensor.default,
    torch.ops.aten.pad.default,
    torch.ops.aten.dropout.default,
    torch.ops.aten.constant_pad_nd.default,
)
"""Between two quantizations at one scale these leave every integer what it is."""


def forms_of(run: Path) -> dict[str, fx.GraphModule]:
    """The forms of a run by their names in chain.json, in its order.

    Raises: RunError where the run cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what its own graphs are copied by
        prepared = trained_network(run, read_run(run))
        unquantized = copy.deepcopy(prepared).apply(disable_fake_quant)
        fake = copy.deepcopy(prepared)
        converted = convert(prepared)
        snapped = copy.deepcopy(converted)
    snap_biases(snapped)
    return {UNQUANTIZED: unquantized, FAKE_QUANTIZED: fake, "converted": converted, SNAPPED: snapped}


def tensors_of(
    modules: Mapping[str, fx.GraphModule], network: Network, cases: Golden
) -> dict[str, tuple[TensorError, ...]]:
    """By the name of a step as chain.json has it, the tensors of int8.onnx on both sides, as far as torch shows them.

    modules: from `forms_of`. network: of int8.onnx. The last step is judged as an engine is: what torch computed from
    its own integers beside what int8.onnx says.
    """
    forms = {name: _Form(network, module) for name, module in modules.items()}
    executor, steps = Executor(network), [*pairwise(forms)]
    sums = {step: compare.sums_of(network) for step in steps}
    last = compare.sums_of(network)
    for inputs in _passes(cases):
        reals = {name: form.run(inputs) for name, form in forms.items()}
        for before, after in steps:
            for each in sums[before, after]:
                name = each.node.output
                if name in reals[before] and name in reals[after]:
                    each.add_carried(reals[before][name], reals[after][name])
        values = executor.run(compare.feeds_of(*inputs))
        found = {name: values[name] for name in network.inputs} | _stored(network, reals[SNAPPED])
        compare.watch(last, network, values, found)
    rows = {f"{before} → {after}": tuple(each.error() for each in sums[before, after]) for before, after in steps}
    rows[f"{SNAPPED} → int8.onnx"] = tuple(each.error(diverges=each.computes_otherwise) for each in last)
    return rows


def _passes(cases: Golden) -> Iterator[Inputs]:
    """Everything that the network is run on."""
    for case in cases.cases:
        yield case.inputs
        if case.second is not None:
            yield case.second, case.inputs[1]


def _stored(network: Network, reals: Mapping[str, Real]) -> dict[str, Array]:
    return {name: execute.stored(network.tensors[name], value) for name, value in reals.items()}


class _Form:
    """A torch graph, and where in it the tensors of the exported network are."""

    def __init__(self, network: Network, module: fx.GraphModule) -> None:
        self._module = module
        self._sites = _Search(network, module).sites()

    def run(self, inputs: Inputs) -> dict[str, Real]:
        """The real numbers of every tensor that is found."""
        image, metadata = inputs
        given = [(torch.from_numpy(image).float() - 128) / 128]
        given += [] if metadata is None else [torch.from_numpy(metadata)]
        watched = _Watched(self._module, set(self._sites.values()))
        with torch.no_grad():
            watched.run(*given)
        return {name: watched.seen[site] for name, site in self._sites.items()}


class _Watched(fx.Interpreter):
    """Keeps what some nodes compute, as real numbers."""

    def __init__(self, module: fx.GraphModule, sites: set[fx.Node]) -> None:
        super().__init__(module)
        self._wanted = sites
        self.seen: dict[fx.Node, Real] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n in self._wanted:
            assert isinstance(value, torch.Tensor)
            real = value.numpy().astype(np.float64)
            self.seen[n] = real * _step(n) if n.op == "call_function" else real
        return value


class _Search:
    """Finds the tensors of a network among the quantizations of a torch graph."""

    def __init__(self, network: Network, module: fx.GraphModule) -> None:
        self._network = network
        self._module = module
        self._same: dict[fx.Node, fx.Node] = {}
        """A quantization that changes nothing -> the one before it."""
        self._reads: dict[fx.Node, frozenset[fx.Node]] = {}
        self._layers: dict[str, list[fx.Node]] = {}
        """By the path of a weight, the quantizations behind the layers that read it, in running order."""

    def sites(self) -> dict[str, fx.Node]:
        """By tensor, the node whose value it is."""
        places = [node for node in self._module.graph.nodes if node.op == "placeholder"]
        found = dict(zip(self._network.inputs, places, strict=False))
        for node in self._module.graph.nodes:
            if self._is_site(node):
                self._look_behind(node)
        free = [site for site in self._reads if site not in self._same]
        for name in self._network.inputs:
            if self._network.tensors[name].quantization is not None:
                found[name] = next((site for site in free if self._reads[site] == {found[name]}), found[name])
        layers = self._by_layer()
        for node in self._network.nodes:
            site = layers.get(node.output)
            if (
                site is None
                and not isinstance(node.operator, LAYERS)
                and all(tensor.is_constant or tensor.name in found for tensor in self._network.operands(node))
            ):
                read = {found[tensor.name] for tensor in self._network.operands(node) if not tensor.is_constant}
                site = next((each for each in free if self._reads[each] == read), None)
            if site is not None and self._network.result(node).quantization is not None:
                found[node.output] = site
                free.remove(site)
        return {name: site for name, site in found.items() if name not in self._network.inputs}

    def _is_site(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self._module.get_submodule(str(node.target)), FakeQuantizeBase)
        return node.target == quantized.quantize_per_tensor.default

    def _look_behind(self, site: fx.Node) -> None:
        """Note what a quantization comes from; that of a weight comes from no input, and is none of ours."""
        reads, layers, only_moves = set[fx.Node](), list[fx.Node](), True
        waiting, seen = list(site.all_input_nodes), set[fx.Node]()
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self._reads or node.op == "placeholder":
                reads.add(self._same.get(node, node))
                continue
            only_moves &= node.op == "get_attr" or node.target in _MOVES
            layers += [node] if node.target in WEIGHTED else []
            waiting += node.all_input_nodes
        if not reads:
            return
        self._reads[site] = frozenset(reads)
        if len(layers) == 1:
            self._layers.setdefault(_path(layers[0]), []).append(site)
        (first, *others) = reads
        if only_moves and not others and first in self._reads and self._scale(first) == self._scale(site):
            self._same[site] = first

    def _scale(self, site: fx.Node) -> float:
        if site.op == "call_function":
            return _step(site)
        scale = self._module.get_submodule(str(site.target)).scale
        assert isinstance(scale, torch.Tensor)
        return float(scale)

    def _by_layer(self) -> dict[str, fx.Node]:
        """By tensor, for the layers that have names: `encoder.stem.conv`, and `…_2` where it runs a second time."""
        named = {
            path if number == 1 else f"{path}_{number}": site
            for path, sites in self._layers.items()
            for number, site in enumerate(sites, 1)
        }
        return {
            node.output: site
            for node in self._network.nodes
            if isinstance(node.operator, LAYERS)
            for path, site in named.items()
            if f".{path}".endswith(f".{node.name}")
        }


def _step(quantize: fx.Node) -> float:
    """The scale of a quantization, in the float32 that the file holds it in."""
    scale = quantize.args[1]
    assert isinstance(scale, float)
    return float(np.float32(scale))


def _path(layer: fx.Node) -> str:
    """The module of a layer, by its bias as the exported network names it, else by its weight."""
    bias = layer.args[2] if len(layer.args) > 2 else None
    if isinstance(bias, fx.Node) and bias.op == "get_attr":
        return re.sub(r"\.(weight_(\d+_)?)?bias(_\d+)?$", "", str(bias.target))
    stored = layer.args[1]
    while isinstance(stored, fx.Node) and stored.op != "get_attr":
        stored = stored.args[0]
    assert isinstance(stored, fx.Node), f"{layer.name}: its weight is computed"
    return re.sub(r"\.weight(_\d+)?$", "", str(stored.target))
