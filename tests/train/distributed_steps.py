"""What the tests of several processes compute: the same words in one process and, by torchrun, in two.

torchrun --standalone --nproc-per-node 2 distributed_steps.py FOLDER RECIPE DATA [KEY=VALUE …]
"""

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # for torchrun, which knows no pytest
from small_network import HEADS, Small, images

from edgeskin.errors import EdgeskinError, RunError
from edgeskin.train import qat, recipe
from edgeskin.train.balance import UncertaintyBalance
from edgeskin.train.distill import Teacher
from edgeskin.train.distributed import Processes, joined
from edgeskin.train.loader import Batch
from edgeskin.train.loop import Places, train
from edgeskin.train.objective import Enlargement, Objective
from edgeskin.train.phase import Trainer
from edgeskin.train.recipe import Phase

COUNT = 8
CPU = torch.device("cpu")
Figures = dict[str, Tensor]


def batch(processes: Processes) -> Batch:
    """A process's share of one global batch. Of its two halves one has a single label, the other four."""
    generator = torch.Generator().manual_seed(1)
    masks = (torch.rand(COUNT, 1, 16, 16, generator=generator) > 0.5).float()
    present = torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0])
    labels = torch.tensor([1, -1, -1, -1, 0, 1, 0, 1])
    told = torch.rand(COUNT, 4, generator=generator)
    hidden = (torch.rand(COUNT, 4, generator=generator) > torch.linspace(0.9, 0.2, COUNT)[:, None]).float()
    mine = torch.from_numpy(processes.share(torch.arange(COUNT).numpy()))
    return Batch(
        images(COUNT)[mine],
        masks[mine],
        present[mine],
        {"melanoma": labels[mine]},
        complete=told[mine],
        hidden=hidden[mine],
    )


class Everything(nn.Module):
    """A network with all auxiliary tasks, its batch norm frozen, without dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.small = Small()
        self.enlarge = nn.Sequential(nn.Conv2d(8, 48, 1), nn.PixelShuffle(4))
        self.impute = nn.Linear(8, 4)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits, what is enlarged, what is imputed."""
        x = self.small.stem(image)
        return (*self.small(image), x, self.impute(x.mean((2, 3))))


def plain_objective(processes: Processes) -> Objective:
    return Objective(
        HEADS, {"mask": 1.0, "melanoma": 2.0}, {"melanoma": torch.tensor([1.0, 3.0])}, across=processes.mean
    )


def gradient(processes: Processes) -> Figures:
    """Every loss and every gradient of the fixed global batch, with all tasks and a teacher."""
    network = Everything()
    torch.manual_seed(7)
    objective = Objective(
        HEADS,
        {"mask": 1.0, "melanoma": 2.0, "finer": 0.5},
        {"melanoma": torch.tensor([1.0, 3.0])},
        enlargement=Enlargement("finer", network.enlarge),
        imputes=True,
        teacher=Teacher((Small().eval(),), ("mask", "melanoma"), 0.5, 2.0),
        across=processes.mean,
    )
    balance = UncertaintyBalance(objective.tasks)
    own = batch(processes)
    losses = objective(network(own.image), own)
    torch.autograd.backward(balance(losses))
    processes.combine(network, balance)
    found = {f"loss.{name}": loss.detach() for name, loss in losses.items()}
    for module in (network, balance):
        found |= {f"gradient.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found


def steps(module: nn.Module, processes: Processes) -> Trainer:
    """Three steps of gradient descent on the global batch."""
    phase = Phase(epochs=1, optimizer="sgd", learning_rate=0.05, warmup=0.0)
    trainer = Trainer(module, phase, 3, CPU, processes=processes)
    trainer.run_epoch(
        iter([batch(processes)] * 3), plain_objective(processes), (1,), lambda _: None, mixed_precision=False
    )
    return trainer


def float_steps(processes: Processes) -> Figures:
    """The state after three steps in float, batch norm frozen."""
    torch.manual_seed(0)
    trainer = steps(Small().eval(), processes)
    return {**trainer.module.state_dict(), "averaged": torch.tensor(trainer.average.steps)}


def quantized_steps(processes: Processes) -> Figures:
    """The state, ranges among it, after three fake-quantized steps with moving ranges and frozen batch norm."""
    torch.manual_seed(0)
    prepared = qat.prepare(Small(), images(2))
    qat.to_evaluation(prepared)
    processes.synchronise_ranges(prepared)
    return dict(steps(prepared, processes).module.state_dict())


def unfrozen_steps(processes: Processes) -> Figures:
    """The state after three steps with batch norm and dropout in training."""
    torch.manual_seed(processes.rank)
    network = Small()
    processes.equalise(network)
    return dict(steps(network, processes).module.state_dict())


def statistics(processes: Processes) -> Figures:
    """Batch norm's statistics after one forward pass of the stem, before and after they were combined."""
    torch.manual_seed(0)
    network = Small()
    network.stem(batch(processes).image).sum().backward()
    own = {f"own.{name}": value.clone() for name, value in network.stem.norm.state_dict().items()}
    processes.combine(network, nn.Module())
    return own | {f"combined.{name}": value for name, value in network.stem.norm.state_dict().items()}


def joined_again(times: int) -> Tensor:
    """One process arrives late every time; how often they met."""
    met = 0
    for number in range(times):
        with joined(CPU) as processes:
            met += processes.agree(partial(int, number)) == number
        time.sleep(0.02 * processes.rank)
    return torch.tensor(met)


def decisions(processes: Processes) -> Mapping[str, str]:
    """What each process hears of a decision, and of one that fails."""

    def fail() -> str:
        raise RunError(f"process {processes.rank} cannot")

    heard = processes.agree(lambda: f"process {processes.rank} decided")
    try:
        processes.agree(fail)
    except EdgeskinError as error:
        return {"heard": heard, "failed": str(error)}
    return {"heard": heard, "failed": ""}


class StoppedError(Exception):
    """By the test."""


def stopped_and_resumed(folder: Path, path: Path, data: Path, overrides: tuple[str, ...]) -> None:
    """A whole run, given up after its first epoch and taken up again."""

    def stop(*_: object) -> None:
        raise StoppedError

    chosen, places = recipe.read(path, overrides), Places(path, data, folder, None)
    try:
        train(chosen, places, resume=False, device="cpu", on_epoch=stop)
    except StoppedError:
        train(chosen, places, resume=True, device="cpu")


def main(folder: Path, path: Path, data: Path, *overrides: str) -> None:
    """Everything, into `<rank>.pt`; the run into `run`."""
    torch.set_num_threads(1)
    with joined(CPU) as processes:
        found: dict[str, object] = {
            each.__name__: each(processes)
            for each in (gradient, float_steps, quantized_steps, unfrozen_steps, statistics, decisions)
        }
    found["joined_again"] = joined_again(10)
    torch.save(found, folder / f"{processes.rank}.pt")
    stopped_and_resumed(folder / "run", path, data, overrides)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
