"""The shared suite: every network of the cover learns, quantizes, keeps the contract, and answers alike in every form.

`make test-all` adds each encoder under each head set with each link by itself. A mask of a network that has seen four
pictures lies at its threshold, so masks are compared by the mean difference of their probabilities alone; all else by
the whole rule of equivalence.

Tracing is most of the time, so the cover traces the float form only of networks that bring something new: what could
go wrong with it hangs on one operator, not on a pair. `make test-all` traces it of all.
"""

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from _pytest.mark import ParameterSet
from combinations import BATCH, SIZE, Combination, cover, each_by_itself, first_of_their_kind, pairs
from coremltools.converters import _converters_entry
from operator_suite import computed, demand_same
from torch import Tensor, fx, nn
from torch.nn import functional
from torchao.quantization.pt2e import qat_utils

from edgeskin.benchmarks import numerics
from edgeskin.benchmarks.measurements import NumericsHop
from edgeskin.contract.metadata import MetadataSpec
from edgeskin.contract.model import ModelCard, Provenance
from edgeskin.export.quantize import convert, snap_biases
from edgeskin.export.trace import trace
from edgeskin.graph import execute, lint
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve_weights
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact
from edgeskin.targets.coreml import CoremlTarget
from edgeskin.targets.onnx import OnnxTarget, reference_session
from edgeskin.targets.tflite import TfliteTarget
from edgeskin.train import qat
from edgeskin.train.loader import Batch
from edgeskin.train.networks import build_network, materialise, prepared_network
from edgeskin.train.objective import objective_for
from edgeskin.train.phase import Trainer
from edgeskin.train.recipe import Phase, Recipe

FLOAT_STEPS, QAT_STEPS, FROZEN_STEPS = 12, 4, 2
SHOWN = 16
Answers = dict[str, npt.NDArray[np.float32]]


def with_product(chosen: Sequence[Combination]) -> list[Combination | ParameterSet]:
    """Those, behind one marker what shows no feature for the first time, and behind another the rest of the product."""
    first = first_of_their_kind(chosen)
    rest = [each for each in each_by_itself() if each.is_possible() and each not in set(chosen)]
    return [
        *first,
        *(pytest.param(each, marks=pytest.mark.pairs) for each in chosen if each not in first),
        *(pytest.param(each, marks=pytest.mark.product) for each in rest),
    ]


def batch(recipe: Recipe, count: int, seed: int) -> Batch:
    """Random colours with noise, a square lesion each, any labels; every second age is hidden from the network."""
    random = torch.Generator().manual_seed(seed)
    colour, noise = torch.rand(count, 3, 1, 1, generator=random), torch.rand(count, 3, SIZE, SIZE, generator=random)
    image = (255 * (0.7 * colour + 0.3 * noise) - 128).round() / 128
    mask = torch.zeros(count, 1, SIZE, SIZE)
    for square, (top, left) in zip(mask, torch.randint(4, 36, (count, 2), generator=random).tolist(), strict=True):
        square[:, top : top + 24, left : left + 24] = 1
    labels = {
        head.name: torch.randint(0, max(2, len(head.labels)), (count,), generator=random)
        for head in recipe.head_specs()
        if head.kind != "mask"
    }
    fields = () if recipe.metadata is None else clinical(recipe.metadata.spec(), count, random)
    return Batch(image.contiguous(memory_format=torch.channels_last), mask, torch.ones(count), labels, *fields)


