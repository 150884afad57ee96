"""From a finished run to its Graph folder: the last thing that needs torch."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor
from torchao.quantization.pt2e import disable_fake_quant, enable_fake_quant

from edgeskin import __version__, files
from edgeskin.benchmarks import numerics
from edgeskin.benchmarks.measurements import EngineGap, NumericsHop
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.contract.preprocess import demand_portable
from edgeskin.contract.region import SecondPass
from edgeskin.contract.second_pass import joined, second_view
from edgeskin.data.cases import data_list_sha256
from edgeskin.data.phantom import golden_photos
from edgeskin.errors import RunError
from edgeskin.export import golden
from edgeskin.export.golden import Inputs
from edgeskin.export.quantize import convert, snap_biases
from edgeskin.export.subjects import Subject, subjects
from edgeskin.export.trace import trace
from edgeskin.graph import lint
from edgeskin.graph.folder import TRAINING_IDS, TRAINING_PRINTS, Graph
from edgeskin.graph.ir import Network, Sigmoid, Softmax
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Session
from edgeskin.targets.onnx import optimised_session, reference_session
from edgeskin.train.checkpoint import RunRecord, read_run
from edgeskin.train.networks import float_network, trained_network

Logits = Callable[..., Sequence[Tensor]]
"""A torch network: image, and metadata where it takes it -> logits of every head, then what only training wants."""
Outputs = Mapping[str, npt.NDArray[np.float32]]
Answer = Callable[[Sequence[Inputs]], Outputs]
"""One pass of any form of the network over many inputs."""

FAKE_QUANTIZED = "fake-quantized"
SNAPPED = "biases on their grid"


def graph_from_run(run: Path, folder: Path) -> Graph:
    """Trace, quantize and lint a finished run, and put its Graph folder in the place of `folder`.

    Raises: RunError where the run is not finished, was changed, or preprocesses as no device can; ContractError where
    the quantized network breaks the QAT contract; GraphError where an operator cannot be exported.
    """
    record = read_run(run)
    if not record.finished:
        raise RunError(f"{run}: training is not finished. Go on with: edgeskin train … --run {run} --resume")
    card = _card(record, str(run))
    heads, width = card.heads, None if card.metadata is None else card.metadata.width
    prepared = trained_network(run, record)
    weights = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in prepared.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    fp32 = trace(float_network(run, record), heads, card.size, width)
    lint.check_float(fp32)
    with files.new_folder(folder) as building:
        write_onnx(fp32, building / "fp32.onnx")
        photos = golden_photos()
        shown = _Shown.of(subjects(photos, card), card, partial(_answers, prepared, heads))
        chain = [("QAT weights, not quantized", _without_quantization(prepared, heads, shown))]
        chain.append((FAKE_QUANTIZED, shown.to(partial(_answers, prepared, heads))))
        converted = convert(prepared)
        chain.append(("converted", shown.to(partial(_answers, converted, heads))))
        snap_biases(converted)
        chain.append((SNAPPED, shown.to(partial(_answers, converted, heads))))
        int8 = trace(converted, heads, card.size, width)
        lint.check(int8)
        write_onnx(int8, building / "int8.onnx")
        card = card.model_copy(update={"float_tail": _float_tail(int8)})
        card.write(building / "model.json")
        run_float, run_int8 = (reference_session(building / name) for name in ("fp32.onnx", "int8.onnx"))
        golden.write(building / "golden", photos, card, run_float.run, run_int8.run)
        fast = optimised_session(building / "int8.onnx")
        plain, optimised = (shown.to(partial(_one_by_one, each)) for each in (run_int8, fast))
        chain.append(("int8.onnx", plain))
        hops = _hops(chain, card, numerics.engine_gaps(optimised, plain, card))
        files.write_json(building / "chain.json", [hop.model_dump(mode="json") for hop in hops])
        files.write_bytes(building / "checkpoint.safetensors", safetensors.torch.save(weights))
        files.write_json(building / "evidence.json", [])
        files.write_text(building / TRAINING_IDS, "\n".join(record.train_ids))
        if (run / TRAINING_PRINTS).is_file():
            files.copy(run / TRAINING_PRINTS, building / TRAINING_PRINTS)
        Graph.open(building).seal()
    return Graph.open(folder)


@dataclass(frozen=True, eq=False)
class _Shown:
    """What every form of the chain is run on: golden photos and, for a network that runs twice, its second views.

    seconds: of the lesions that the fake-quantized network found, since int8.onnx is not there yet; where it found
    none, the photo again.
    """

    firsts: Sequence[Inputs]
    seconds: Sequence[Inputs]
    second_pass: SecondPass | None

    @staticmethod
    def of(photos: Sequence[Subject], card: ModelCard, answer: Answer) -> "_Shown":
        """answer: of the network whose mask decides."""
        firsts = [(subject.image, subject.metadata) for subject in photos]
        if card.second_pass is None:
            return _Shown(firsts, (), None)
        outputs = answer(firsts)
        seconds: list[Inputs] = []
        for number, subject in enumerate(photos):
            own = {name: values[number : number + 1] for name, values in outputs.items()}
            view = second_view(own, card, subject.box, subject.image)
            seconds.append((subject.image if view is None else view, subject.metadata))
        return _Shown(firsts, seconds, card.second_pass)

    def to(self, answer: Answer) -> Outputs:
        """What a form of the network answers, each head in its own pass."""
        first = answer(self.firsts)
        return first if self.second_pass is None else joined(first, answer(self.seconds), self.second_pass)


def _one_by_one(session: Session, inputs: Sequence[Inputs]) -> Outputs:
    return numerics.concatenate([session.run(*one) for one in inputs])


def _answers(network: Logits, heads: Sequence[HeadSpec], inputs: Sequence[Inputs]) -> Outputs:
    """Probabilities of a torch network on the golden inputs, eight at a time."""
    answers = []
    with torch.no_grad():
        for start in range(0, len(inputs), 8):
            images, metadata = zip(*inputs[start : start + 8], strict=True)
            pixels = torch.from_numpy(np.concatenate(images))
            told = [torch.from_numpy(row) for row in metadata if row is not None]
            logits = network((pixels.float() - 128) / 128, *([torch.cat(told)] if told else []))
            tails = (
                torch.softmax(values, 1) if head.kind == "softmax" else torch.sigmoid(values)
                for head, values in zip(heads, logits[: len(heads)], strict=True)
            )
            answers.append({head.name: values.numpy() for head, values in zip(heads, tails, strict=True)})
    return numerics.concatenate(answers)


def _without_quantization(prepared: torch.fx.GraphModule, heads: Sequence[HeadSpec], shown: _Shown) -> Outputs:
    prepared.apply(disable_fake_quant)
    answers = shown.to(partial(_answers, prepared, heads))
    prepared.apply(enable_fake_quant)
    return answers


def _hops(chain: Sequence[tuple[str, Outputs]], card: ModelCard, gaps: Mapping[str, EngineGap]) -> list[NumericsHop]:
    """Each form against the one before it.

    Quantizing and snapping biases change the network by design, so those hops are shown, not judged.
    """
    hops: list[NumericsHop] = []
    for (before, reference), (after, other) in itertools.pairwise(chain):
        rule = None if after in (FAKE_QUANTIZED, SNAPPED) else numerics.EQUIVALENCE
        hops.extend(numerics.compare(f"{before} → {after}", reference, other, card, engine_gap=gaps, rule=rule))
    return hops


def _float_tail(int8: Network) -> tuple[str, ...]:
    return tuple(
        node.name for node in int8.nodes if node.output in int8.outputs and isinstance(node.operator, Sigmoid | Softmax)
    )


def _card(record: RunRecord, source: str) -> ModelCard:
    """All but the float tail, which the traced network has.

    source: the run, for the message. Raises: RunError for preprocessing that no device can repeat.
    """
    recipe = record.recipe
    heads = tuple(
        head.model_copy(update={"threshold": record.thresholds[head.name]}) if head.name in record.thresholds else head
        for head in recipe.head_specs()
    )
    return ModelCard(
        name=recipe.card.name,
        version=__version__,
        size=recipe.network.size,
        heads=heads,
        metadata=None if recipe.metadata is None else recipe.metadata.spec(),
        preprocessing=demand_portable(recipe.preprocessing, source),
        second_pass=recipe.second_pass,
        cleanup=recipe.cleanup,
        intended_use=recipe.card.intended_use,
        licence=recipe.card.licence,
        provenance=Provenance(
            recipe=recipe.name,
            recipe_sha256=record.recipe_sha256,
            data=tuple(record.dataset.split("+")),
            data_list_sha256=data_list_sha256(record.train_ids),
            select_ids=record.select_ids,
            seed=recipe.seed,
            edgeskin_version=record.edgeskin_version,
            notes=recipe.card.notes,
        ),
    )
