"""From a finished run to its Graph folder: the last thing that needs torch."""

import itertools
from collections.abc import Callable, Mapping, Sequence
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
from edgeskin.contract.image import letterbox
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.data.cases import data_list_sha256
from edgeskin.data.phantom import golden_photos
from edgeskin.errors import RunError
from edgeskin.export import golden
from edgeskin.export.quantize import convert, snap_biases
from edgeskin.export.trace import trace
from edgeskin.graph import lint
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network, Sigmoid, Softmax
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import optimised_session, reference_session
from edgeskin.train.checkpoint import RunRecord, read_run
from edgeskin.train.networks import float_network, trained_network

Logits = Callable[[Tensor], Sequence[Tensor]]
Outputs = Mapping[str, npt.NDArray[np.float32]]

FAKE_QUANTIZED = "fake-quantized"
SNAPPED = "biases on their grid"


def graph_from_run(run: Path, folder: Path) -> Graph:
    """Trace, quantize and lint a finished run, and put its Graph folder in the place of `folder`.

    Raises: RunError where the run is not finished or was changed; ContractError where the quantized network breaks the
    QAT contract; GraphError where an operator cannot be exported.
    """
    record = read_run(run)
    if not record.finished:
        raise RunError(f"{run}: training is not finished. Go on with: edgeskin train … --run {run} --resume")
    recipe = record.recipe
    heads = recipe.head_specs()
    prepared = trained_network(run, record)
    weights = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in prepared.state_dict().items()
    }
    fp32 = trace(float_network(run, record), heads, recipe.network.size)
    lint.check_float(fp32)
    with files.new_folder(folder) as building:
        write_onnx(fp32, building / "fp32.onnx")
        photos = [phantom.image for phantom in golden_photos()]
        images = [letterbox(photo, recipe.network.size)[0] for photo in photos]
        chain = [("QAT weights, not quantized", _without_quantization(prepared, images, heads))]
        chain.append((FAKE_QUANTIZED, _answers(prepared, images, heads)))
        converted = convert(prepared)
        chain.append(("converted", _answers(converted, images, heads)))
        snap_biases(converted)
        chain.append((SNAPPED, _answers(converted, images, heads)))
        int8 = trace(converted, heads, recipe.network.size)
        lint.check(int8)
        write_onnx(int8, building / "int8.onnx")
        card = _card(record, int8)
        card.write(building / "model.json")
        run_float, run_int8 = (reference_session(building / name) for name in ("fp32.onnx", "int8.onnx"))
        golden.write(building / "golden", photos, card, run_float.run, run_int8.run)
        fast = optimised_session(building / "int8.onnx")
        plain, optimised = (
            numerics.concatenate([each.run(image[None]) for image in images]) for each in (run_int8, fast)
        )
        chain.append(("int8.onnx", plain))
        hops = _hops(chain, card, numerics.engine_gaps(optimised, plain, card))
        files.write_json(building / "chain.json", [hop.model_dump(mode="json") for hop in hops])
        files.write_bytes(building / "checkpoint.safetensors", safetensors.torch.save(weights))
        files.write_json(building / "evidence.json", [])
    return Graph.open(folder)


def _answers(network: Logits, images: Sequence[npt.NDArray[np.uint8]], heads: Sequence[HeadSpec]) -> Outputs:
    """Probabilities of a torch network on the golden inputs, eight at a time."""
    answers = []
    with torch.no_grad():
        for start in range(0, len(images), 8):
            pixels = torch.from_numpy(np.stack(images[start : start + 8]))
            logits = network((pixels.float() - 128) / 128)
            tails = (
                torch.softmax(values, 1) if head.kind == "softmax" else torch.sigmoid(values)
                for head, values in zip(heads, logits, strict=True)
            )
            answers.append({head.name: values.numpy() for head, values in zip(heads, tails, strict=True)})
    return numerics.concatenate(answers)


def _without_quantization(
    prepared: torch.fx.GraphModule, images: Sequence[npt.NDArray[np.uint8]], heads: Sequence[HeadSpec]
) -> Outputs:
    prepared.apply(disable_fake_quant)
    answers = _answers(prepared, images, heads)
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


def _card(record: RunRecord, int8: Network) -> ModelCard:
    recipe = record.recipe
    heads = tuple(
        head.model_copy(update={"threshold": record.thresholds[head.name]}) if head.name in record.thresholds else head
        for head in recipe.head_specs()
    )
    tail = tuple(
        node.name for node in int8.nodes if node.output in int8.outputs and isinstance(node.operator, Sigmoid | Softmax)
    )
    return ModelCard(
        name=recipe.card.name,
        version=__version__,
        size=recipe.network.size,
        heads=heads,
        cleanup=recipe.cleanup,
        float_tail=tail,
        intended_use=recipe.card.intended_use,
        licence=recipe.card.licence,
        provenance=Provenance(
            recipe=recipe.name,
            recipe_sha256=record.recipe_sha256,
            data=(record.dataset,),
            data_list_sha256=data_list_sha256(record.train_ids),
            select_ids=record.select_ids,
            seed=recipe.seed,
            edgeskin_version=record.edgeskin_version,
            notes=recipe.card.notes,
        ),
    )
