"""How the known data sets name things, what may be evaluated apart, and the words that belong beside their figures."""

from collections.abc import Collection
from dataclasses import dataclass, replace

SPLITS = ("train", "val", "test")
"""The words of a split column. An empty cell is an extra: in no split, neither trained on nor evaluated."""


@dataclass(frozen=True)
class Subset:
    """The cases whose `column` holds `value`, evaluated apart from the rest."""

    name: str
    column: str
    value: str


@dataclass(frozen=True)
class DatasetLayout:
    """The conventions of one data set.

    split_column: holds the official split, one word of `splits` or nothing; None where the data set has no split.
    group_column: cases that share its value (one lesion, one patient) never stand on two sides of a split.
    tabulated: columns whose values a data check counts by split; None for each that holds 2 to 12 words, or 0 and 1.
    fields: columns of clinical facts that a network may be given. stratify: a drawn split keeps this column's shares.
    cautions: sentences to print beside every figure. licence: the sentence for a model card.
    """

    name: str
    split_column: str | None
    splits: tuple[str, ...] = SPLITS
    group_column: str | None = None
    subsets: tuple[Subset, ...] = ()
    tabulated: tuple[str, ...] | None = None
    fields: tuple[str, ...] = ()
    stratify: str | None = None
    cautions: tuple[str, ...] = ()
    licence: str = ""


ISIC2017 = DatasetLayout(
    name="isic2017",
    split_column="isic2017_split",
    subsets=(Subset("centre_crop", "geometry", "centre-crop"),),
    tabulated=("diagnosis", "melanoma", "seborrheic_keratosis", "geometry", "symmetry"),
    fields=("age", "sex", "site"),
    stratify="diagnosis",
    cautions=("256² crops, masks on 529 of 600: not comparable with leaderboard values",),
    licence="ISIC 2017 images are CC-0; the 144 ISIC 2018 extras, in no split, are CC BY-NC 4.0. "
    "1800 of the 2000 train masks come from the ISIC 2018 task-1 distribution (CC BY-NC).",
)
ISIC2016 = DatasetLayout(
    name="isic2016",
    split_column="isic2016_split",
    tabulated=("melanoma",),
    fields=("age", "sex", "site"),
    stratify="melanoma",
    cautions=(
        "256² crops of 846 of 900 train and 352 of 379 test images: not comparable with leaderboard values",
        "305 of the test images are ISIC 2017 train: a network trained, started or tuned on ISIC 2017 may not be "
        "reported here",
    ),
    licence="ISIC 2016 images are CC-0.",
)
"""A view of the folder isic2017, whose table carries split and label of ISIC 2016 too."""
HAM10000 = DatasetLayout(
    name="ham10000",
    split_column=None,
    group_column="lesion_id",
    tabulated=("diagnosis", "dx_type"),
    fields=("age", "sex", "localization"),
    stratify="diagnosis",
    cautions=("256² centre crops, split by lesion: not comparable with results on full images or random splits",),
    licence="HAM10000 is CC BY-NC 4.0.",
)
PAD_UFES_20 = DatasetLayout(
    name="pad_ufes_20",
    split_column=None,
    group_column="patient_id",
    tabulated=("diagnosis", "fitspatrick"),
    fields=(
        "smoke",
        "drink",
        "background_father",
        "background_mother",
        "age",
        "pesticide",
        "gender",
        "skin_cancer_history",
        "cancer_history",
        "has_piped_water",
        "has_sewage_system",
        "fitspatrick",
        "region",
        "diameter_1",
        "diameter_2",
        "itch",
        "grew",
        "hurt",
        "changed",
        "bleed",
        "elevation",
    ),
    stratify="diagnosis",
    cautions=(
        "39 % of the published set (896 of 2298 photos): not comparable with published results",
        "the masks were drawn by students, not dermatologists",
        "missing clinical fields tell the class: the pattern of what is missing alone reaches AUROC 0.81 for cancer",
    ),
    licence="PAD-UFES-20 is CC BY 4.0.",
)
ISIC2016_OFFICIAL = replace(ISIC2016, fields=(), cautions=ISIC2016.cautions[1:])
ISIC2017_OFFICIAL = replace(
    ISIC2017,
    subsets=(),
    tabulated=("diagnosis", "melanoma", "seborrheic_keratosis"),
    fields=("age", "sex"),
    cautions=("the official split leaks: the same photograph, recoloured, stands in two splits",),
    licence="ISIC 2017 images are CC-0.",
)
ISIC2018_OFFICIAL = DatasetLayout(
    name="isic2018",
    split_column="isic2018_split",
    group_column="lesion_id",
    tabulated=("diagnosis",),
    stratify="diagnosis",
    cautions=("task 1 (masks) and task 3 (diagnoses) are about different images",),
    licence="ISIC 2018 is CC BY-NC 4.0.",
)
HAM10000_OFFICIAL = replace(
    HAM10000, cautions=("split by lesion: not comparable with results on splits that divide lesions",)
)
PAD_UFES_20_OFFICIAL = replace(PAD_UFES_20, cautions=PAD_UFES_20.cautions[2:])
PH2_OFFICIAL = DatasetLayout(
    name="ph2",
    split_column="split",
    tabulated=("diagnosis", "melanoma", "symmetry"),
    stratify="diagnosis",
    cautions=("200 images, all of them test: for networks trained elsewhere",),
    licence="PH2 is offered for research and education only.",
)
VIEWS = {"isic2016": "isic2017"}
"""Data sets that stand in another one's folder."""
GENERIC = DatasetLayout(name="generic", split_column="split")
"""Any folder with labels.csv and images/."""

_SIGNATURES = (
    (frozenset({"isic2017_split"}), ISIC2017),
    (frozenset({"lesion_id", "dx_type"}), HAM10000),
    (frozenset({"patient_id", "fitspatrick"}), PAD_UFES_20),
)


def stratified_by(name: str) -> str | None:
    """The column whose shares a known data set's drawn splits keep; None for any other data set."""
    known = (*(layout for _, layout in _SIGNATURES), ISIC2016)
    return next((layout.stratify for layout in known if layout.name == name), None)


def detect(header: Collection[str]) -> DatasetLayout:
    """The layout that a labels.csv with these columns has. A `split` column added to a known data set is used."""
    known = next((layout for signature, layout in _SIGNATURES if signature <= set(header)), None)
    if known is None:
        return GENERIC if "split" in header else replace(GENERIC, split_column=None)
    return replace(known, split_column="split") if known.split_column is None and "split" in header else known
