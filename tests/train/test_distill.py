import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import Small, images
from torch import Tensor, nn

from edgeskin import shipped
from edgeskin.errors import RecipeError, RunError
from edgeskin.train import recipe
from edgeskin.train.checkpoint import RunRecord, store, write_run
from edgeskin.train.distill import (
    Teacher,
    lacking,
    problems,
    sigmoid_distillation,
    softmax_distillation,
    teacher_of,
)
from edgeskin.train.loader import Batch
from edgeskin.train.networks import build_network
from edgeskin.train.recipe import Recipe

stats = pytest.importorskip("scipy.stats")


def test_a_softmax_is_taught_by_the_kl_divergence_of_softened_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = np.mean(stats.entropy((teacher / 2).softmax(1).numpy(), (student / 2).softmax(1).numpy(), axis=1))
    assert float(softmax_distillation(student, teacher, 2.0)) == pytest.approx(4 * expected)


def test_softmax_distillation_by_hand() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4·ln(3/2) + 1/4·ln(1/2).
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(softmax_distillation(student, teacher, 1.0)) == pytest.approx(expected)


def test_a_students_gradient_hardly_depends_on_a_high_temperature() -> None:
    # What T² is for (Hinton et al. 2015, section 2.1): for T → ∞ the gradient is (student − teacher) / C, centred.
    teacher = torch.tensor([[1.0, -0.5, -0.5]], dtype=torch.float64)
    for temperature in (50.0, 500.0):
        student = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        softmax_distillation(student, teacher, temperature).backward()
        assert student.grad is not None
        torch.testing.assert_close(student.grad, -teacher / 3, atol=0.02, rtol=0)


def test_a_sigmoid_is_taught_by_the_teachers_probability() -> None:
    # Teacher 3/4, student 1/2: ln 2, whatever the teacher says; student 1/4: 3/4·ln 4 + 1/4·ln(4/3).
    teacher = torch.tensor([[math.log(3)]])
    assert float(sigmoid_distillation(torch.zeros(1, 1), teacher)) == pytest.approx(math.log(2))
    expected = 0.75 * math.log(4) + 0.25 * math.log(4 / 3)
    assert float(sigmoid_distillation(-teacher, teacher)) == pytest.approx(expected)


def test_who_agrees_with_the_teacher_is_not_moved() -> None:
    answers = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for loss in (
        lambda each: softmax_distillation(each, answers, 3.0),
        lambda each: sigmoid_distillation(each, answers),
    ):
        student = answers.clone().requires_grad_()
        loss(student).backward()
        assert student.grad is not None
        torch.testing.assert_close(student.grad, torch.zeros(3, 4), atol=1e-6, rtol=0)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda each: softmax_distillation(each, teacher, 2.0), student)
    assert torch.autograd.gradcheck(lambda each: sigmoid_distillation(each, teacher), student)


class Clinical(nn.Module):
    """Answers with the clinical fields it was given, or with none."""

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> tuple[Tensor]:
        return (torch.zeros(len(image), 1) if metadata is None else metadata,)


@pytest.mark.parametrize("reads", [True, False])
def test_a_teacher_is_shown_the_fields_where_it_reads_them(reads: bool) -> None:
    fields = torch.ones(8, 1)
    batch = Batch(images(), torch.zeros(8, 1, 16, 16), torch.zeros(8), {}, fields, fields, fields)
    teacher = Teacher((Clinical(),), ("melanoma",), 1.0, 1.0, takes_metadata=reads)
    assert float(teacher.answers(batch)["melanoma"].mean()) == float(reads)


def test_what_stands_behind_a_teachers_heads_is_left_out() -> None:
    teacher = Teacher((Small().eval(),), ("mask",), 1.0, 1.0)
    batch = Batch(images(), torch.zeros(8, 1, 16, 16), torch.zeros(8), {})
    assert list(teacher.answers(batch)) == ["mask"]