def clinical(spec: MetadataSpec, count: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Metadata as it is given, as it is, and which of its slots were hidden."""
    ages = torch.randint(0, 100, (count,), generator=random).tolist()
    told = [{"age": age, "sex": ("female", "male")[age % 2]} for age in ages]
    given = [{**values, "age": values["age"] if index % 2 else None} for index, values in enumerate(told)]
    complete, metadata = (torch.from_numpy(np.stack([spec.encode(row) for row in rows])) for rows in (told, given))
    hidden = torch.zeros_like(complete)
    hidden[::2, 0] = 1
    return metadata, complete, hidden


def settle(network: nn.Module, *inputs: Tensor) -> None:
    """Let batch norm take this batch's statistics for its own; a dozen steps of its running average are too few."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for momentum in (1.0, 0.1):
        for norm in norms:
            norm.momentum = momentum
        if momentum == 1:
            with torch.no_grad():
                network(*inputs)


class Carried:
    """One network on its way from random weights to the uint8 twin, as far as somebody asks."""

    def __init__(self, combination: Combination, folder: Path) -> None:
        self.combination, self.folder, self.recipe = combination, folder, combination.recipe()
        self.heads = self.recipe.head_specs()
        self.metadata = None if self.recipe.metadata is None else self.recipe.metadata.spec()
        self.width = None if self.metadata is None else self.metadata.width
        self.taught, self.others = batch(self.recipe, BATCH, 1), batch(self.recipe, SHOWN, 2)
        self.shown = tuple(torch.cat(each) for each in zip(self.taught.inputs, self.others.inputs, strict=True))

    def train(self, module: nn.Module, phase: Phase, steps: int) -> list[float]:
        """The loss before each step on one and the same batch."""
        weights = {head.name: torch.ones(max(2, len(head.labels))) for head in self.heads}
        objective = objective_for(self.recipe, self.heads, weights, phase, module)
        losses: list[float] = []
        Trainer(module, phase, steps, torch.device("cpu")).run_epoch(
            iter([self.taught] * steps),
            objective,
            (1,),
            lambda figures: losses.append(sum(figures.values())),
            mixed_precision=False,
        )
        return losses

    @cached_property
    def learnt(self) -> tuple[nn.Module, list[float]]:
        network = build_network(self.recipe).train()
        losses = self.train(network, self.recipe.float_phase, FLOAT_STEPS)
        settle(network, *self.taught.inputs)
        return network.eval(), losses

    @cached_property
    def fp32(self) -> Network:
        return trace(self.learnt[0], self.heads, SIZE, self.width)

    @cached_property
    def quantization_aware(self) -> tuple[fx.GraphModule, list[float]]:
        prepared = prepared_network(self.recipe, copy.deepcopy(self.learnt[0].state_dict()))
        losses = self.train(prepared, self.recipe.qat, QAT_STEPS)
        qat.freeze_observers(prepared)
        qat.freeze_batch_norm(prepared)
        losses += self.train(prepared, self.recipe.qat, FROZEN_STEPS)
        qat.to_evaluation(prepared)
        materialise(prepared, self.recipe)
        return prepared, losses

    @cached_property
    def converted(self) -> nn.Module:
        converted = convert(self.quantization_aware[0])
        snap_biases(converted)
        return converted

    @cached_property
    def int8(self) -> Network:
        return trace(self.converted, self.heads, SIZE, self.width)

    @cached_property
    def graph(self) -> Graph:
        """Its Graph folder with the quantized form alone."""
        return self._folder("fp32.onnx", "int8.onnx", self.int8)

    @cached_property
    def float_graph(self) -> Graph:
        """Likewise with the float form."""
        return self._folder("int8.onnx", "fp32.onnx", self.fp32)

    def _folder(self, absent: str, present: str, network: Network) -> Graph:
        (self.folder / absent).touch()  # an artifact of the other form hashes it and reads nothing of it
        write_onnx(network, self.folder / present)
        nothing = Provenance(
            recipe="every", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=1, edgeskin_version="0"
        )
        ModelCard(
            name="every",
            version="0",
            size=SIZE,
            heads=self.heads,
            metadata=self.metadata,
            float_tail=tuple(node.name for node in lint.float_tail(network)),
            intended_use="Tests only.",
            licence="Apache-2.0",
            provenance=nothing,
        ).write(self.folder / "model.json")
        return Graph.open(self.folder)

    @cached_property
    def artifact(self) -> Artifact:
        return OnnxTarget().build(self.graph, "int8", self.place("onnx"))

    def place(self, name: str) -> Path:
        """A folder for an artifact."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    @cached_property
    def bytes(self) -> tuple[npt.NDArray[np.uint8 | np.float32], ...]:
        image, *metadata = self.shown
        return (image * 128 + 128).to(torch.uint8).numpy(), *(each.numpy() for each in metadata)

    @cached_property
    def plain(self) -> Answers:
        return dict(reference_session(self.graph.int8).run(*self.bytes))

    @cached_property
    def optimised(self) -> Answers:
        return dict(OnnxTarget().open(self.artifact).run(*self.bytes))

    def in_torch(self, network: nn.Module) -> Answers:
        with torch.no_grad():
            logits: Sequence[Tensor] = network(*self.shown)
        return {
            head.name: (torch.softmax(values, 1) if head.kind == "softmax" else torch.sigmoid(values)).numpy()
            for head, values in zip(self.heads, logits, strict=False)  # behind them is what only training wants
        }

    def hops(self, one: Answers, other: Answers) -> tuple[NumericsHop, ...]:
        card = self.graph.card
        gaps = numerics.engine_gaps(self.optimised, self.plain, card)
        return numerics.compare("one → other", one, other, card, engine_gap=gaps)


@pytest.fixture(scope="module", autouse=True)
def _in_reasonable_time() -> Iterator[None]:
    """What is left out does nothing for these networks, and would double the time.

    torchao traces its patterns of batch norm behind a convolution anew for each network, and looks for those of three
    kinds of convolution that no network here has. And there is no garbage among the nodes of a graph being traced.
    """
    traced: dict[object, fx.GraphModule] = {}
    make = qat_utils._get_aten_graph_module_for_pattern

    def once(pattern: nn.Module, example: tuple[Tensor, ...], *flags: bool, **given: Tensor) -> fx.GraphModule:
        closure = tuple(cell.cell_contents for cell in pattern.fn.__closure__)
        key = (pattern.fn.__qualname__, closure, tuple(each.shape for each in example), flags, tuple(given))
        if key not in traced:
            traced[key] = make(pattern, example, *flags, **given)
        return copy.deepcopy(traced[key])

    def of_conv2d(rewrite: Callable[..., fx.GraphModule]) -> Callable[..., fx.GraphModule]:
        def only(module: fx.GraphModule, kind: object, *rest: object, **named: object) -> fx.GraphModule:
            return rewrite(module, kind, *rest, **named) if kind is functional.conv2d else module

        return only

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qat_utils, "_get_aten_graph_module_for_pattern", once)
        # Every conversion to Core ML sweeps all of memory too.
        patch.setattr(_converters_entry, "gc", SimpleNamespace(collect=lambda: 0))
        for name in ("_fuse_conv_bn_qat_helper", "_fold_conv_bn_qat_helper"):
            patch.setattr(qat_utils, name, of_conv2d(getattr(qat_utils, name)))
        gc.disable()
        yield
        gc.enable()


@pytest.fixture(autouse=True)
def _sweep() -> Iterator[None]:
    yield
    gc.collect()


# --- which networks ---


def test_forty_networks_hold_every_pair_of_encoder_heads_and_links() -> None:
    assert len(cover()) <= 40
    assert all(each.is_possible() for each in cover())
    demanded = {pair for each in each_by_itself() if each.is_possible() for pair in pairs(each)}
    assert demanded <= {pair for each in cover() for pair in pairs(each)}


def test_every_network_that_is_possible_is_a_recipe_without_a_mistake() -> None:
    possible = [each for each in each_by_itself() if each.is_possible()]
    # By hand: nine encoders with their activations; links of the seven head sets in the order of combinations.HEADS:
    # none, CBAM, two fusions and super-resolution for one classifier, with a map for several; two; all ten.
    assert len(possible) == 9 * (5 + 6 + 5 + 5 + 6 + 2 + 10)
    for each in (*possible, *cover()):
        assert each.recipe().problems() == [], each


# --- what each of them does ---


def steps_lower_the_loss_on_a_fixed_batch(carried: Carried) -> None:
    _, losses = carried.learnt
    assert len(losses) == FLOAT_STEPS
    assert losses[-1] < 0.95 * losses[0]


def every_parameter_is_taught(carried: Carried) -> None:
    links = carried.combination.links
    idle = {name for name, each in carried.learnt[0].named_parameters() if each.grad is None}
    if links.reverse and links.attention is None:
        # Nobody reads the first run of the levels that run again; their convolutions learn in the second.
        idle -= {name for name in idle if name.startswith("decoder.mixes.") and ".norm." in name}
    assert idle == set()


def quantization_aware_training_goes_on_where_float_training_ended(carried: Carried) -> None:
    before, after = carried.learnt[1], carried.quantization_aware[1]
    assert len(after) == QAT_STEPS + FROZEN_STEPS
    assert max(after) < before[0]


def the_integer_network_keeps_the_contract_with_nothing_left_in_float(carried: Carried) -> None:
    assert lint.lint(carried.int8) == ()
    assert read(carried.graph.int8) == carried.int8, "what is written is what was judged"


def onnxruntime_computes_what_the_converted_network_computes(carried: Carried) -> None:
    demand_alike(carried, carried.in_torch(carried.converted), carried.plain)
    for name, values in carried.in_torch(carried.converted).items():
        # Equality of constants would show nothing: pictures must differ far more than the two forms do.
        assert np.abs(values - carried.plain[name]).mean() < 0.2 * carried.plain[name].std(axis=0).mean(), name


def each_operator_alone_computes_onnxruntimes_integers(carried: Carried) -> None:
    """The statement that no network is too sensitive for: nothing may differ but exact ties."""
    feeds = {name: values[:2] for name, values in zip(carried.int8.inputs, carried.bytes, strict=True)}
    values = computed(carried.int8, feeds)
    for node in carried.int8.nodes:
        demand_same(carried.int8, node, values, execute.apply(carried.int8, node, values), values[node.output])


def the_uint8_twin_holds_the_same_network_and_answers_alike(carried: Carried) -> None:
    target = OnnxTarget()
    assert target.read(carried.artifact) == carried.int8
    twin = target.open(carried.artifact, plain=True).run(*carried.bytes)
    for name, values in carried.plain.items():
        np.testing.assert_allclose(twin[name], values, atol=1e-6, err_msg=name)
    demand_alike(carried, carried.plain, carried.optimised)


def a_tflite_file_holds_the_same_integers_and_answers_alike(carried: Carried) -> None:
    target = TfliteTarget()
    artifact = target.build(carried.graph, "int8", carried.place("tflite"))
    assert target.read(artifact) == carried.int8
    session = target.open(artifact)
    demand_alike(carried, carried.plain, dict(session.run(*carried.bytes)))
    placement = session.placement()
    assert placement.integer_convolutions == placement.convolutions > 0


def a_core_ml_package_holds_the_same_integers(carried: Carried) -> None:
    """With float32 in between to the integer; that is what its bytes compute, read back, wherever it runs."""
    target = CoremlTarget(compute="float32")
    artifact = target.build(carried.graph, "int8", carried.place("coreml"))
    assert target.read(artifact) == carried.int8
    halved = CoremlTarget()
    for precision in ("int8", "w8a16"):
        half = halved.build(carried.graph, precision, carried.place(f"coreml-{precision}"))
        assert halved.read(half) == halved.holds(carried.graph, precision)


def demand_alike(carried: Carried, one: Answers, other: Answers) -> None:
    """Equal decisions, and a mean difference below the widest that equivalence allows, or a fifth of that of pictures.

    A network of a dozen steps makes more of single roundings than a trained one: in one of the cover, onnxruntime
    differs from itself by 0.0105 on one CPU. That its operators are right is for the test of each alone to say.
    """
    for hop in carried.hops(one, other):
        spread = float(carried.plain[hop.tensor].std(axis=0).mean())
        assert hop.mean_abs <= max(numerics.EQUIVALENCE.widest_mean_abs, 0.2 * spread), hop
        assert hop.labels_equal is not False, hop


@pytest.mark.slow
@pytest.mark.parametrize("combination", with_product(cover()), ids=str)
def test_a_network_learns_quantizes_keeps_the_contract_and_answers_alike_in_every_form(
    combination: Combination, tmp_path: Path
) -> None:
    # One test, not six: whichever worker has it carries the network all the way, once.
    carried = Carried(combination, tmp_path)
    steps_lower_the_loss_on_a_fixed_batch(carried)
    every_parameter_is_taught(carried)
    quantization_aware_training_goes_on_where_float_training_ended(carried)
    the_integer_network_keeps_the_contract_with_nothing_left_in_float(carried)
    onnxruntime_computes_what_the_converted_network_computes(carried)
    each_operator_alone_computes_onnxruntimes_integers(carried)
    the_uint8_twin_holds_the_same_network_and_answers_alike(carried)
    a_tflite_file_holds_the_same_integers_and_answers_alike(carried)
    a_core_ml_package_holds_the_same_integers(carried)


@pytest.mark.slow
@pytest.mark.parametrize("combination", with_product(first_of_their_kind(cover())), ids=str)
def test_its_float_form_keeps_the_contract_too_and_computes_the_same_in_every_engine(
    combination: Combination, tmp_path: Path
) -> None:
    carried = Carried(combination, tmp_path)
    graph, target = carried.float_graph, TfliteTarget()
    assert lint.lint_float(carried.fp32) == ()
    fp32, fp16 = (target.build(graph, precision, carried.place(precision)) for precision in ("fp32", "fp16"))
    assert target.read(fp32) == carried.fp32
    assert target.read(fp16) == halve_weights(carried.fp32)
    for precision in ("fp32", "fp16"):
        package = CoremlTarget().build(graph, precision, carried.place(f"coreml-{precision}"))
        assert CoremlTarget().read(package) == CoremlTarget().holds(graph, precision)
    expected = carried.in_torch(carried.learnt[0])
    for session, tolerance in (
        (reference_session(graph.fp32), 1e-4),
        (target.open(fp32), 1e-4),
        (target.open(fp16), 0.03),
    ):
        found = session.run(*carried.bytes)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=f"{name} of {session}")
