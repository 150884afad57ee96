"""Golden cases: written, read back, noticed when damaged. The network is a formula, so every output is known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeskin import shipped
from edgeskin.contract.image import Letterbox, read_photo
from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance
from edgeskin.contract.preprocess import Clahe, ShadesOfGray, network_input
from edgeskin.contract.region import SecondPass
from edgeskin.contract.second_pass import look
from edgeskin.data import phantom
from edgeskin.errors import GraphError
from edgeskin.export import golden
from edgeskin.export.golden import Float32, Outputs, UInt8

CARD = ModelCard(
    name="tiny",
    version="1",
    size=64,
    heads=(
        HeadSpec(name="lesion", kind="mask", labels=("lesion",), threshold=0.5),
        HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus")),
        HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.3),
    ),
    intended_use="tests",
    licence="none",
    provenance=Provenance(
        recipe="none", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=0, edgeskin_version="0"
    ),
)
PHOTOS = phantom.golden_photos(6)


def float_network(image: UInt8, metadata: Float32 | None = None) -> Outputs:
    """Darker is more lesion."""
    dark = 1 - image.mean(axis=1, keepdims=True, dtype=np.float64) / 255
    mean = dark.mean(axis=(1, 2, 3))
    return {
        "lesion": dark.astype(np.float32),
        "diagnosis": np.stack([mean, 1 - mean], axis=1).astype(np.float32),
        "melanoma": (mean / 2)[:, None].astype(np.float32),
    }


def int8_network(image: UInt8, metadata: Float32 | None = None) -> Outputs:
    """The same in steps of 1/256."""
    return {
        name: (np.rint(values * 256) / 256).astype(np.float32)
        for name, values in float_network(image, metadata).items()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph") / "golden"
    golden.write(folder, PHOTOS, CARD, float_network, int8_network)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(written, tmp_path / "golden"))


def test_what_is_written_is_read_back(written: Path) -> None:
    read = golden.read(written, CARD)
    assert [case.name for case in read.cases] == ["00", "01", "02", "03", "04", "05"]
    for case, photo in zip(read.cases, PHOTOS, strict=True):
        assert np.array_equal(read_photo(case.photo), photo.image)
        assert case.findings.file == f"{case.name}.png"
        assert case.findings.heads["melanoma"]["melanoma"] == pytest.approx(
            float(int8_network(case.image[None])["melanoma"][0, 0]), abs=1e-6
        )


def test_probabilities_are_stored_exactly_and_masks_to_a_step_of_65535(written: Path) -> None:
    read = golden.read(written, CARD)
    for stored, network in ((read.float_outputs, float_network), (read.int8_outputs, int8_network)):
        fresh = read.run(network)
        assert np.array_equal(stored["diagnosis"], fresh["diagnosis"])
        assert np.array_equal(stored["melanoma"], fresh["melanoma"])
        # Half a step, and what float32 itself rounds.
        assert np.abs(stored["lesion"] - fresh["lesion"]).max() <= 0.5 / 65535 + 2**-24


def test_the_photo_still_becomes_the_stored_input(folder: Path) -> None:
    assert golden.read(folder, CARD).changed_inputs() == ()
    shutil.copy(folder / "inputs" / "03.png", folder / "inputs" / "01.png")
    assert golden.read(folder, CARD).changed_inputs() == ("01",)


def test_equal_inputs_give_equal_bytes(written: Path, tmp_path: Path) -> None:
    golden.write(tmp_path / "again", PHOTOS, CARD, float_network, int8_network)
    first = {path.relative_to(written): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    again = tmp_path / "again"
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("part", ["golden.json", "outputs.npz", "photos/02.png", "inputs/02.png"])
def test_a_missing_part_is_named(folder: Path, part: str) -> None:
    (folder / part).unlink()
    with pytest.raises(GraphError, match=rf"{part}: no such file"):
        golden.read(folder, CARD)


@pytest.mark.parametrize("part", ["golden.json", "outputs.npz", "inputs/02.png"])
@pytest.mark.parametrize("keep", [0, 40, 0.5])
def test_a_truncated_part_is_named(folder: Path, part: str, keep: float) -> None:
    content = (folder / part).read_bytes()
    (folder / part).write_bytes(content[: int(len(content) * keep) if keep < 1 else int(keep)])
    with pytest.raises(GraphError, match=part):
        golden.read(folder, CARD)


def test_outputs_of_another_network_are_refused(folder: Path) -> None:
    other = CARD.model_copy(update={"heads": (*CARD.heads[:1], CARD.heads[2].model_copy(update={"name": "keratosis"}))})
    with pytest.raises(GraphError, match=r"outputs\.npz.*keratosis"):
        golden.read(folder, other)
    with pytest.raises(GraphError, match=r"00\.png: has the shape"):
        golden.read(folder, CARD.model_copy(update={"size": 96}))


def test_a_newer_format_and_a_case_outside_the_folder_are_refused(folder: Path) -> None:
    index = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(index | {"format": 2}))
    with pytest.raises(GraphError, match="format 2, this edgeskin reads format 1"):
        golden.read(folder, CARD)
    index["cases"][0]["name"] = "../00"
    (folder / "golden.json").write_text(json.dumps(index))
    with pytest.raises(GraphError, match=r"cases\.0\.name"):
        golden.read(folder, CARD)


@pytest.mark.parametrize("kept", [0, 1, 5])
@pytest.mark.parametrize("told", [True, False])
def test_cases_that_were_cut_are_missed(folder: Path, kept: int, told: bool) -> None:
    index = json.loads((folder / "golden.json").read_text())
    assert (index["written"], len(index["cases"])) == (6, 6)
    if not told:
        del index["written"]
    (folder / "golden.json").write_text(json.dumps(index | {"cases": index["cases"][:kept]}))
    with np.load(folder / "outputs.npz") as outputs:
        cut = {name: values[:kept] for name, values in outputs.items()}
    np.savez(folder / "outputs.npz", **cut)
    with pytest.raises(GraphError, match=rf"golden\.json: .*holds {kept} of {6 if told else 32} cases"):
        golden.read(folder, CARD)


def test_one_case_many_times_is_one(folder: Path) -> None:
    index = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(index | {"cases": index["cases"][:1] * 6}))
    with pytest.raises(GraphError, match="holds 1 of 6 cases"):
        golden.read(folder, CARD)


def test_pickled_outputs_are_never_unpickled(folder: Path) -> None:
    np.savez(folder / "outputs.npz", **{"float/lesion": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(GraphError, match=r"outputs\.npz: is damaged"):
        golden.read(folder, CARD)


def test_a_failed_network_leaves_the_older_cases_untouched(folder: Path) -> None:
    def broken(image: UInt8, metadata: Float32 | None) -> Outputs:
        raise GraphError("no engine")

    with pytest.raises(GraphError, match="no engine"):
        golden.write(folder, PHOTOS, CARD, broken, broken)
    assert golden.read(folder, CARD).changed_inputs() == ()


def test_the_32_cases_at_192_pixels_stay_below_8_mib(tmp_path: Path) -> None:
    card = CARD.model_copy(update={"size": 192})
    photos = phantom.golden_photos()
    golden.write(tmp_path / "golden", photos, card, float_network, int8_network)
    assert len(photos) == len(golden.read(tmp_path / "golden", card).cases) == 32
    assert "written" not in json.loads((tmp_path / "golden" / "golden.json").read_text())
    size_bytes = sum(path.stat().st_size for path in (tmp_path / "golden").rglob("*") if path.is_file())
    assert size_bytes < 8 * 2**20


# --- with metadata ---

SPEC = MetadataSpec(
    fields=(NumberField(name="age", low=0, high=90), ChoiceField(name="sex", values=("female", "male")))
)
TOLD = CARD.model_copy(update={"metadata": SPEC})
MANY = phantom.golden_photos(16)


def told_network(image: UInt8, metadata: Float32 | None = None) -> Outputs:
    """Melanoma is likelier the more is known."""
    assert metadata is not None
    assert metadata.shape == (1, 5)
    return {**float_network(image), "melanoma": 1 - metadata[:, [1, 4]].sum(1, keepdims=True) / 4}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told") / "golden"
    golden.write(folder, MANY, TOLD, told_network, told_network)
    return folder


@pytest.fixture
def told_copy(told: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(told, tmp_path / "told"))


def test_half_of_the_cases_have_fields_drawn_from_the_specification(told: Path) -> None:
    cases = golden.read(told, TOLD).cases
    assert [bool(case.values) for case in cases] == [photo.has_metadata for photo in MANY] == [True] * 8 + [False] * 8
    for case in cases:
        assert case.metadata is not None
        np.testing.assert_array_equal(case.metadata, SPEC.encode(case.values))
        assert case.findings.metadata is not None
        assert case.findings.metadata.known == SPEC.known(case.values)
        assert SPEC.clipped(case.values) == ()
    np.testing.assert_array_equal(cases[8].metadata, SPEC.unknown())
    assert len({case.values["age"] for case in cases[:8]}) > 4
    assert {case.values["sex"] for case in cases[:8]} == {"female", "male", None}


def test_a_network_with_metadata_is_run_on_both_inputs(told: Path) -> None:
    read = golden.read(told, TOLD)
    np.testing.assert_array_equal(read.run(told_network)["melanoma"], read.int8_outputs["melanoma"])
    # Two flags of two stand at a half each; nothing is known from the ninth case on.
    assert read.int8_outputs["melanoma"][8:].ravel().tolist() == [0.5] * 8
    assert read.int8_outputs["melanoma"][:8].max() == 1


def test_equal_specifications_give_equal_bytes(told: Path, tmp_path: Path) -> None:
    golden.write(tmp_path / "again", MANY, TOLD, told_network, told_network)
    for part in ("golden.json", "inputs/metadata.npy"):
        assert (tmp_path / "again" / part).read_bytes() == (told / part).read_bytes()


def test_fields_that_no_longer_become_the_stored_input_are_noticed(told_copy: Path) -> None:
    assert golden.read(told_copy, TOLD).changed_inputs() == ()
    index = json.loads((told_copy / "golden.json").read_text())
    index["cases"][3]["metadata"]["age"] = 1
    index["cases"][9]["metadata"]["sex"] = "neither"
    (told_copy / "golden.json").write_text(json.dumps(index))
    assert golden.read(told_copy, TOLD).changed_inputs() == ("03", "09")


def test_metadata_that_is_missing_damaged_or_anothers_is_named(told_copy: Path, folder: Path) -> None:
    wider = TOLD.model_copy(update={"metadata": MetadataSpec(fields=SPEC.fields[:1])})
    with pytest.raises(GraphError, match=r"metadata\.npy: is not float32 of the shape \(16, 2\)"):
        golden.read(told_copy, wider)
    (told_copy / "inputs" / "metadata.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(GraphError, match=r"metadata\.npy: is damaged"):
        golden.read(told_copy, TOLD)
    (told_copy / "inputs" / "metadata.npy").unlink()
    with pytest.raises(GraphError, match=r"metadata\.npy: no such file"):
        golden.read(told_copy, TOLD)
    with pytest.raises(GraphError, match=r"golden\.json: case 00 has no metadata, and tiny takes some"):
        golden.read(folder, TOLD)


def test_a_network_without_metadata_has_none_in_its_cases(written: Path) -> None:
    assert not (written / "inputs" / "metadata.npy").exists()
    assert all("metadata" not in case for case in json.loads((written / "golden.json").read_text())["cases"])
    assert all(case.inputs[1] is None for case in golden.read(written, CARD).cases)


@pytest.mark.parametrize("name", shipped.releases())
def test_the_shipped_cases_still_follow_from_their_photos(name: str) -> None:
    folder = shipped.release(Path(name))
    cases = golden.read(folder / "golden", ModelCard.read(folder / "model.json"))
    assert cases.changed_inputs() == ()
    assert all(case.second is None for case in cases.cases)


# --- with preprocessing and a second pass ---

AS_IT_IS = MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False)
TWICE = CARD.model_copy(
    update={
        "preprocessing": (ShadesOfGray(),),
        "second_pass": SecondPass(strategy="mask", heads=("melanoma",)),
        "cleanup": AS_IT_IS,
    }
)


def blind_network(image: UInt8, metadata: Float32 | None = None) -> Outputs:
    """Draws no lesion."""
    answers = float_network(image)
    return {**answers, "lesion": np.zeros_like(answers["lesion"])}


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twice") / "golden"
    golden.write(folder, PHOTOS, TWICE, float_network, int8_network)
    return folder


@pytest.fixture
def twice_copy(twice: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(twice, tmp_path / "twice"))


def test_the_second_passs_input_and_answers_are_stored(twice: Path) -> None:
    read = golden.read(twice, TWICE)
    for number, (case, photo) in enumerate(zip(read.cases, PHOTOS, strict=True)):
        image, box = network_input(photo.image, 64, TWICE.preprocessing)
        np.testing.assert_array_equal(case.image, image)
        assert case.second is not None
        dark = int8_network(image[None])["lesion"][0, 0] >= 0.5
        dark[: box.top] = dark[box.top + box.height :] = False
        dark[:, : box.left] = dark[:, box.left + box.width :] = False
        np.testing.assert_array_equal(case.second[0], np.where(dark, image, 128))
        second = int8_network(case.second)
        np.testing.assert_array_equal(read.int8_outputs["melanoma"][number], second["melanoma"][0])
        np.testing.assert_array_equal(read.int8_outputs["diagnosis"][number], int8_network(image[None])["diagnosis"][0])
        assert read.int8_outputs["melanoma"][number] != int8_network(image[None])["melanoma"][0]
        assert case.findings.heads["melanoma"]["melanoma"] == pytest.approx(float(second["melanoma"][0, 0]), abs=1e-6)
    assert read.changed_inputs() == ()


def test_a_case_is_what_a_device_finds_from_the_photo(twice: Path) -> None:
    read = golden.read(twice, TWICE)
    for number, case in enumerate(read.cases):
        image, box = network_input(read_photo(case.photo), 64, TWICE.preprocessing)
        found = look(int8_network, TWICE, box, image[None])
        np.testing.assert_array_equal(found["melanoma"][0], read.int8_outputs["melanoma"][number])


def test_every_form_of_the_network_is_shown_the_stored_second_input(twice: Path) -> None:
    read = golden.read(twice, TWICE)
    np.testing.assert_array_equal(read.run(float_network)["melanoma"], read.float_outputs["melanoma"])
    # A form that draws no lesion of its own answers from the same region all the same.
    np.testing.assert_array_equal(read.run(blind_network)["melanoma"], read.float_outputs["melanoma"])


def test_a_case_without_a_lesion_has_one_pass(tmp_path: Path) -> None:
    golden.write(tmp_path / "golden", PHOTOS, TWICE, blind_network, blind_network)
    read = golden.read(tmp_path / "golden", TWICE)
    assert all(case.second is None for case in read.cases)
    assert not (tmp_path / "golden" / "second").exists()
    assert read.changed_inputs() == ()
    index = json.loads((tmp_path / "golden" / "golden.json").read_text())
    assert {case["second_pass"] for case in index["cases"]} == {False}


def test_a_mask_on_the_threshold_gives_the_same_second_input_after_storing(tmp_path: Path) -> None:
    # A threshold a quarter of a step above a step: what reaches it by a little is stored below it.
    threshold = 19660.25 / 65535
    mask = CARD.heads[0].model_copy(update={"threshold": threshold})
    card = TWICE.model_copy(update={"heads": (mask, *CARD.heads[1:])})

    def on_the_edge(image: UInt8, metadata: Float32 | None = None) -> Outputs:
        drawn = np.full((1, 1, 64, 64), 0.9, np.float32)
        drawn[..., 32:] = 19660.4 / 65535
        return {**float_network(image), "lesion": drawn}

    assert np.float32(19660.4 / 65535) >= np.float32(threshold) > np.float32(19660 / 65535)
    golden.write(tmp_path / "golden", PHOTOS, card, on_the_edge, on_the_edge)
    assert golden.read(tmp_path / "golden", card).changed_inputs() == ()


def test_a_second_input_without_any_colour_is_read_back(tmp_path: Path) -> None:
    def corner(image: UInt8, metadata: Float32 | None = None) -> Outputs:
        drawn = np.zeros((1, 1, 64, 64), np.float32)
        drawn[0, 0, 32, 32] = 1
        return {**float_network(image), "lesion": drawn}

    photo = replace(PHOTOS[0], image=PHOTOS[0].image.copy())
    box = Letterbox.fit(photo.image.shape[1], photo.image.shape[0], 64)
    reach = 2 * photo.image.shape[0] // box.height + 1
    row, column = (
        (32 - at + 0.5) * side // of
        for at, side, of in ((box.top, photo.image.shape[0], box.height), (box.left, photo.image.shape[1], box.width))
    )
    photo.image[int(row) - reach : int(row) + reach, int(column) - reach : int(column) + reach] = 90
    card = TWICE.model_copy(update={"preprocessing": ()})
    golden.write(tmp_path / "golden", [photo], card, corner, corner)
    (case,) = golden.read(tmp_path / "golden", card).cases
    assert case.second is not None
    assert set(np.unique(case.second)) == {90, 128}


def test_a_changed_mask_second_input_or_declaration_is_noticed(twice_copy: Path) -> None:
    shutil.copy(twice_copy / "second" / "03.png", twice_copy / "second" / "01.png")
    assert golden.read(twice_copy, TWICE).changed_inputs() == ("01",)
    other = TWICE.model_copy(update={"preprocessing": (Clahe(),)})
    assert len(golden.read(twice_copy, other).changed_inputs()) == len(PHOTOS)


def test_a_second_input_that_is_missing_damaged_or_anothers_is_named(twice_copy: Path, folder: Path) -> None:
    with pytest.raises(GraphError, match=r"golden\.json: case 00 is of another network: tiny runs twice"):
        golden.read(folder, TWICE)
    with pytest.raises(GraphError, match=r"golden\.json: case 00 is of another network: tiny runs once"):
        golden.read(twice_copy, CARD)
    (twice_copy / "second" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(GraphError, match=r"second/02\.png: is damaged"):
        golden.read(twice_copy, TWICE)
    (twice_copy / "second" / "02.png").unlink()
    with pytest.raises(GraphError, match=r"second/02\.png: no such file"):
        golden.read(twice_copy, TWICE)


def test_a_network_that_runs_once_has_no_second_inputs(written: Path) -> None:
    assert not (written / "second").exists()
    assert all("second_pass" not in case for case in json.loads((written / "golden.json").read_text())["cases"])
