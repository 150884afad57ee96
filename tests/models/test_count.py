import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgeskin.models.count import PartCost, count
from edgeskin.models.encoder import BUILT, encoder


@pytest.mark.parametrize(
    ("name", "millions", "classifier", "tolerance"),
    [
        (
            # Sandler et al. 2018, table 4: 300 M; classifier 1280 -> 1000.
            "mobilenet_v2",
            300,
            1280 * 1000,
            0.005,
        ),
        (
            # Howard et al. 2019, table 3: 219 M. torchvision 0.20 counts 217 M of the same layers.
            "mobilenet_v3_large",
            219,
            960 * 1280 + 1280 * 1000,
            0.015,
        ),
        (
            # Howard et al. 2019, table 3: 56 M.
            "mobilenet_v3_small",
            56,
            576 * 1024 + 1024 * 1000,
            0.015,
        ),
    ],
)
def test_multiply_adds_at_224_are_the_published_ones(
    name: str, millions: int, classifier: int, tolerance: float
) -> None:
    with torch.device("meta"):
        costs = count(encoder(name), torch.zeros(1, 3, 224, 224))
    assert sum(cost.multiply_adds for cost in costs) + classifier == pytest.approx(millions * 1e6, rel=tolerance)


@pytest.mark.parametrize("name", BUILT)
def test_the_parts_add_up_to_torchs_own_count(name: str) -> None:
    with torch.device("meta"):
        network, image = encoder(name), torch.zeros(2, 3, 64, 64)
        with FlopCounterMode(display=False) as counter:
            network(image)
        costs = count(network, image)
    assert 2 * sum(cost.multiply_adds for cost in costs) == counter.get_total_flops()
    assert sum(cost.parameters for cost in costs) == sum(parameter.numel() for parameter in network.parameters())


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.BatchNorm2d(8))
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1)
        self.heads = nn.ModuleDict({"one": nn.Linear(6, 3), "idle": nn.Linear(6, 2)})
        self.shared = nn.Sequential(self.body[0])

    def forward(self, x: Tensor, factor: Tensor) -> dict[str, Tensor]:
        x = self.up(self.body(x)) * factor
        return {"one": self.heads["one"](x.mean((2, 3)))}


def test_each_part_has_its_own_line_counted_by_hand() -> None:
    costs = count(Parts(), torch.zeros(1, 4, 10, 10), torch.ones(1))
    assert costs == (
        # 8 outputs a pixel of 2 inputs · 9 taps; weights, bias, gain and bias.
        PartCost("body", ((1, 8, 10, 10),), 8 * 2 * 9 + 8 + 16, 100 * 8 * 2 * 9),
        # Each of 8 inputs a pixel meets 6 outputs · 16 taps.
        PartCost("up", ((1, 6, 20, 20),), 8 * 6 * 16 + 6, 100 * 8 * 6 * 16),
        PartCost("heads.one", ((1, 3),), 6 * 3 + 3, 6 * 3),
        PartCost("heads.idle", (), 6 * 2 + 2, 0),
        PartCost("shared", (), 0, 0),
    )


def test_a_layer_that_runs_twice_costs_twice_and_weighs_once() -> None:
    layer = nn.Conv2d(4, 4, 1)
    (cost,) = count(nn.Sequential(nn.Sequential(layer, layer)), torch.zeros(3, 4, 5, 5))
    assert (cost.parameters, cost.multiply_adds) == (4 * 4 + 4, 2 * 3 * 25 * 4 * 4)


def test_a_network_of_one_layer_is_its_own_part() -> None:
    assert count(nn.Linear(3, 2), torch.zeros(1, 3)) == (PartCost("", ((1, 2),), 8, 6),)


def test_on_the_meta_device_nothing_is_computed_and_no_hook_is_left() -> None:
    with torch.device("meta"):
        network = encoder("squeezenet_1_1")
        costs = count(network, torch.zeros(1, 3, 1024, 1024))
    # The stem by hand: 512² pixels · 64 outputs · 27 taps.
    assert costs[0] == PartCost("stem", ((1, 64, 512, 512),), 64 * 27 + 128, 512**2 * 64 * 27)
    assert not any(module._forward_hooks for module in network.modules())
