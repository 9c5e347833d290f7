from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.checkpoint import save_checkpoint
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

# 24 channels make norms of three channels a group; norms of one channel would hide the step.
TINY = UNet3DConfig(grid=8, base_channels=24, channel_mults=(1, 2), attention_max_size=4)


def trained(config: UNet3DConfig = TINY) -> UNet3D:
    """Return a network without zeroed convolutions, as after training."""
    generator = torch.Generator().manual_seed(1)
    network = UNet3D(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def volume(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def num_parameters(config: UNet3DConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UNet3D(config).parameters())


def test_the_papers_network_has_exactly_its_40_million_parameters() -> None:
    assert num_parameters(UNet3DConfig()) == 40_226_433


def test_a_nodule_only_network_is_one_input_channel_smaller() -> None:
    # 64 filters of 3 x 3 x 3 read the lung channel.
    assert num_parameters(UNet3DConfig(in_channels=2)) == 40_226_433 - 64 * 27


@pytest.mark.parametrize(
    ("grid", "level"), [(16, 0), (32, 1), (64, 2), (128, 3), (256, 4), (512, None), (48, 2)]
)
def test_the_first_level_of_at_most_16_voxels_attends(grid: int, level: int | None) -> None:
    with torch.device("meta"):
        network = UNet3D(UNet3DConfig(grid=grid, base_channels=24))
    encoder = [i for i, part in enumerate(network.encoder) if part.blocks[0].attention]
    decoder = [4 - i for i, part in enumerate(network.decoder) if part.blocks[0].attention]
    assert encoder == decoder == ([] if level is None else [level])


def test_an_untrained_network_predicts_zero_noise() -> None:
    assert not UNet3D(TINY)(volume(1, 3, 8, 8, 8), torch.tensor([3])).any()


def test_the_arithmetic_of_a_network_never_changes() -> None:
    # Four numbers computed once, when the network agreed with the authors' own to 1e-6.
    network = UNet3D(TINY).eval()
    with torch.no_grad():
        for i, weight in enumerate(network.parameters()):
            weight.copy_((0.3 * torch.sin(i + 0.7 * torch.arange(weight.numel()))).view_as(weight))
    x = torch.sin(0.3 * torch.arange(3 * 512.0)).reshape(1, 3, 8, 8, 8)
    eps = network(x, torch.tensor([17]))
    found = torch.stack([eps[0, 0, 0, 0, 0], eps[0, 0, 3, 5, 6], eps.mean(), eps.std()])
    torch.testing.assert_close(found, torch.tensor(GOLDEN_EPS), rtol=1e-3, atol=1e-4)


def test_each_volume_of_a_batch_is_denoised_at_its_own_step() -> None:
    network, x = trained(), volume(2, 3, 8, 8, 8)
    together = network(x, torch.tensor([0, 200]))
    for i, t in enumerate([0, 200]):
        alone = network(x[i : i + 1], torch.tensor([t]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[1], network(x, torch.tensor([0, 0]))[1], atol=1e-2)


def test_the_layout_changes_the_predicted_noise() -> None:
    network, x = trained(), volume(1, 3, 8, 8, 8)
    other = x.clone()
    other[:, 2, 4, 4, 4] += 2.0
    t = torch.tensor([5])
    assert (network(x, t) - network(other, t)).abs().max() > 1e-2


def test_a_volume_may_be_longer_than_wide() -> None:
    assert trained()(volume(1, 3, 12, 8, 6), torch.tensor([5])).shape == (1, 1, 12, 8, 6)


def test_several_heads_and_blocks_work_in_narrow_networks() -> None:
    # 48 channels: 32 groups do not divide them, 16 do.
    config = UNet3DConfig(
        grid=8, base_channels=16, channel_mults=(1, 3), num_res_blocks=2, num_heads=2
    )
    assert trained(config)(volume(1, 3, 8, 8, 8), torch.tensor([5])).isfinite().all()
    assert UNet3D(config).bottleneck.res1.norm1.num_groups == 16


def test_heads_split_the_channels_they_attend_with() -> None:
    one = UNet3DConfig(grid=8, base_channels=8, channel_mults=(1, 2))
    two = UNet3DConfig(grid=8, base_channels=8, channel_mults=(1, 2), num_heads=2)
    x, t = volume(1, 3, 8, 8, 8), torch.tensor([5])
    assert num_parameters(one) == num_parameters(two)
    assert not torch.allclose(trained(one)(x, t), trained(two)(x, t), atol=1e-3)


def test_gradients_reach_every_weight() -> None:
    network = trained()
    network(volume(1, 3, 8, 8, 8), torch.tensor([5])).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks this small wait for each other's threads most of their time."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def gradients(
    config: UNet3DConfig, *, activation_checkpointing: bool, autocast: bool = False
) -> list[Tensor]:
    """Return the predicted noise, then the gradient of each weight."""
    network = trained(config).train()
    network.activation_checkpointing = activation_checkpointing
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        eps = network(volume(2, 3, 8, 8, 8), torch.tensor([5, 90]))
    eps.float().square().mean().backward()
    found = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert len(found) == len([*network.parameters()])
    return [eps.detach(), *found]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activation_checkpointing_changes_no_bit_of_a_gradient(
    dropout: float, autocast: bool
) -> None:
    config = replace(TINY, dropout=dropout, num_res_blocks=2)
    plain = gradients(config, activation_checkpointing=False, autocast=autocast)
    checkpointed = gradients(config, activation_checkpointing=True, autocast=autocast)
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))


