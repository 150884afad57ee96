"""What cannot be exported is measured as training measures `select`."""

from pathlib import Path

import pytest

from edgeskin.data.cases import read_cases
from edgeskin.errors import DataError
from edgeskin.train.checkpoint import read_run
from edgeskin.train.measure import measure, samples_of


def test_on_select_the_figures_are_those_by_which_training_chose_its_epochs(tiny_run: Path, phantom_data: Path) -> None:
    record = read_run(tiny_run)
    held_out = set(record.select_ids)
    found = measure(tiny_run, [case for case in read_cases(phantom_data).cases if case.image_id in held_out])
    for phase, network in (("float", "float"), ("qat", "int8")):
        for metric, value in record.best[phase].metrics.items():
            assert found[metric][network] == pytest.approx(value, abs=1e-6), (phase, metric)


def test_a_column_that_the_data_lacks_is_named(tiny_run: Path, phantom_data: Path) -> None:
    recipe = read_run(tiny_run).recipe
    heads = {**recipe.heads, "melanoma": recipe.heads["melanoma"].model_copy(update={"column": "melanomas"})}
    cases = read_cases(phantom_data).split("val")
    with pytest.raises(DataError, match="no column 'melanomas'"):
        samples_of(recipe.model_copy(update={"heads": heads}), cases)