class Constant(nn.Module):
    """Answers every image with one number, in a head of one and in a mask."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(image), 1), self.value), torch.full((len(image), 1, 4, 4), self.value)


def test_each_case_is_answered_by_the_network_that_was_asked_for_it() -> None:
    teacher = Teacher(
        tuple(Constant(value) for value in (10.0, 20.0, 30.0)),
        ("melanoma", "mask"),
        1.0,
        1.0,
        asked=torch.tensor([2, 0, 0, 2, 0]),  # nobody asks the second
    )
    batch = Batch(
        torch.zeros(4, 3, 16, 16), torch.zeros(4, 1, 16, 16), torch.zeros(4), {}, case=torch.tensor([3, 1, 4, 0])
    )
    answers = teacher.answers(batch)
    assert answers["melanoma"].tolist() == [[30], [10], [10], [30]]
    assert torch.equal(answers["mask"], answers["melanoma"][:, :, None, None].expand(4, 1, 4, 4))


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        (("distill.weight=0.5",), "write either run, the folder of a teacher, or folds"),
        (("distill.run='a'", "distill.folds=3"), "write either run, the folder of a teacher, or folds"),
        (("distill.run='a'", "distill.epochs=3"), "epochs is for folds; the teacher of a run is trained already"),
        (("distill.folds=1",), "distill.folds"),
    ],
)
def test_what_a_recipe_may_say_of_its_teachers(ways: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        tiny(*ways)


def tiny(*overrides: str) -> Recipe:
    return recipe.read(shipped.find("recipes", "phantom_tiny"), overrides)


def test_a_recipe_can_teach_itself() -> None:
    assert lacking(tiny(), tiny("network.width=1.0"), "runs/wide") == []


def test_all_that_a_teacher_lacks_is_told_at_once() -> None:
    student = tiny()
    heads = student.heads
    poor = student.model_copy(
        update={
            "heads": {
                "mask": heads["mask"],
                "diagnosis": heads["diagnosis"].model_copy(update={"labels": ("melanoma", "other")}),
                "melanoma": heads["melanoma"],
            }
        }
    )
    first, second = lacking(student, poor, "runs/poor")
    assert "diagnosis of runs/poor is a softmax head of melanoma, other" in first
    assert "runs/poor has no head seborrheic_keratosis; it has mask, diagnosis, melanoma" in second


def test_a_teacher_of_other_colours_or_passes_is_refused() -> None:
    (problem,) = lacking(tiny(), tiny('preprocessing=[{step = "clahe"}]'), "runs/wide")
    assert "runs/wide was trained with another preprocessing" in problem


def test_without_distillation_nothing_is_wrong_with_a_teacher() -> None:
    assert problems(tiny(), {"a", "b"}) == []


def run_of(teacher: Recipe, folder: Path, **changes: object) -> Path:
    """A run whose only float epoch is the network at its random start, trained on the images a and b, chosen on c."""
    weights = build_network(teacher).state_dict()
    folder.mkdir()
    stored = store(folder, "float-best", weights, "float", 1, 0.5, {})
    record = RunRecord(
        recipe=teacher,
        recipe_sha256="",
        dataset="generic",
        train_ids=("a", "b"),
        select_ids=("c",),
        versions={},
        device="cpu",
        threads=1,
        best={"float": stored},
    )
    write_run(folder, record.model_copy(update=changes))
    return folder


def test_the_teacher_is_the_runs_float_network_and_learns_nothing(tmp_path: Path) -> None:
    wide = tiny("network.width=0.5")
    run = run_of(wide, tmp_path / "wide")
    student = tiny(f"distill.run={run}", "distill.weight=0.25", "distill.temperature=3")
    teacher = teacher_of(student, [run], torch.device("cpu"))
    assert (teacher.weight, teacher.temperature) == (0.25, 3)
    assert not any(parameter.requires_grad for parameter in teacher.networks[0].parameters())
    batch = Batch(torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64), torch.zeros(2), {})
    expected = build_network(wide).eval()(batch.image)
    for head, answer in zip(wide.head_specs(), expected, strict=True):
        assert torch.equal(teacher.answers(batch)[head.name], answer)


def taught_by(run: Path) -> Recipe:
    return tiny(f"distill.run={run}")


def test_a_teacher_that_saw_nothing_of_what_is_kept_has_no_problem(tmp_path: Path) -> None:
    student = taught_by(run_of(tiny("network.width=0.5"), tmp_path / "wide"))
    # As every recipe of the same data and seed has it: what chose the teacher, c, chooses the student.
    assert problems(student, {"d"}, {"c"}) == []


def test_a_run_that_is_not_there_is_named_with_the_folder_it_counts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (problem,) = problems(taught_by(Path("nowhere")), ())
    assert "distill.run: there is no run at nowhere." in problem
    assert f"as with --run, a relative path counts from the working directory, {tmp_path}" in problem
    run_of(tiny(), tmp_path / "nowhere")
    assert problems(taught_by(Path("nowhere")), ()) == []


def test_a_run_that_was_changed_is_a_mistake_of_the_recipe(tmp_path: Path) -> None:
    run = run_of(tiny(), tmp_path / "run")
    (run / "float-best-001.safetensors").write_bytes(b"")
    (problem,) = problems(taught_by(run), ())
    assert problem.startswith("distill.run: ")
    assert "was changed or cut short" in problem


def test_a_run_without_a_float_epoch_says_how_to_go_on(tmp_path: Path) -> None:
    run = run_of(tiny(), tmp_path / "run", best={})
    (problem,) = problems(taught_by(run), ())
    assert problem.endswith(f"has no finished float epoch. Go on with: edgeskin train … --run {run} --resume")
    with pytest.raises(RunError, match="no finished epoch"):
        teacher_of(taught_by(run), [run], torch.device("cpu"))


@pytest.mark.parametrize(
    ("forbidden", "select", "verb", "count", "example"),
    [
        ("abd", "", "trained", 2, "a"),  # on reported or held-out images
        ("", "bd", "trained", 1, "b"),  # on what is to choose the student
        ("cd", "", "chosen", 1, "c"),  # by reported or held-out images
    ],
)
def test_a_teacher_that_saw_what_is_kept_from_the_student_is_refused(
    tmp_path: Path, forbidden: str, select: str, verb: str, count: int, example: str
) -> None:
    student = taught_by(run_of(tiny(), tmp_path / "run"))
    (problem,) = problems(student, set(forbidden), set(select))
    assert f"was {verb} on {count} images" in problem
    assert f"{example} among them. Train the teacher with the seed and the [data] of this recipe" in problem


def test_all_that_keeps_a_run_from_teaching_is_told_at_once(tmp_path: Path) -> None:
    whole = tiny()
    poor = whole.model_copy(update={"heads": {"mask": whole.heads["mask"]}})
    found = problems(taught_by(run_of(poor, tmp_path / "poor", best={})), {"a"}, {"c"})
    assert sum("has no head" in problem for problem in found) == 3
    assert sum("no finished float epoch" in problem for problem in found) == 1
    assert sum("was trained on 1 images" in problem for problem in found) == 1
    assert len(found) == 5
