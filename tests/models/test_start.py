"""ImageNet starts against the networks written a second time (published.py, torchvision_layout.py)."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from published import LEVELS, blocks, features, symmetric, tensorflow_same
from torch import Tensor
from torch.nn import functional
from torchvision_layout import FIRES, V3, squeezenet_maps, squeezenet_state, v3_maps, v3_state

from edgeskin.data.phantom import photo
from edgeskin.errors import RecipeError
from edgeskin.models.encoder import encoder as build
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.mobilenet_v3 import MobileNetV3
from edgeskin.models.start import (
    load_folded,
    load_torchvision,
    recreate_batch_norm,
    select_channels,
    start_encoder,
    start_problems,
)

LAYERS = [layer for block in blocks() for layer in block]
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))  # torchvision's documentation


def photos(count: int, size: int = 64) -> Tensor:
    """Phantom photos as pixels 0 … 255: (count, 3, size, size)."""
    images = np.stack([photo(5, index, size, size).image for index in range(count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def ours(pixels: Tensor) -> Tensor:
    return (pixels - 128) / 128


def random_weights(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(outputs, inputs // groups, kernel, kernel, generator=generator)
        * math.sqrt(2 / (inputs // groups * kernel**2))
        for inputs, outputs, kernel, _, groups, _ in LAYERS
    ]


def random_vectors(spread: float, middle: float, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [middle + spread * torch.randn(layer[1], generator=generator) for layer in LAYERS]


def write_folded(path: Path, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Path:
    """The layout of mobilenet_v2_1.0_imagenet.npz, its classifier of 1001 classes included."""
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    classifier = torch.zeros(1001, 1280, 1, 1), torch.zeros(1001)
    for index, (weight, bias) in enumerate(zip([*weights, classifier[0]], [*biases, classifier[1]], strict=True)):
        arrays[f"{index:02d}_conv/weight"], arrays[f"{index:02d}_conv/bias"] = weight.numpy(), bias.numpy()
    np.savez(path, **arrays)
    return path


def torchvision_state(weights: Sequence[Tensor], norms: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """A state dict with the keys that torchvision.models.mobilenet_v2().state_dict() has."""
    names = [("features.0.0", "features.0.1")]
    for block, layers in enumerate(blocks()[1:-1], start=1):
        inside = [(f"{number}.0", f"{number}.1") for number in range(len(layers) - 1)]
        inside.append((f"{len(layers) - 1}", f"{len(layers)}"))
        names += [(f"features.{block}.conv.{conv}", f"features.{block}.conv.{norm}") for conv, norm in inside]
    names.append(("features.18.0", "features.18.1"))
    state: dict[str, Tensor] = {}
    for (conv, norm), weight, vectors in zip(names, weights, zip(*norms, strict=True), strict=True):
        state[f"{conv}.weight"] = weight
        for key, vector in zip(("weight", "bias", "running_mean", "running_var"), vectors, strict=True):
            state[f"{norm}.{key}"] = vector
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    state["classifier.1.weight"], state["classifier.1.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    return state


def assert_same_maps(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    for map_, level in zip(found, LEVELS, strict=True):
        torch.testing.assert_close(map_, expected[level], rtol=tolerance, atol=tolerance)


# --- folded batch norm, TensorFlow conventions ---


def test_a_folded_start_computes_what_its_file_computes_though_its_pixels_are_ours(tmp_path: Path) -> None:
    weights, biases = random_weights(), random_vectors(0.3, 0.0, 1)
    pixels = photos(3)
    encoder = MobileNetV2().eval()
    load_folded(encoder, write_folded(tmp_path / "start.npz", weights, biases), [ours(pixels)])
    with torch.no_grad():
        # TensorFlow pads with the real value 0, which is the pixel 127.5; ours pads with the pixel 128.
        expected = features(
            pixels / 127.5 - 1,
            weights,
            lambda index, x: x + biases[index].reshape(1, -1, 1, 1),
            tensorflow_same,
            outside=128 / 127.5 - 1,
        )
        assert_same_maps(encoder(ours(pixels)), expected, 1e-3)


def test_at_the_padding_the_stem_is_off_by_half_a_pixel_and_elsewhere_not_at_all(tmp_path: Path) -> None:
    weights, biases = random_weights(), random_vectors(0.3, 0.0, 1)
    pixels = photos(2)
    encoder = MobileNetV2().eval()
    load_folded(encoder, write_folded(tmp_path / "start.npz", weights, biases), [ours(pixels)])
    with torch.no_grad():
        published = functional.conv2d(tensorflow_same(pixels / 127.5 - 1, 3, 2, 0.0), weights[0], stride=2)
        expected = (published + biases[0].reshape(1, -1, 1, 1)).clamp(0, 6)
        difference = (encoder.stem(ours(pixels)) - expected).abs()
    assert difference[..., :-1, :-1].max() < 1e-5
    # By hand: each padded tap differs by 0.5 / 127.5, and at most all the taps of a channel are padded.
    bound = weights[0].abs().sum((1, 2, 3)) * 0.5 / 127.5
    assert (difference.amax((0, 2, 3)) <= bound + 1e-5).all()


def test_recreating_batch_norm_preserves_the_function() -> None:
    torch.manual_seed(0)
    encoder = MobileNetV2().eval()
    for layer in encoder.convolutions():
        torch.nn.init.normal_(layer.norm.bias, std=0.3)
        layer.norm.running_var.fill_(1 - layer.norm.eps)
    image = ours(photos(4))
    with torch.no_grad():
        before = encoder(image)
        recreate_batch_norm(encoder, [image[:2], image[2:]])
        after = encoder(image)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4)


def test_recreated_batch_norm_holds_the_statistics_of_all_batches() -> None:
    encoder = MobileNetV2(0.35).eval()
    batches = [ours(photos(4))[:3], ours(photos(4))[3:]]
    stem = encoder.stem
    with torch.no_grad():
        seen = stem.conv(functional.pad(torch.cat(batches), (0, 1, 0, 1))).double()
        recreate_batch_norm(encoder, batches)
    torch.testing.assert_close(stem.norm.running_mean.double(), seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        stem.norm.running_var.double(), seen.var((0, 2, 3), correction=0), rtol=1e-4, atol=1.1e-6
    )
    assert encoder.training is False
    assert not stem.conv._forward_hooks, "the hooks are gone"


@pytest.mark.data
def test_the_real_imagenet_start_names_the_same_of_1001_classes_as_the_published_network() -> None:
    data = os.environ.get("EDGESKIN_DATA")
    path = Path(data or "") / ".." / "weights" / "mobilenet_v2_1.0_imagenet.npz"
    if not data or not path.is_file():
        pytest.skip("needs ../weights/mobilenet_v2_1.0_imagenet.npz beside EDGESKIN_DATA")
    with np.load(path) as archive:
        arrays = [torch.from_numpy(archive[key].astype(np.float32)) for key in archive.files]
    weights, biases = arrays[0::2], arrays[1::2]
    pixels = photos(6, 96)
    encoder = MobileNetV2().eval()
    load_folded(encoder, path, [ours(pixels)])
    with torch.no_grad():
        maps = features(
            pixels / 127.5 - 1, weights, lambda index, x: x + biases[index].reshape(1, -1, 1, 1), tensorflow_same
        )
        top = weights[-1].flatten(1)
        found, expected = (map_.mean((2, 3)) @ top.T + biases[-1] for map_ in (encoder(ours(pixels))[-1], maps[-1]))
    assert found.softmax(1).sub(expected.softmax(1)).abs().max() < 0.02  # the padding: 128 instead of 127.5
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()
    assert expected.softmax(1).amax() > 0.1, "the weights do see something, 1/1001 is nothing"


def squeezenet_file() -> Path:
    data = os.environ.get("EDGESKIN_DATA")
    path = Path(data or "") / ".." / "weights" / "squeezenet_1.0_imagenet.npz"
    if not data or not path.is_file():
        pytest.skip("needs ../weights/squeezenet_1.0_imagenet.npz beside EDGESKIN_DATA")
    return path


def caffe_state(path: Path) -> dict[str, Tensor]:
    """Caffe's arrays under torchvision's keys: both list a Fire module as squeeze, 1×1, 3×3."""
    with np.load(path) as archive:
        arrays = [torch.from_numpy(archive[key].astype(np.float32)) for key in archive.files]
    return dict(zip(squeezenet_state("squeezenet_1_0"), arrays, strict=True))


@pytest.mark.data
def test_the_real_squeezenet_start_names_the_same_of_1000_classes_as_the_published_network() -> None:
    path = squeezenet_file()
    state = caffe_state(path)
    pixels = photos(6, 96)
    encoder = build("squeezenet_1_0").train(False)
    start_encoder(encoder, "imagenet", path.parent, [ours(pixels)])
    # data/README.md: blue, green, red minus (104, 117, 123).
    caffe = framed(pixels, 7).flip(1) - torch.tensor((104.0, 117.0, 123.0)).reshape(1, 3, 1, 1)
    with torch.no_grad():
        last = squeezenet_maps("squeezenet_1_0", state, caffe)[-1]
        found, expected = (
            functional.conv2d(map_, state["classifier.1.weight"], state["classifier.1.bias"]).relu().mean((2, 3))
            for map_ in (encoder(ours(pixels))[3], last)
        )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()
    assert expected.softmax(1).amax() > 0.1, "the weights do see something, 1/1000 is nothing"


@pytest.mark.data
def test_with_relu6_a_squeezenet_start_is_the_same_function_times_one_factor() -> None:
    path = squeezenet_file()
    image = ours(photos(4, 64))
    native, variant = (build("squeezenet_1_0", activation=kind).train(False) for kind in ("native", "relu6"))
    for network in (native, variant):
        start_encoder(network, "imagenet", path.parent, [image])
    with torch.no_grad():
        pairs = [
            (ours_.flatten(), theirs.flatten()) for ours_, theirs in zip(variant(image), native(image), strict=True)
        ]
    factor = (pairs[0][0] @ pairs[0][1] / (pairs[0][1] @ pairs[0][1])).item()
    assert factor < 0.05, "activations reach hundreds"
    for scaled, plain in pairs:
        assert 0 < scaled.max() <= 6
        torch.testing.assert_close(scaled, factor * plain, rtol=1e-2, atol=1e-3 * scaled.max().item())


# --- torchvision ---


def test_a_torchvision_start_computes_what_its_file_computes_though_its_pixels_are_ours(tmp_path: Path) -> None:
    weights = random_weights()
    norms = [
        random_vectors(0.1, 1.0, 1),
        random_vectors(0.2, 0.0, 2),
        random_vectors(0.2, 0.0, 3),
        [vector.abs() + 0.5 for vector in random_vectors(0.2, 1.0, 4)],
    ]
    gamma, beta, mean, variance = norms
    torch.save(torchvision_state(weights, norms), tmp_path / "mobilenet_v2.pth")
    encoder = MobileNetV2(padding="symmetric").eval()
    load_torchvision(encoder, tmp_path / "mobilenet_v2.pth")
    pixels = photos(3)
    normalised = (pixels / 255 - MEAN.reshape(1, 3, 1, 1)) / STD.reshape(1, 3, 1, 1)

    def norm(index: int, x: Tensor) -> Tensor:
        return functional.batch_norm(x, mean[index], variance[index], gamma[index], beta[index], eps=1e-5)

    with torch.no_grad():
        grey = (128 / 255 - MEAN) / STD
        assert_same_maps(encoder(ours(pixels)), features(normalised, weights, norm, symmetric, outside=grey), 1e-3)
        # torchvision itself pads with its own 0: the stem is the same wherever no padding is seen.
        published = norm(0, functional.conv2d(normalised, weights[0], stride=2, padding=1)).clamp(0, 6)
        torch.testing.assert_close(encoder.stem(ours(pixels))[..., 1:, 1:], published[..., 1:, 1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", V3)
def test_a_mobilenet_v3_start_keeps_its_function_though_its_epsilon_is_another(name: str, tmp_path: Path) -> None:
    state = v3_state(name)
    torch.save(state, tmp_path / "v3.pth")
    encoder = build(name, padding="symmetric").train(False)
    load_torchvision(encoder, tmp_path / "v3.pth")
    pixels = photos(2)
    normalised = (pixels / 255 - MEAN.reshape(1, 3, 1, 1)) / STD.reshape(1, 3, 1, 1)
    with torch.no_grad():
        expected = v3_maps(name, state, normalised, symmetric, (128 / 255 - MEAN) / STD)
        for found, map_ in zip(encoder(ours(pixels)), expected, strict=True):
            torch.testing.assert_close(found, map_, rtol=1e-3, atol=1e-3 * map_.abs().max().item())


def framed(pixels: Tensor, kernel: int) -> Tensor:
    """A photo in a mid-grey frame: of a window of `kernel` at stride 2, kernel − 2 rows, the odd one at the end."""
    before = (kernel - 2) // 2
    after = kernel - 2 - before
    return functional.pad(pixels - 128, (before, after, before, after)) + 128


@pytest.mark.parametrize("name", FIRES)
def test_a_squeezenet_start_computes_what_its_file_computes_on_the_photo_in_a_grey_frame(
    name: str, tmp_path: Path
) -> None:
    state = squeezenet_state(name)
    torch.save(state, tmp_path / "squeezenet.pth")
    encoder = build(name).train(False)
    pixels = photos(3)
    load_torchvision(encoder, tmp_path / "squeezenet.pth", [ours(pixels)[:2], ours(pixels)[2:]])
    normalised = (framed(pixels, FIRES[name][1]) / 255 - MEAN.reshape(1, 3, 1, 1)) / STD.reshape(1, 3, 1, 1)
    with torch.no_grad():
        found, expected = encoder(ours(pixels)), squeezenet_maps(name, state, normalised)
    for map_, published in zip(found[:4], expected, strict=True):
        torch.testing.assert_close(map_, published, rtol=1e-3, atol=1e-3 * published.max().item())
    deviations = encoder.convolutions()[3].norm.running_var
    assert not torch.allclose(deviations, torch.ones_like(deviations), atol=0.01), "batch norm was made from images"


class Runs:
    """A pickle that would create a file when read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)


