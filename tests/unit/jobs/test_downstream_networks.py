"""MONAI's networks by name, on any grid."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from factory.errors import RecipeError, UsageError
from jobs.downstream import networks
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.networks import (
    SEGMENTERS,
    PaddedNetwork,
    build_network,
    call_of,
    check_network,
    try_network,
    try_without_weights,
)
from jobs.downstream.training import renew_norms
from jobs.recipe import Recipe

SMALL = {"channels": [4, 8], "strides": [2]}


def config(network: str = "AttentionUnet", **arguments: Any) -> DownstreamConfig:
    return DownstreamConfig(network=network, network_args=arguments)


class Shifted(nn.Module):
    """Gives the volume that it is fed, and its negative; remembers the grid."""

    grid: tuple[int, ...] = ()

    def forward(self, units: Tensor) -> Tensor:
        self.grid = tuple(units.shape[2:])
        self.corner = float(units[0, 0, 0, 0, 0])
        return torch.cat([units, -units], dim=1)


def test_the_default_is_the_attention_u_net_of_the_paper() -> None:
    call = call_of(DownstreamConfig())
    assert (call.name, call.divisors) == ("AttentionUnet", (16, 16, 16))
    assert call.arguments["channels"] == (16, 32, 64, 128, 256)
    assert call.arguments["out_channels"] == 2


def test_what_comes_out_lies_where_it_came_from_on_any_grid() -> None:
    inner = Shifted()
    network = PaddedNetwork(inner, (8, 4, 2), "Shifted")
    for grid, padded in (
        ((7, 5, 9), (16, 8, 10)),
        ((16, 8, 4), (16, 8, 4)),
        ((17, 9, 5), (24, 12, 6)),
    ):
        units = torch.rand(2, 1, *grid)
        logits = network(units)
        assert inner.grid == padded
        assert torch.equal(logits, torch.cat([units, -units], dim=1))
    assert inner.corner == -1.0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("UNet", {"channels": [4, 8], "strides": [2]}),
        ("BasicUNet", {"features": [4, 4, 4, 4, 4, 4]}),
        ("SegResNet", {"init_filters": 8}),
    ],
)
def test_other_networks_take_a_grid_that_they_do_not_divide(
    name: str, arguments: Mapping[str, Any]
) -> None:
    network = build_network(call_of(config(name, **arguments)))
    try_network(network, (9, 10, 11))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            config("AttentionUNet"),
            r"MONAI has none of this name; .*as AttentionUnet.*Correct the n",
        ),
        (config("torch"), r"network torch: MONAI has none of this name"),
        (
            config("os.system"),
            r"expected one of monai.networks.nets, as AttentionUnet, Basic.*, VNet",
        ),
        (config("SegResNetD"), r"expected one of monai.networks.nets, as SegResNetDS, SegResNet"),
        (
            config(chanels=[4, 8]),
            r"network_args\] chanels: AttentionUnet has no such .* of spatial_dims, in_channels, .*"
            r"channels, strides, kernel_size",
        ),
        (config("UNETR"), r"found no img_size; expected it, for UNETR needs in_channels, out_chan"),
        (
            config(strides=[0, 2]),
            r"strides: found \[0, 2\]; expected whole numbers, or three of th",
        ),
        (
            config(channels="wide", strides=[2]),
            r"AttentionUnet does not take .*'wide'.*: .*",
        ),
    ],
)
def test_a_network_that_cannot_be_meant_is_answered_with_what_can(
    asked: DownstreamConfig, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_network(call_of(asked))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "AttentionUnet",
            {**SMALL, "out_channels": 3},
            r"found \(1, 3, 8, 8, 8\) out of \(1, 1, 8",
        ),
        ("DenseNet121", {}, r"found \(1, 2\) out of .*expected \(1, 2, 64.* for segmentation"),
        (
            "AttentionUnet",
            {**SMALL, "in_channels": 2},
            r"fails on a volume of \(8, 8, 8\) voxels \(",
        ),
    ],
)
def test_a_network_for_another_task_is_refused_before_it_trains(
    name: str, arguments: Mapping[str, Any], message: str
) -> None:
    network = build_network(call_of(config(name, **arguments)))
    with pytest.raises(UsageError, match=message):
        try_network(network, (8, 8, 8))


def test_without_monai_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "monai.networks", None)
    with pytest.raises(
        UsageError, match=r"found no MONAI, .* pip install 'ct-factory\[evaluate\]'"
    ):
        call_of(DownstreamConfig())


def test_statistics_of_batch_norm_become_those_of_the_volumes() -> None:
    norm = nn.BatchNorm3d(1)
    norm(torch.randn(1, 1, 4, 4, 4))
    volumes = [torch.full((1, 1, 4, 4, 4), 3.0), torch.full((1, 1, 4, 4, 4), 5.0)]
    volumes[0][..., ::2] = 1.0
    renew_norms(norm, volumes)
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(3.5)
    assert not norm.training


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"steps": 0}, r"steps is 0; it must be at least 1"),
        ({"learning_rate": float("nan")}, r"learning_rate is nan; it must be above 0, and finite"),
        ({"max_grad_norm": -1.0}, r"max_grad_norm is -1.0; it must be 0 or more"),
        ({"hu_window": [600.0, -1024.0]}, r"the first must be the lower"),
        ({"precision": "float16"}, r"precision is 'float16'; known are float32, bfloat16"),
        ({"network_args": 3}, r"network_args is 3; it must be a table"),
        ({"stepps": 3}, r"stepps: unknown key; expected one of augment, batch_size"),
    ],
)
def test_a_slip_in_the_recipe_is_named(line: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=rf"recipe own: \[downstream\].*{message}"):
        Recipe("own", {"downstream": line}).table("downstream", DownstreamConfig)


def test_a_recipe_names_the_network_and_its_arguments() -> None:
    text = {"network": "UNet", "network_args": SMALL, "augment": {"rotation_deg": 5.0}}
    found = Recipe("own", {"downstream": text}).table("downstream", DownstreamConfig, steps=7)
    assert (found.network, found.steps, found.augment.rotation_deg) == ("UNet", 7, 5.0)
    assert call_of(found).arguments["channels"] == [4, 8]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_networks_that_are_suggested_can_be_trained(name: str) -> None:
    arguments = SMALL if name == "UNet" else {}
    try:
        try_without_weights(check_network(config(name, **arguments)), (40, 64, 50))
    except UsageError as error:
        # SwinUNETR, where a package is not installed.
        if "Run `pip install" not in str(error):
            raise


class Raising(nn.Module):
    """Raises what it is told to, when it is fed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.error = error

    def forward(self, units: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            AttributeError("no attribute 'rearrange'"),
            r"\(AttributeError: no attribute 'rearrange'\)",
        ),
        (KeyError("size"), r"\(KeyError: 'size'\)"),
        (RuntimeError("sizes must match\nat"), r"\(sizes must match\)"),
        (ImportError("No module named 'einops.layers'"), r"found no einops, which it needs"),
        (ImportError("DLL load failed"), r"cannot be imported \(ImportError: DLL load failed\)"),
    ],
)
def test_whatever_a_network_raises_when_it_is_fed_is_one_refusal(
    error: Exception, message: str
) -> None:
    for feed in (try_network, try_without_weights):
        with pytest.raises(UsageError, match=rf"network Own: .*{message}"):
            feed(PaddedNetwork(Raising(error), (1, 1, 1), "Own"), (4, 4, 4))


def test_a_grid_is_refused_without_computing_anything() -> None:
    network = build_network(call_of(config("DenseNet121")))
    with pytest.raises(UsageError, match=r"found \(1, 2\) out of \(1, 1, 4096"):
        try_without_weights(network, (4096, 4096, 4096))


def test_a_network_that_asks_for_numbers_is_left_to_its_run() -> None:
    class Asking(nn.Conv3d):
        def forward(self, units: Tensor) -> Tensor:
            return super().forward(units) * units.max().item()

    network = PaddedNetwork(Asking(1, 2, 1), (1, 1, 1), "Asking")
    try_without_weights(network, (4, 4, 4))


def test_a_network_without_weights_has_nothing_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "Shifted", Shifted, raising=False)
    with pytest.raises(UsageError, match=r"network Shifted: found no weights in it; expected some"):
        check_network(config("Shifted"))


@pytest.mark.parametrize(
    ("told", "needs"),
    [
        ("Tensor.item() cannot be called on meta tensors", True),
        ("metadata of the grid does not fit", False),
    ],
)
def test_only_a_refusal_that_names_the_meta_device_is_let_through(told: str, needs: bool) -> None:
    assert networks._needs_numbers(RuntimeError(told)) is needs
