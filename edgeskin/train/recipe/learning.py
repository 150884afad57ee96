"""How a recipe learns: phases, optimizers, schedules, the balance between tasks, what an epoch shows, a teacher."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from edgeskin.contract.model import Frozen, Name

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Schedule(Frozen):
    """The learning rate over a phase, as a share of its peak.

    kind: `cosine` (half a cosine to zero), `step` (× gamma every `every` epochs), `plateau` (× gamma when `select` has
    not improved for `every` epochs), `exponential` (down to gamma at the end, evenly on a logarithmic axis) or
    `constant`; each after a linear warm-up.
    """

    kind: Literal["cosine", "step", "plateau", "exponential", "constant"] = "cosine"
    every: PositiveInt = 15
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Schedule":
        if self.kind not in ("step", "plateau") and self.every != Schedule.model_fields["every"].default:
            raise ValueError(f"every is for step and plateau; {self.kind} has no use for it")
        if self.kind in ("cosine", "constant") and self.gamma != Schedule.model_fields["gamma"].default:
            raise ValueError(f"gamma is for step, plateau and exponential; {self.kind} has no use for it")
        return self


class Phase(Frozen):
    """One phase of training.

    learning_rate: the peak, reached after `warmup` (a share of all steps). encoder_rate: learning rate of the encoder
    relative to it. momentum: of SGD. weight_decay: without it 0.02 in AdamW, and 0 in Adam and SGD, where decay is part
    of the gradient. ema: decay per step of the running average of weights, which is what is evaluated and kept.
    patience: epochs without a better `select` score after which the phase ends early.
    """

    epochs: PositiveInt
    batch: Annotated[int, Field(ge=2, le=4096)] = 16
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: Fraction = 0.9
    learning_rate: Positive = 1e-3
    schedule: Schedule | None = None
    encoder_rate: Positive = 0.3
    weight_decay: Weight | None = None
    warmup: Fraction = 0.1
    ema: Fraction = 0.998
    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    patience: PositiveInt | None = None

    @property
    def decay(self) -> float:
        """The weight decay, its default filled in."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 0.02 if self.optimizer == "adamw" else 0.0


class QatPhase(Phase):
    """The quantization-aware phase, starting from the best float epoch.

    freeze_observers, freeze_batch_norm: from this share of the epochs on, ranges and statistics stand still.
    """

    learning_rate: Positive = 1e-4
    freeze_observers: Fraction = 0.5
    freeze_batch_norm: Fraction = 0.6


class Balance(Frozen):
    """How the heads' losses are weighed against each other, beside each head's own weight.

    kind: `alpha` (alpha times the mask loss, 1 − alpha times the rest; papers/unet_multitask_thesis.txt), `uncertainty`
    (learnt log-variances) or `average` (dynamic weight average, `temperature`).
    """

    kind: Literal["alpha", "uncertainty", "average"]
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.8
    temperature: Positive = 2.0

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Balance":
        for name, kind in (("alpha", "alpha"), ("temperature", "average")):
            if self.kind != kind and getattr(self, name) != Balance.model_fields[name].default:
                raise ValueError(f"{name} is for kind = {kind!r}; {self.kind} has no use for it")
        return self


class Sampling(Frozen):
    """What an epoch shows.

    kind: `balanced` draws every class of `head` equally often; `counts` shows a case of a class so many times, each
    time otherwise augmented (papers/joint_reverse_mtl_2024.txt, section 3.2: 16 for melanoma, 4 for benign).
    counts: class -> times; a sigmoid head's classes are called `no` and `yes`. Classes not named count once.
    """

    kind: Literal["balanced", "counts"]
    head: Name
    counts: dict[str, PositiveInt] = Field(default_factory=dict)


class Distillation(Frozen):
    """Teachers: float networks whose answers are learnt beside the truth.

    run: the run folder of one, usually larger. It must have every head of ours by name and labels. folds: without a
    run, so many networks of this very recipe are trained first, each on all training images but one part of them, and
    answers for that part, which it has not learnt by heart (cross-fitting: Dao et al. 2021, Knowledge distillation as
    semiparametric inference, section 4); thresholds are chosen by these answers too, in place of `select`. epochs: of
    each of these; without it as many as the float phase has. weight: of the teacher's loss beside that of the truth,
    head by head. temperature: of a softmax head.
    """

    run: str | None = None
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    epochs: PositiveInt | None = None
    weight: Positive = 0.5
    temperature: Positive = 2.0

    @model_validator(mode="after")
    def _one_source(self) -> "Distillation":
        if (self.run is None) == (self.folds is None):
            raise ValueError("write either run, the folder of a teacher, or folds, how many are to be trained first")
        if self.epochs is not None and self.folds is None:
            raise ValueError("epochs is for folds; the teacher of a run is trained already")
        return self
