"""Training in several processes, one a device, which together compute what one process would.

    torchrun --nproc-per-node 2 --no-python -- edgeskin train RECIPE --data DIR      # -- or it takes --run for its own

Every process holds the whole network and takes its share of each global batch, in the order and with the pixels that
one process would see. A loss is the mean over all cases of the global batch that carry the label, wherever they are, so
the sum of the processes' gradients is the gradient of that batch. Ranges are those of the global batch at every forward
pass, and statistics of batch norm are averaged after every step: between steps all processes hold the same network. The
first one alone evaluates, averages weights and touches the run folder; what it decides is told to the others.

Two things differ from one process: a batch norm that is not yet frozen normalises by its own share (a synchronised one
would be an operator that no exported graph has), and dropout draws its own masks.

torch.distributed itself, not Lightning Fabric: torchrun launches either way, and what Fabric adds, DDP, averages the
processes' means, which is wrong where labels are missing, and replaces every process's ranges and statistics by the
first's; it costs a dozen packages. A mobile network's gradients are some 10 MB, too few to be worth sending while
others are still computed.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, fx, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torchao.quantization.pt2e import FixedQParamsFakeQuantize

from edgeskin.errors import EdgeskinError, RecipeError, RunError
from edgeskin.train import qat
from edgeskin.train.recipe import Recipe

STATISTICS = ("running_mean", "running_var")
"""How the buffers of a batch norm end; names decide, before and after quantization is prepared."""

GROUPS = itertools.count()
"""How often this process has joined others; theirs count alike, because they run the same program."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Failure:
    """Sent instead of a decision; as a sentence, because not every error of ours survives pickling."""

    message: str


@dataclass(frozen=True)
class Processes:
    """One process among those that train together: its rank, how many there are, its device. Alone by default."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this one evaluates, writes and speaks."""
        return self.rank == 0

    def share(self, batch: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Its part of a global batch: equal, contiguous, in its order."""
        return np.split(batch, self.count)[self.rank]

    def seed(self, seed: Sequence[int]) -> tuple[int, ...]:
        """A seed of this process's own; the first has the seed itself, so that one alone is as ever."""
        return tuple(seed) if self.first else (*seed, self.rank)

    def mean(self, mean: Tensor, cases: Tensor) -> Tensor:
        """The mean over all processes' cases; its gradient is this process's part, so that gradients add up.

        mean: over this process's `cases`, a count; both scalars. It is 0 where nobody has a case, and the same number
        in every process. Raises: RuntimeError from torch where another process has gone.
        """
        if self.count == 1:
            return mean
        own = mean.float() * cases
        sums = torch.stack([own.detach(), cases.to(own)])
        distributed.all_reduce(sums)
        everyone = sums[1].clamp_min(1)
        part = own / everyone
        return sums[0] / everyone + (part - part.detach())

    @torch.no_grad()
    def combine(self, module: nn.Module, balance: nn.Module) -> None:
        """After the backward pass: the gradients of the global batch, and the mean of batch norm's statistics.

        balance: its parameters have the global losses' gradient in every process already.
        """
        if self.count == 1:
            return
        parts = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        alike = [parameter.grad for parameter in balance.parameters() if parameter.grad is not None]
        alike += [buffer for name, buffer in module.named_buffers() if name.endswith(STATISTICS)]
        flat = torch.cat([part.reshape(-1) for part in parts] + [each.reshape(-1) / self.count for each in alike])
        distributed.all_reduce(flat)
        _scatter(flat, [*parts, *alike])

    def synchronise_ranges(self, prepared: fx.GraphModule) -> None:
        """From now on an activation's range is what one process would have observed of the global batch.

        A moving average of ends grows with the newest end, so the widest of the processes' averages is the average
        of the widest ends. It is taken between observing and quantizing; an observer at rest does not communicate.
        """
        if self.count == 1:
            return
        for module in qat.fake_quantizers(prepared):
            if isinstance(module, FixedQParamsFakeQuantize) or module.is_per_channel:
                continue
            module.activation_post_process.register_forward_hook(_widest)

    @torch.no_grad()
    def equalise(self, module: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.count == 1:
            return
        for tensor in module.state_dict().values():
            sent = tensor.contiguous()
            distributed.broadcast(sent, 0)
            tensor.copy_(sent)

    def agree(self, decide: Callable[[], T]) -> T:
        """What the first process decides; the others do not call `decide`, and fail where it does.

        Raises: EdgeskinError as `decide` does.
        """
        if self.count == 1:
            return decide()
        if not self.first:
            heard: list[T | _Failure] = [_Failure("")]
            distributed.broadcast_object_list(heard, 0)
            if isinstance(heard[0], _Failure):
                raise EdgeskinError(heard[0].message)
            return heard[0]
        try:
            decided = decide()
        except EdgeskinError as error:
            distributed.broadcast_object_list([_Failure(str(error))], 0)
            raise
        distributed.broadcast_object_list([decided], 0)
        return decided

    def demand_even_batches(self, recipe: Recipe) -> None:
        """Raises: RecipeError where a phase's batch cannot be shared evenly, two cases each at least."""
        problems = [
            f"{key}.batch is {phase.batch}; {self.count} processes need a multiple of {self.count}, "
            f"at least {2 * self.count}"
            for key, phase in (("float", recipe.float_phase), ("qat", recipe.qat))
            if self.count > 1 and (phase.batch % self.count or phase.batch < 2 * self.count)
        ]
        if problems:
            raise RecipeError(recipe.name, problems)


def _scatter(flat: Tensor, places: Sequence[Tensor]) -> None:
    for place, values in zip(places, torch.split(flat, [place.numel() for place in places]), strict=True):
        place.copy_(values.view(place.shape))


def _widest(observer: nn.Module, _inputs: object, _output: object) -> None:
    low, high = observer.get_buffer("min_val"), observer.get_buffer("max_val")
    ends = torch.stack([-low, high])
    distributed.all_reduce(ends, distributed.ReduceOp.MAX)
    low.copy_(-ends[0])
    high.copy_(ends[1])


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """One process among those that torchrun started, or alone; they part at the end.

    device: of the kind to train on; where that is a GPU, each process takes one of its own.

    Raises: RunError where torchrun started more processes here than there are GPUs.
    """
    if not distributed.is_torchelastic_launched():
        yield Processes(device=device)
        return
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if local >= gpus:
            raise RunError(
                f"torchrun started {os.environ['LOCAL_WORLD_SIZE']} processes here, torch finds {gpus} GPUs: give "
                f"torchrun --nproc-per-node {gpus}, or edgeskin --device cpu"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    # Under a name of its own: a second group would find the first one's addresses, whose sockets are closed.
    store, _, _ = next(iter(rendezvous("env://")))
    named = PrefixStore(f"edgeskin-{next(GROUPS)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=named, rank=rank, world_size=count)
    try:
        yield Processes(rank, count, device)
    finally:
        distributed.destroy_process_group()
