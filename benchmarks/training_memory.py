"""Peak memory of a training step of every shipped recipe, float and quantization-aware, at batch 16 and 224².

    python benchmarks/training_memory.py [RECIPE …] [--json FILE]

Each phase runs in a process of its own, on random pictures, one thread. The figure is the most that the whole process
ever held: Python and torch, for the quantization-aware phase also its preparation, then two steps, the second of which
has the optimizer's moments beside the gradients. Decoded images, and a teacher where a recipe has one, come on top.
More than 6 GiB anywhere, or a figure that could not be measured, is exit code 1.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeskin import files, optional, shipped
from edgeskin.benchmarks.memory import high_water_mib

if TYPE_CHECKING:
    from edgeskin.train.checkpoint import PhaseName
    from edgeskin.train.loader import Batch
    from edgeskin.train.recipe import Recipe

LIMIT_MIB = 6 * 1024
PHASES: "tuple[PhaseName, ...]" = ("float", "qat")
STEPS = 2


@dataclass(frozen=True)
class Figure:
    """Of one phase of one recipe. peak_mib: None where the process died or the system does not tell."""

    recipe: str
    phase: "PhaseName"
    peak_mib: float | None

    @property
    def holds(self) -> bool:
        """Whether it is within the limit; what was not measured is not."""
        return self.peak_mib is not None and self.peak_mib <= LIMIT_MIB


def chosen(name: str, size: int = 224, batch: int = 16) -> "Recipe":
    """A recipe, at the size and batch that all are compared at."""
    from edgeskin.train import recipe

    overrides = (f"network.size={size}", f"float.batch={batch}", f"qat.batch={batch}")
    return recipe.read(shipped.find("recipes", name), overrides)


def random_batch(chosen: "Recipe", count: int) -> "Batch":
    """Pictures of noise, any masks, labels and fields."""
    import torch

    from edgeskin.train.loader import Batch
    from edgeskin.train.networks import metadata_width

    size, width = chosen.network.size, metadata_width(chosen)
    random = torch.Generator().manual_seed(0)
    image = torch.rand(count, 3, size, size, generator=random) * 2 - 1
    mask = (torch.rand(count, 1, size, size, generator=random) > 0.5).float()
    labels = {
        head.name: torch.randint(0, max(2, len(head.labels)), (count,), generator=random)
        for head in chosen.head_specs()
        if head.kind != "mask"
    }
    fields = []
    if width is not None:
        complete = torch.rand(count, width, generator=random)
        hidden = (torch.rand(count, width, generator=random) > 0.7).float()
        fields = [complete * (1 - hidden), complete, hidden]
    return Batch(image.contiguous(memory_format=torch.channels_last), mask, torch.ones(count), labels, *fields)


def take_steps(chosen: "Recipe", phase: "PhaseName") -> float:
    """Two steps of a phase with all that training keeps between them; the sum of the last losses."""
    import torch

    from edgeskin.train.balance import balance_for
    from edgeskin.train.networks import build_network, prepared_network
    from edgeskin.train.objective import objective_for
    from edgeskin.train.phase import Trainer

    heads = chosen.head_specs()
    settings = chosen.float_phase if phase == "float" else chosen.qat
    module = build_network(chosen).train() if phase == "float" else prepared_network(chosen, None)
    weights = {head.name: torch.ones(max(2, len(head.labels))) for head in heads if head.kind != "mask"}
    objective = objective_for(chosen, heads, weights, settings, module)
    masks = [head.name for head in heads if head.kind == "mask"]
    balance = balance_for(chosen.balance, objective.tasks, masks)
    trainer = Trainer(module, settings, STEPS, torch.device("cpu"), balance)
    last: list[float] = []
    trainer.run_epoch(
        (random_batch(chosen, settings.batch) for _ in range(STEPS)),
        objective,
        (1,),
        lambda losses: last.append(sum(losses.values())),
        mixed_precision=False,
    )
    return last[-1]


def measure(name: str, phase: "PhaseName") -> Figure:
    """For a process of its own."""
    optional.require("torchao")
    optional.require("torch").set_num_threads(1)
    take_steps(chosen(name), phase)
    return Figure(name, phase, high_water_mib())


def measured(names: Sequence[str]) -> Iterator[Figure]:
    """Both phases of each recipe, one process after the other."""
    for name in names:
        for phase in PHASES:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                try:
                    yield pool.submit(measure, name, phase).result()
                except BrokenProcessPool:  # killed, as for want of memory
                    yield Figure(name, phase, None)


def row(figure: Figure) -> str:
    """One line of the table."""
    peak = "not measured" if figure.peak_mib is None else f"{figure.peak_mib / 1024:.2f}"
    return f"| {figure.recipe} | {figure.phase} | {peak} | {'yes' if figure.holds else '**no**'} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print each figure as it comes, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="shipped names or paths; by default all shipped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too, in MiB")
    given = parser.parse_args(arguments)
    names = given.recipes or sorted(path.stem for path in shipped.folder("recipes").glob("*.toml"))
    print("| recipe | phase | peak, GiB | at most 6 |", "|---|---|---|---|", sep="\n")
    figures = []
    for figure in measured(names):
        figures.append(figure)
        print(row(figure), flush=True)
    if given.json is not None:
        files.write_json(given.json, {"limit_mib": LIMIT_MIB, "figures": [asdict(figure) for figure in figures]})
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
