"""The shipped figures: read, named as our metrics are, consistent with the confusion matrices that the paper prints."""

from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.benchmarks.papers import Paper, published
from edgeskin.errors import EdgeskinError, RecipeError

PAPERS = sorted(path.stem for path in shipped.folder("papers").glob("*.toml"))


def test_the_five_papers_are_shipped() -> None:
    assert len(PAPERS) == 5


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_has_fractions_protocol_and_differences(name: str) -> None:
    paper = Paper.find(name)
    assert paper.source == f"papers/{name}.txt"
    assert paper.protocol
    assert paper.differences
    assert len({row.name for row in paper.rows}) == len(paper.rows)
    for row in paper.rows:
        for metric, figure in row.figures.items():
            assert 0 < figure.mean < 1, (row.name, metric)
            assert metric.startswith(
                ("mask_", "melanoma_", "seborrheic_keratosis_", "diagnosis_", "symmetry_", "mean_")
            )


def test_the_rates_of_joint_reverse_learning_are_those_of_its_confusion_matrices() -> None:
    # Table 3: images called benign and melanoma, of 304 benign and of 75 melanomas.
    matrices = {
        "ResNet50": ((261, 43), (40, 35)),
        "MTL0": ((274, 30), (53, 22)),
        "MTL1": ((274, 30), (49, 26)),
        "MTL2": ((277, 27), (43, 32)),
        "MTL3": ((277, 27), (42, 33)),
        "MTL4": ((248, 56), (17, 58)),
    }
    for name, ((benign, false), (missed, found)) in matrices.items():
        figures = published(f"joint_reverse_mtl_2024/{name}")[1].figures
        assert figures["melanoma_sensitivity"].mean == pytest.approx(found / (found + missed), abs=6e-5)
        assert figures["melanoma_specificity"].mean == pytest.approx(benign / (benign + false), abs=6e-5)
        assert figures["melanoma_accuracy"].mean == pytest.approx((benign + found) / 379, abs=6e-5)


def test_the_mean_performance_of_the_thesis_is_the_mean_of_its_two_figures() -> None:
    for name in ("joint", "joint on validation"):
        figures = published(f"unet_multitask_thesis/{name}")[1].figures
        both = (figures["mask_jaccard"].mean + figures["diagnosis_balanced_accuracy"].mean) / 2
        assert figures["mean_performance"].mean == pytest.approx(both, abs=6e-4)


def test_a_figure_is_written_with_its_deviation_where_one_is_printed() -> None:
    figures = published("se_lcn_symmetry_cascade_2024/diagnosis with map")[1].figures
    assert str(figures["diagnosis_kappa"]) == "0.721 ± 0.011"
    assert str(published("multitask_dcnn_isic2017/multi-task")[1].figures["mask_jaccard"]) == "0.724"


def test_a_row_or_paper_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no row 'MTL9'; did you mean 'MTL"):
        published("joint_reverse_mtl_2024/MTL9")
    with pytest.raises(EdgeskinError, match="joint_reverse_mtl_2024"):
        published("joint_reverse_mtl_2023/MTL0")


def test_a_paper_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'title = "mine"\nsource = "mine"\nprotocol = []\ndifferences = []\n'
        '[[rows]]\nname = "a"\ndata = "b"\nline = 1\nfigures = { mask_dice = 0.5 }\n'
    )
    paper, row = published("mine/a", tmp_path)
    assert (paper.title, row.figures["mask_dice"].mean) == ("mine", 0.5)