@pytest.mark.usefixtures("one_thread")
def test_activation_checkpointing_takes_no_convolution_twice() -> None:
    flops = []
    for activation_checkpointing in (False, True):
        with FlopCounterMode(display=False) as counter:
            gradients(TINY, activation_checkpointing=activation_checkpointing)
        counts = counter.get_flop_counts()["Global"]
        ways = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
        flops.append([counts[way] for way in ways])
    assert flops[0] == flops[1]
    assert min(flops[0]) > 0


def test_only_training_recomputes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def checkpoint(part: object, *inputs: Tensor, **_: object) -> Tensor:
        calls.append(part)
        assert callable(part)
        return part(*inputs)

    monkeypatch.setattr("models.unet3d.checkpoint", checkpoint)
    network, x, t = trained(), volume(1, 3, 8, 8, 8), torch.tensor([5])
    network.activation_checkpointing = True
    network.eval()(x, t)
    with torch.no_grad():
        network.train()(x, t)
    assert not calls
    network(x, t)
    # Two encoder blocks, four of the decoder, one upsampling, the head.
    assert len(calls) == 2 + 4 + 1 + 1


def test_activation_checkpointing_is_no_part_of_a_checkpoint(tmp_path: Path) -> None:
    network, schedule = trained(), NoiseSchedule(ScheduleConfig())

    def digest() -> str:
        return save_checkpoint(
            tmp_path / "model", network, schedule=schedule, preprocessing={}, training={}
        )

    without = digest()
    network.activation_checkpointing = True
    assert digest() == without


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 40}, r"grid is 40 voxels; with 5 levels .* multiple of 16"),
        ({"grid": 0}, r"grid is 0 voxels"),
        ({"channel_mults": ()}, r"channel_mults is \(\); give each level one"),
        ({"channel_mults": (1, 0)}, r"channel_mults is \(1, 0\)"),
        ({"base_channels": 7}, r"base_channels is 7; it must be even"),
        ({"num_res_blocks": 0}, r"num_res_blocks is 0; it must be at least 1"),
        ({"num_heads": 7}, r"num_heads is 7; it must divide the 192 attending channels"),
        ({"dropout": 1.0}, r"dropout is 1.0; it must be in \[0, 1\)"),
    ],
)
def test_an_impossible_architecture_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet3DConfig(**settings)


def test_an_input_without_the_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 1, 8, 8, 8\).*\(B, 3, D, H, W\)"):
        UNet3D(TINY)(volume(1, 1, 8, 8, 8), torch.tensor([0]))


def test_an_input_that_cannot_be_halved_often_enough_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sides \(8, 8, 7\) voxels; .* multiple of 2"):
        UNet3D(TINY)(volume(1, 3, 8, 8, 7), torch.tensor([0]))


GOLDEN_EPS = [-0.304042, 0.530180, 0.186509, 0.822063]


def test_a_bottleneck_that_group_norm_would_erase_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"one voxel of 32 channels, which leaves one value a norm"
    ):
        UNet3DConfig(grid=16, base_channels=8)
    UNet3DConfig(grid=16, base_channels=24)
