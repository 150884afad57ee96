"""The heads of a recipe: what each answers, what it learns from, and how its loss is formed."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from edgeskin.contract.model import Frozen, HeadSpec, Probability
from edgeskin.train.recipe.learning import Positive, Weight

Loss = Literal["bce", "dice", "bce_dice", "dice_rank", "cross_entropy", "focal", "mse"]
LOSSES: dict[str, tuple[Loss, ...]] = {
    "mask": ("bce_dice", "bce", "dice", "dice_rank"),
    "softmax": ("cross_entropy", "focal"),
    "sigmoid": ("cross_entropy", "focal"),
    "super_resolution": ("mse",),
}
"""The losses each kind of head may have; the first is the default."""


class Rank(Frozen):
    """The rank loss beside Dice (papers/se_lcn_symmetry_cascade_2024.txt, section 4.1).

    weight: λ. hard_pixels: K, of lesion and of skin each, in every image. margin: m.
    """

    weight: Positive = 0.05
    hard_pixels: PositiveInt = 30
    margin: Annotated[float, Field(ge=0, le=1)] = 0.3


class HeadChoice(Frozen):
    """One head. Its truth stands in the column of labels.csv that has its name, or in `column`.

    kind: `super_resolution` is the auxiliary ×2 decoder; it needs no labels and vanishes at export.
    hidden: width of a layer between pooled features and logits. weight: of its loss in the sum. loss: by default the
    first that its kind may have. class_weights: `balanced` weighs class c by N / (classes · n_c)
    (papers/unet_multitask_thesis.txt), `none` does not. focus: γ of the focal loss.
    values: words of the column that stand for a label, label -> words, where they differ from the labels.
    target_sensitivity: the stored threshold is the highest that reaches it on `select`; without it the threshold
    maximises sensitivity + specificity there. threshold: the stored one itself, as where a paper decides at 0.5. A mask
    head's is always 0.5.
    """

    kind: Literal["mask", "softmax", "sigmoid", "super_resolution"]
    labels: tuple[str, ...] = ()
    column: str | None = None
    values: dict[str, tuple[str, ...]] | None = None
    hidden: PositiveInt | None = None
    weight: Positive = 1.0
    loss: Loss | None = None
    rank: Rank | None = None
    focus: Weight = 2.0
    class_weights: Literal["balanced", "none"] = "balanced"
    target_sensitivity: Probability | None = None
    threshold: Probability | None = None

    @property
    def auxiliary(self) -> bool:
        """Whether the head serves training only and vanishes at export."""
        return self.kind == "super_resolution"

    @property
    def classes(self) -> tuple[str, ...]:
        """What a case of a softmax or sigmoid head can be, in the order of its truth."""
        return self.labels if self.kind == "softmax" else ("no", "yes")

    def loss_name(self) -> Loss:
        """The loss, its default filled in."""
        return self.loss or LOSSES[self.kind][0]

    def spec(self, name: str) -> HeadSpec:
        """The head as the network and the model card know it; a threshold yet to be chosen stands at one half."""
        assert self.kind != "super_resolution", "an auxiliary head has no place in the model card"
        return HeadSpec(
            name=name,
            kind=self.kind,
            labels=self.labels or ("lesion" if self.kind == "mask" else name,),
            threshold=None if self.kind == "softmax" else 0.5 if self.threshold is None else self.threshold,
            column=self.column,
            values=self.values,
        )
