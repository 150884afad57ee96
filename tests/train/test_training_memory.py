"""benchmarks/training_memory.py on small pictures, and how it judges what it measures."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from scripts import loaded


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    yield from loaded("training_memory.py")


@pytest.mark.parametrize("phase", ["float", "qat"])
def test_both_phases_take_a_step_with_clinical_fields(script: ModuleType, phase: str) -> None:
    # On random pictures nothing is known but that the loss is that of a network that guesses: far below ten.
    assert 0 < script.take_steps(script.chosen("pad_ufes_20_fused", size=32, batch=2), phase) < 10


def test_all_recipes_are_compared_at_one_size_and_batch(script: ModuleType) -> None:
    chosen = script.chosen("phantom_tiny")
    assert (chosen.network.size, chosen.float_phase.batch, chosen.qat.batch) == (224, 16, 16)


@pytest.mark.parametrize(("peak_mib", "code"), [(6144.0, 0), (6144.5, 1), (None, 1)])
def test_more_than_six_gib_or_no_figure_is_a_failure(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    peak_mib: float | None,
    code: int,
) -> None:
    def pretended(names: Sequence[str]) -> Iterator[object]:
        for name in names:
            yield script.Figure(name, "float", 500.0)
            yield script.Figure(name, "qat", peak_mib)

    monkeypatch.setattr(script, "measured", pretended)
    assert script.main(["phantom_tiny", "--json", str(tmp_path / "memory.json")]) == code
    table = capsys.readouterr().out.splitlines()
    assert table[2] == "| phantom_tiny | float | 0.49 | yes |"
    assert len(table) == 4
    assert json.loads((tmp_path / "memory.json").read_text())["figures"][1] == {
        "recipe": "phantom_tiny",
        "phase": "qat",
        "peak_mib": peak_mib,
    }
