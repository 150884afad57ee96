"""A recipe's network as facts: its parts, what they cost, how they hang together, what an export drops."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgeskin.models.count import PartCost, count
from edgeskin.models.multitask import MultiTask
from edgeskin.train.describe.description import Description, HeadFacts, Input, Link, Part, Total
from edgeskin.train.describe.parts import Plan, Planner
from edgeskin.train.networks import build_network
from edgeskin.train.recipe import Recipe

__all__ = ["Description", "HeadFacts", "Input", "Link", "Part", "Total", "describe"]


class _Ordered(nn.Module):
    """A network whose children are the parts of a plan; it itself is none of them."""

    def __init__(self, network: MultiTask, plans: Sequence[Plan]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.ModuleList(plan.modules) for plan in plans)
        self.whole = (network,)

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, ...]:
        """Run the network, and what training alone runs."""
        (network,) = self.whole
        answers: tuple[Tensor, ...] = network(image, metadata)
        if "super_resolution" in network.auxiliary:
            features = answers[len(network.order) + network.taps.index("features")]
            return (*answers, network.auxiliary["super_resolution"](features))
        return answers


def describe(recipe: Recipe) -> Description:
    """The network of a recipe for one image.

    It is built and run on torch's meta device, so nothing is computed; multiply-adds are those that `models.count`
    counts.
    """
    size = recipe.network.size
    metadata = None if recipe.metadata is None else recipe.metadata.spec()
    with torch.device("meta"):
        network = build_network(recipe).eval()
        example = (torch.empty(1, 3, size, size), *(() if metadata is None else (torch.empty(1, metadata.width),)))
    planner = Planner(recipe, network, example[0])
    plans = planner.plans()
    costs = count(_Ordered(network, plans), *example)
    parts = _parts(plans, costs, {f"head {name}" for name in network.order})
    inputs: tuple[Input, ...] = (Input("image", (3, size, size)),)
    if metadata is not None:
        inputs += (Input("metadata", (metadata.width,), metadata.slots),)
    return Description(
        recipe=recipe.name,
        network=recipe.card.name,
        inputs=inputs,
        parts=parts,
        links=planner.links(plans),
        heads=_heads(recipe),
        taps=network.taps,
        exported=Total(
            sum(part.parameters for part in parts if part.exported),
            sum(part.multiply_adds - part.dropped_multiply_adds for part in parts if part.exported),
        ),
        training_only=Total(
            sum(part.parameters for part in parts if not part.exported),
            sum(part.dropped_multiply_adds if part.exported else part.multiply_adds for part in parts),
        ),
    )


def _parts(plans: Sequence[Plan], costs: Sequence[PartCost], answers: set[str]) -> tuple[Part, ...]:
    own: list[list[PartCost]] = [[] for _ in plans]
    for cost in costs:
        own[int(cost.name.split(".")[1])].append(cost)
    multiply_adds = {plan.name: sum(cost.multiply_adds for cost in own[index]) for index, plan in enumerate(plans)}
    dropped: dict[str, int] = {}
    for index, plan in enumerate(plans):
        if plan.again is not None:
            # Both runs are of the same layers on maps of the same size.
            second = _of_last_module(own[index]) // 2
            multiply_adds[plan.name] -= second
            multiply_adds[plan.again] += second
            if plan.again == "joint reverse" and "mask gate" not in multiply_adds:
                dropped[plan.name] = second  # only the gate reads the first run
    exported = _read_by(plans, answers)
    return tuple(
        Part(
            name=plan.name,
            kind=plan.kind,
            what=plan.what,
            reads=plan.reads,
            shapes=plan.shapes or tuple(shape[1:] for shape in own[index][-1].output_shapes),
            parameters=sum(cost.parameters for cost in own[index]),
            multiply_adds=multiply_adds[plan.name],
            exported=plan.name in exported,
            dropped_multiply_adds=dropped.get(plan.name, 0),
        )
        for index, plan in enumerate(plans)
    )


def _of_last_module(costs: Sequence[PartCost]) -> int:
    """Multiply-adds of the last of a part's modules, itself perhaps a list that `count` has opened."""
    last = costs[-1].name.split(".")[2]
    return sum(cost.multiply_adds for cost in costs if cost.name.split(".")[2] == last)


def _read_by(plans: Sequence[Plan], answers: set[str]) -> set[str]:
    """The parts that `answers` are made from, themselves included."""
    found, by_name = set[str](), {plan.name: plan for plan in plans}
    pending = [name for name in answers if name in by_name]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [read for read in by_name[name].reads if read in by_name]
    return found


def _heads(recipe: Recipe) -> tuple[HeadFacts, ...]:
    return tuple(
        HeadFacts(
            name=name,
            part="super-resolution" if head.auxiliary else f"head {name}",
            kind=head.kind,
            labels=() if head.auxiliary else head.spec(name).labels,
            loss=head.loss_name(),
            weight=head.weight,
            exported=not head.auxiliary,
        )
        for name, head in recipe.heads.items()
    )
