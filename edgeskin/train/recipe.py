"""The recipe: everything that decides how a network is trained, as one TOML file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, HeadSpec, MaskCleanup, Name, Probability

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class DataChoice(Frozen):
    """Which cases are trained on.

    dataset: the layout the data folder must have. exclude: a file of image ids, beside the recipe, that are left out.
    select: cases carved from the training split to choose epochs and thresholds, stratified by the first softmax head.
    """

    dataset: str
    exclude: str | None = None
    select: PositiveInt = 200


class NetworkChoice(Frozen):
    """The network's parts.

    start: `imagenet` (weights folder given at the command line), `random`, or the path of a torchvision state dict.
    decoder: channels after each decoder level, from stride 16 down: three end at stride 4, four at stride 2.
    """

    encoder: Literal["mobilenet_v2"] = "mobilenet_v2"
    width: Annotated[float, Field(ge=0.25, le=2)] = 1.0
    start: str = "imagenet"
    size: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 192
    decoder: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=4)] = (96, 64, 32, 16)
    dropout: Fraction = 0.2


class HeadChoice(Frozen):
    """One head: what it answers and how much it counts. Its truth stands in the column of labels.csv that has its name.

    weight: of its loss in the sum.
    class_weights: `balanced` weighs class c by N / (classes · n_c) (papers/unet_multitask_thesis.txt), `none` does not.
    target_sensitivity: the stored threshold is the highest that reaches it on `select`; without it the threshold
    maximises sensitivity + specificity there. A mask head's threshold is always 0.5.
    """

    kind: Literal["mask", "softmax", "sigmoid"]
    labels: tuple[str, ...] = ()
    weight: Positive = 1.0
    class_weights: Literal["balanced", "none"] = "balanced"
    target_sensitivity: Probability | None = None


class Augmentation(Frozen):
    """Random changes of every training image; ranges are drawn uniformly (scale and aspect on a logarithmic axis).

    flip: also all quarter turns. rotate: further degrees either way. scale: zoom. aspect: width over height, wide
    enough that geometry is no shortcut. bars: probability that what lies outside the photo is mid-grey, as behind a
    letterbox, rather than its mirror image. brightness, contrast, saturation: ± relative. hue: ± degrees.
    white_balance: ± relative gain a channel. blur: probability of a slight defocus.
    """

    flip: bool = True
    rotate: Annotated[float, Field(ge=0, le=180)] = 25
    scale: tuple[Positive, Positive] = (0.8, 1.3)
    aspect: tuple[Positive, Positive] = (0.7, 1.4)
    shift: Fraction = 0.08
    bars: Probability = 0.5
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.25
    hue: Annotated[float, Field(ge=0, le=180)] = 8
    white_balance: Fraction = 0.08
    blur: Probability = 0.1

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "Augmentation":
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}]; write the smaller number first")
        return self


class Phase(Frozen):
    """One phase of training.

    learning_rate: peak, reached after `warmup` (a share of all steps), then cosine down to zero.
    encoder_rate: learning rate of the encoder relative to it. ema: decay per step of the running average of weights,
    which is what is evaluated and kept.
    """

    epochs: PositiveInt
    batch: Annotated[int, Field(ge=2, le=4096)] = 16
    learning_rate: Positive = 1e-3
    encoder_rate: Positive = 0.3
    weight_decay: Weight = 0.02
    warmup: Fraction = 0.1
    ema: Fraction = 0.998
    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class QatPhase(Phase):
    """The quantization-aware phase, starting from the best float epoch.

    freeze_observers, freeze_batch_norm: from this share of the epochs on, ranges and statistics stand still.
    """

    learning_rate: Positive = 1e-4
    freeze_observers: Fraction = 0.5
    freeze_batch_norm: Fraction = 0.6


class CardText(Frozen):
    """What the model card says about the network that this recipe makes; `name` is what it is released as."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    intended_use: str
    licence: str
    notes: tuple[str, ...] = ()


class Recipe(Frozen):
    """A whole recipe. Keys unknown to it are errors."""

    format: Literal[1] = 1
    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    data: DataChoice
    network: NetworkChoice = NetworkChoice()
    heads: Annotated[dict[Name, HeadChoice], Field(min_length=1)]
    augment: Augmentation = Augmentation()
    float_phase: Annotated[Phase, Field(alias="float")]
    qat: QatPhase
    cleanup: MaskCleanup = MaskCleanup()
    card: CardText

    @model_validator(mode="after")
    def _heads_make_sense(self) -> "Recipe":
        problems: list[str] = []
        for name, head in self.heads.items():
            try:
                _spec(name, head)
            except ValidationError as error:
                problems += [str(item["ctx"]["error"]) for item in error.errors()]
            if head.target_sensitivity is not None and head.kind != "sigmoid":
                problems.append(f"heads.{name}.target_sensitivity is for sigmoid heads; {name} is a {head.kind} head")
        if sum(head.kind == "mask" for head in self.heads.values()) > 1:
            problems.append("heads: at most one mask head")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def head_specs(self) -> tuple[HeadSpec, ...]:
        """The heads as the network and the model card know them, thresholds still at one half."""
        return tuple(_spec(name, head) for name, head in self.heads.items())


def _spec(name: str, head: HeadChoice) -> HeadSpec:
    return HeadSpec(
        name=name,
        kind=head.kind,
        labels=head.labels or ("lesion" if head.kind == "mask" else name,),
        threshold=None if head.kind == "softmax" else 0.5,
    )


def read(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `key.path=value` overrides.

    Raises: RecipeError with every mistake at once.
    """
    table = declaration.load(path)
    for assignment in overrides:
        declaration.override(table, assignment, str(path))
    return declaration.validate(table, Recipe, str(path))
