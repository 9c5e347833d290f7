"""The sampling engine on CUDA: precision, graphs, noise made ahead, and no waiting for the device."""

import pytest
import torch
from torch import Tensor

from models.aas import aas_sample
from models.engine import SamplingEngine
from models.noise import NoiseAhead
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SCHEDULE = NoiseSchedule(ScheduleConfig(num_steps=8))


@pytest.fixture(scope="module")
def network() -> UNet3D:
    generator = torch.Generator().manual_seed(1)
    config = UNet3DConfig(grid=32, base_channels=24, channel_mults=(1, 2, 2), attention_max_size=8)
    network = UNet3D(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            spread = 0.1 if weight.ndim == 1 else weight[0].numel() ** -0.5
            weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    return network.cuda()


def drawn(engine: SamplingEngine, sampler: str, **options: object) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    layout = torch.full((1, 2, 32, 32, 32), -1.0, device="cuda")
    layout[:, 0, 8:24, 8:24, 8:24] = 1.0
    return aas_sample(
        engine,
        SCHEDULE,
        layout=layout,
        x_known=torch.linspace(-1, 1, 32**3, device="cuda").reshape(1, 1, 32, 32, 32),
        draw_noise=lambda shape: torch.randn(shape, generator=generator),
        sampler=sampler,
        **options,
    )


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-2), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_engine_predicts_what_the_network_does(
    network: UNet3D, precision: str, tolerance: float, compiled: bool
) -> None:
    engine = SamplingEngine(network, precision=precision, compiled=compiled)
    x = torch.randn(1, 3, 32, 32, 32, generator=torch.Generator().manual_seed(2)).cuda()
    t = torch.tensor([5], device="cuda")
    with torch.inference_mode():
        expected = network(x, t)
        for _ in range(3):
            assert relative_error(engine(x, t), expected) < tolerance


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
def test_graphs_draw_the_volume_that_eager_kernels_do(network: UNet3D, sampler: str) -> None:
    eager, graphs = (SamplingEngine(network, compiled=compiled) for compiled in (False, True))
    # TF32 in other orders of summation, grown over 8 steps of an untrained network.
    assert relative_error(drawn(graphs, sampler), drawn(eager, sampler)) < 5e-2


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m"])
def test_the_loop_never_waits_for_the_device(network: UNet3D, sampler: str, compiled: bool) -> None:
    engine = SamplingEngine(network, compiled=compiled)
    drawn(engine, sampler)
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn(engine, sampler)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_noise_made_ahead_is_the_same_noise_in_the_same_order() -> None:
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    like = torch.zeros(1, 1, 64, 64, 64, device="cuda")
    with NoiseAhead(lambda shape: torch.randn(shape, generator=generator), like, 9) as noise:
        for _ in range(9):
            expected = torch.randn(like.shape, generator=again)
            assert torch.equal(noise.next().cpu(), expected)
