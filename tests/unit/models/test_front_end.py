import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models import engine
from models.engine import SamplingEngine
from models.footprint import forward_flops
from models.front_end import haar, inverse_haar
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

SMALL = UNet3DConfig(
    grid=16, base_channels=24, channel_mults=(1, 2), attention_max_size=4, front_end="haar"
)


def volumes(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_what_haar_takes_apart_its_inverse_puts_together() -> None:
    x = volumes(2, 3, 4, 6, 8)
    assert haar(x).shape == (2, 24, 2, 3, 4)
    torch.testing.assert_close(inverse_haar(haar(x)), x, rtol=0, atol=1e-12)


def test_white_noise_stays_white() -> None:
    """The transform is orthonormal: eight unit impulses become eight orthogonal unit vectors."""
    impulses = torch.eye(8, dtype=torch.float64).view(8, 1, 2, 2, 2)
    bands = haar(impulses).flatten(1)
    torch.testing.assert_close(bands @ bands.T, torch.eye(8, dtype=torch.float64))


def test_the_first_band_is_the_mean_and_the_others_are_differences() -> None:
    bands = haar(torch.full((1, 2, 2, 2, 2), 3.0)).flatten(2)
    expected = [3.0 * math.sqrt(8)] + [0.0] * 7
    assert bands[0, :8, 0].tolist() == pytest.approx(expected)
    assert bands[0, 8:, 0].tolist() == pytest.approx(expected)
    x = torch.zeros(1, 1, 2, 2, 2)
    x[0, 0, :, :, 1] = 1.0  # Neighbours along the last axis differ: only its band answers.
    only = haar(x).flatten()
    assert only.nonzero().flatten().tolist() == [0, 4]


def test_bands_of_a_channel_lie_beside_each_other() -> None:
    x = volumes(1, 2, 4, 4, 4)
    torch.testing.assert_close(haar(x)[:, 8:], haar(x[:, 1:]))


def test_a_network_on_bands_predicts_voxels_for_an_eighth_of_the_operations() -> None:
    network = UNet3D(SMALL)
    x, t = volumes(1, 3, 16, 16, 16, dtype=torch.float32), torch.tensor([3])
    with FlopCounterMode(display=False) as counter:
        assert network(x, t).shape == (1, 1, 16, 16, 16)
    on_voxels = UNet3DConfig(**{**vars_of(SMALL), "front_end": "none", "attention_max_size": 8})
    # Less for attention, which is quadratic; more for the first and the last convolution.
    assert 0.1 < counter.get_total_flops() / forward_flops(on_voxels) < 0.2


def vars_of(config: UNet3DConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__slots__}


def test_an_untrained_network_on_bands_predicts_zero_noise_and_learns_from_all_of_it() -> None:
    network = UNet3D(SMALL)
    x = volumes(1, 3, 16, 16, 16, dtype=torch.float32)
    eps = network(x, torch.tensor([3]))
    assert not eps.any()
    (eps - x[:, :1]).square().mean().backward()
    of_bands = network.head.weight.grad.flatten(1).norm(dim=1)
    assert of_bands.shape == (8,)
    assert (of_bands > 0).all()


def test_from_bfloat16_voxels_bands_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """And put together in float32: sums in bfloat16 would round along each of the axes."""
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: True)
    network = UNet3D(SMALL)
    nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(1))
    fast = SamplingEngine(network, precision="bfloat16")
    seen: dict[str, Tensor] = {}
    fast._network.stem.register_forward_pre_hook(lambda _, given: seen.update(bands=given[0]))
    fast._network.head.register_forward_hook(lambda _, __, out: seen.update(out=out))
    x = volumes(1, 3, 16, 16, 16, dtype=torch.float32)
    with torch.inference_mode():
        eps = fast(x, torch.tensor([3]))
    assert torch.equal(seen["bands"], haar(x.bfloat16().float()).bfloat16())
    assert (seen["out"].dtype, eps.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(eps, inverse_haar(seen["out"].float()))


def test_attention_is_placed_by_the_sides_behind_the_front_end() -> None:
    assert UNet3DConfig(front_end="haar").attention_level == 2
    assert UNet3DConfig().attention_level == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"front_end": "dct"}, r"front_end is 'dct'; known are none, haar"),
        (
            {"front_end": "haar", "grid": 48},
            r"grid is 48 voxels; with 5 levels after the front end it must be .* multiple of 32",
        ),
    ],
)
def test_an_impossible_front_end_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet3DConfig(**settings)


def test_sides_that_leave_no_even_bands_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 levels after the front end each must be a multiple"):
        UNet3D(SMALL)(torch.zeros(1, 3, 6, 8, 8), torch.tensor([0]))
