"""What the two phases of training do differently with the module they train."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import fx, nn

from edgeskin.train import qat
from edgeskin.train.checkpoint import PhaseName
from edgeskin.train.recipe import QatPhase


class Mode(Protocol):
    """How a module is put into training and into evaluation, and which epochs may be kept."""

    @property
    def name(self) -> PhaseName:
        """The phase."""
        ...

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    def begin_training(self, epoch: int, /) -> None:
        """Before epoch number `epoch`, from 0."""
        ...

    def begin_evaluation(self) -> None:
        """Before the running average, which the module now holds, is measured."""
        ...

    def may_be_best(self, epoch: int, /) -> bool:
        """Whether what epoch number `epoch` left behind may be exported."""
        ...


@dataclass(frozen=True)
class FloatMode:
    """An ordinary module."""

    module: nn.Module
    name: Literal["float"] = "float"

    def begin_training(self, _epoch: int, /) -> None:
        """Every epoch is like the first."""
        self.module.train()

    def begin_evaluation(self) -> None:
        """Dropout off, batch norm on its statistics."""
        self.module.eval()

    def may_be_best(self, _epoch: int, /) -> bool:
        """Every epoch."""
        return True


@dataclass(frozen=True)
class QatMode:
    """A fake-quantized module, whose ranges and batch-norm statistics stand still towards the end."""

    module: fx.GraphModule
    phase: QatPhase
    name: Literal["qat"] = "qat"

    def begin_training(self, epoch: int, /) -> None:
        """Freeze what is due."""
        qat.to_training(self.module)
        if self._observers_stand_still(epoch):
            qat.freeze_observers(self.module)
        if self._batch_norm_stands_still(epoch):
            qat.freeze_batch_norm(self.module)

    def begin_evaluation(self) -> None:
        """Exactly what would be exported: ranges frozen, scales in fp16; `select` teaches no observer anything."""
        qat.to_evaluation(self.module)
        qat.freeze_observers(self.module)

    def may_be_best(self, epoch: int, /) -> bool:
        """Only what was trained as it will run: ranges and statistics frozen; the last epoch where none was."""
        frozen = self._observers_stand_still(epoch) and self._batch_norm_stands_still(epoch)
        return frozen or epoch == self.phase.epochs - 1

    def _observers_stand_still(self, epoch: int, /) -> bool:
        return epoch >= self.phase.freeze_observers * self.phase.epochs

    def _batch_norm_stands_still(self, epoch: int, /) -> bool:
        return epoch >= self.phase.freeze_batch_norm * self.phase.epochs