def test_a_state_dict_that_would_run_code_is_refused_without_running_it(tmp_path: Path) -> None:
    torch.save({"features.0.0.weight": Runs(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(RecipeError, match="nothing else is unpickled") as caught:
        load_torchvision(MobileNetV2(padding="symmetric"), tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
    assert "weights_only" not in str(caught.value), "torch's own advice is to switch the protection off"


# --- files that do not fit ---


def test_a_weight_of_another_shape_is_refused_by_the_number_of_its_convolution(tmp_path: Path) -> None:
    weights, vectors = random_weights(), random_vectors(0.1, 1.0, 1)
    weights[7] = torch.zeros(24, 144, 3, 3)
    torch.save(torchvision_state(weights, [vectors] * 4), tmp_path / "other.pth")
    with pytest.raises(RecipeError, match=r"other\.pth: does not fit this encoder: convolution 7 .*\(24, 144, 3, 3\)"):
        load_torchvision(MobileNetV2(padding="symmetric"), tmp_path / "other.pth")
    with pytest.raises(RecipeError, match="convolution 7 "):
        load_folded(MobileNetV2(), write_folded(tmp_path / "other.npz", weights, vectors), [])


def test_a_bias_of_another_length_is_refused_by_the_number_of_its_convolution(tmp_path: Path) -> None:
    biases = random_vectors(0.1, 0.0, 1)
    biases[3] = torch.zeros(5)
    with pytest.raises(RecipeError, match=r"convolution 3 has the shapes .*\(5,\)"):
        load_folded(MobileNetV2(), write_folded(tmp_path / "other.npz", random_weights(), biases), [])


def test_a_narrow_encoder_is_told_that_imagenet_weights_are_for_width_one(tmp_path: Path) -> None:
    path = write_folded(tmp_path / "start.npz", random_weights(), random_vectors(0.1, 0.0, 1))
    with pytest.raises(RecipeError, match=r"convolution 0 .* width 1\.0"):
        load_folded(MobileNetV2(0.35), path, [])


def test_a_state_dict_of_something_else_is_refused_with_its_count_of_convolutions(tmp_path: Path) -> None:
    torch.save({"model": {}, "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(RecipeError, match="0 convolutions, the network has 52"):
        load_torchvision(MobileNetV2(padding="symmetric"), tmp_path / "checkpoint.pth")


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_one_sentence_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    for load in (lambda: load_torchvision(MobileNetV2(0.35), path), lambda: load_folded(MobileNetV2(0.35), path, [])):
        with pytest.raises(RecipeError, match="damaged") as caught:
            load()
        assert len(caught.value.problems) == 1


def test_a_missing_file_is_one_sentence_that_names_it(tmp_path: Path) -> None:
    for load in (load_torchvision, lambda encoder, path: load_folded(encoder, path, [])):
        with pytest.raises(RecipeError, match=r"absent\.npz: cannot be read"):
            load(MobileNetV2(0.35), tmp_path / "absent.npz")


# --- from a recipe's words ---


def test_a_random_start_changes_nothing() -> None:
    encoder = MobileNetV3("small", 0.25)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    start_encoder(encoder, "random", None, [])
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_a_file_that_fits_is_loaded_whatever_its_width(tmp_path: Path) -> None:
    weights, biases = random_weights(), random_vectors(0.3, 0.0, 1)
    write_folded(tmp_path / "mobilenet_v2_1.0_imagenet.npz", weights, biases)
    found, expected = MobileNetV2(), MobileNetV2()
    images = [ours(photos(2))]
    start_encoder(found, "imagenet", tmp_path, images)
    load_folded(expected, tmp_path / "mobilenet_v2_1.0_imagenet.npz", images)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.state_dict().items())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet_1_1"])
def test_a_narrow_encoder_starts_from_the_strongest_channels_of_the_wide_one(name: str, tmp_path: Path) -> None:
    state = v3_state(name) if name in V3 else squeezenet_state(name)
    torch.save(state, tmp_path / "wide.pth")
    images = [ours(photos(2))]
    found, expected = build(name, 0.25, "symmetric"), build(name, 0.25, "symmetric")
    start_encoder(found, str(tmp_path / "wide.pth"), None, images)
    wide = build(name, 1.0, "symmetric")
    load_torchvision(wide, tmp_path / "wide.pth", images)
    select_channels(wide, expected)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.state_dict().items())


def test_an_encoder_wider_than_its_start_is_refused(tmp_path: Path) -> None:
    torch.save(v3_state("mobilenet_v3_small"), tmp_path / "wide.pth")
    with pytest.raises(RecipeError, match=r"wide\.pth: holds other channels .*network\.width of at most 1"):
        start_encoder(MobileNetV3("small", 1.5), str(tmp_path / "wide.pth"), None, [])


def test_a_state_dict_of_another_encoder_is_refused_also_for_a_narrow_one(tmp_path: Path) -> None:
    torch.save(v3_state("mobilenet_v3_large"), tmp_path / "large.pth")
    with pytest.raises(RecipeError, match=r"large\.pth: does not fit this encoder"):
        start_encoder(MobileNetV3("small", 0.5), str(tmp_path / "large.pth"), None, [])


def test_what_is_wrong_with_a_start_is_told_before_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "state.pth").write_bytes(b"")
    assert start_problems("mobilenet_v3_large", 2.0, "random", None) == []
    assert start_problems("mobilenet_v3_large", 1.0, str(tmp_path / "state.pth"), None) == []
    assert start_problems("squeezenet_1_0", 0.5, "imagenet", tmp_path) == []
    (missing,) = start_problems("mobilenet_v2", 1.0, str(tmp_path / "absent.pth"), None)
    assert "absent.pth" in missing
    (folder,) = start_problems("squeezenet_1_0", 1.0, "imagenet", None)
    assert "squeezenet_1.0_imagenet.npz" in folder
    assert "--weights DIR or EDGESKIN_WEIGHTS" in folder
    none, wide = start_problems("mobilenet_v3_small", 1.4, "imagenet", tmp_path)
    assert "no such weights for mobilenet_v3_small" in none
    assert "torchvision state dict" in none
    assert "network.width is 1.4" in wide


def test_an_imagenet_start_of_an_encoder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there are no such weights for squeezenet_1_1"):
        start_encoder(build("squeezenet_1_1", 0.25), "imagenet", tmp_path, [])
