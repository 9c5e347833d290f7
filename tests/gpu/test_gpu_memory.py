"""What CUDA allocates, against the estimate that needs no GPU."""

from collections.abc import Callable

import pytest
import torch

from models.ddpm import eps_loss
from models.ema import Ema
from models.engine import SamplingEngine
from models.footprint import Footprint, sampling_footprint, training_footprint
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

PAPER = UNet3DConfig()


def allocated_peak(call: Callable[[], object]) -> int:
    """Return the peak of the second call; the first one tunes kernels and makes Adam's state."""
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def assert_estimated(peak: int, estimate: Footprint) -> None:
    # Workspaces of cuDNN are not estimated, and add to the peak.
    assert 0.9 * estimate.total_bytes < peak < 1.5 * estimate.total_bytes


@pytest.fixture(autouse=True)
def empty_gpu() -> None:
    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < 24e9:
        pytest.skip("less than 24 GB of GPU memory are free")


def test_the_papers_network_samples_in_bfloat16_in_six_gigabytes() -> None:
    network = UNet3D(PAPER).cuda()
    engine = SamplingEngine(network, precision="bfloat16")
    x, t = torch.randn(1, 3, 128, 128, 128, device="cuda"), torch.zeros(1, device="cuda").long()
    with torch.inference_mode():
        peak = allocated_peak(lambda: engine(x, t))
    assert peak < 6e9
    assert_estimated(peak, sampling_footprint(PAPER, precision="bfloat16"))


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_papers_training_step_in_bfloat16_fits_24_gigabytes(
    activation_checkpointing: bool,
) -> None:
    network = UNet3D(PAPER).cuda()
    network.activation_checkpointing = activation_checkpointing
    average, optimizer = Ema(network), torch.optim.Adam(network.parameters())
    schedule = NoiseSchedule(ScheduleConfig())
    x, t = torch.randn(1, 3, 128, 128, 128, device="cuda"), torch.zeros(1, device="cuda").long()

    def step() -> None:
        # Zeros, not None: gradients that are views of DistributedDataParallel's buckets stay too.
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = eps_loss(network, schedule, x[:, :1], x[:, 1:], t, torch.randn_like(x[:, :1]))
        loss.backward()
        optimizer.step()
        average.update(0)

    peak = allocated_peak(step)
    assert peak < 24e9
    estimate = training_footprint(
        PAPER, precision="bfloat16", activation_checkpointing=activation_checkpointing
    )
    assert_estimated(peak, estimate)


def test_checkpointing_changes_no_gradient_on_cuda() -> None:
    config = UNet3DConfig(grid=32, base_channels=32, channel_mults=(1, 2), dropout=0.2)
    network = UNet3D(config).cuda()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    x, t = torch.randn(1, 3, 32, 32, 32, device="cuda"), torch.zeros(1, device="cuda").long()

    def gradients(activation_checkpointing: bool) -> list[torch.Tensor]:
        network.activation_checkpointing = activation_checkpointing
        network.zero_grad()
        torch.manual_seed(3)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            eps = network(x, t)
        eps.float().square().mean().backward()
        return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]

    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        plain, checkpointed = gradients(False), gradients(True)
    for a, b in zip(plain, checkpointed, strict=True):
        # Not to the bit: sums of attention and upsampling on the way back have no fixed order.
        torch.testing.assert_close(a, b, rtol=2e-2, atol=1e-3 * float(a.abs().max()))
