"""CUDA against the CPU, and xformers against torch's attention."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.aas import aas_sample
from models.attention import attention, attention_backend
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def random_denoiser() -> UNet3D:
    generator = torch.Generator().manual_seed(1)
    network = UNet3D(UNet3DConfig(grid=16, base_channels=16, channel_mults=(1, 2, 2))).eval()
    with torch.no_grad():
        for weight in network.parameters():
            spread = 0.1 if weight.ndim == 1 else weight[0].numel() ** -0.5
            weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    return network


@pytest.fixture
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn TF32 off: it rounds products to 10 bits, the CPU to 23."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_a_volume_drawn_on_cuda_is_the_one_drawn_on_the_cpu(variant: str) -> None:
    layout = torch.full((1, 2, 16, 16, 16), -1.0)
    layout[:, 0, 4:12, 4:12, 4:12] = 1.0
    denoiser = random_denoiser()
    x_known = torch.linspace(-1, 1, 16**3).reshape(1, 1, 16, 16, 16)

    def drawn_on(device: str) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return aas_sample(
            denoiser.to(device),
            NoiseSchedule(ScheduleConfig(num_steps=8)),
            layout=layout.to(device),
            x_known=x_known.to(device),
            draw_noise=lambda shape: torch.randn(shape, generator=generator),
            variant=variant,
        ).cpu()

    on_cpu, on_cuda = drawn_on("cpu"), drawn_on("cuda")
    # float32 rounding of the two devices, grown over 8 steps of an untrained network.
    assert (on_cuda - on_cpu).norm() / on_cpu.norm() < 1e-3
    if variant == "paper":
        outside = (layout == -1).all(dim=1, keepdim=True)
        assert torch.equal(on_cuda[outside], x_known[outside])


@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.float16, 5e-3), (torch.bfloat16, 3e-2)],
)
@pytest.mark.parametrize("channels", [20, 64, 192])
def test_xformers_agrees_with_torchs_attention(
    dtype: torch.dtype, tolerance: float, channels: int
) -> None:
    if attention_backend() != "xformers":
        pytest.skip("xformers is not installed, or its CUDA kernels do not load")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 2, 512, channels, generator=generator).to("cuda", dtype) for _ in range(3)
    )
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    torch.testing.assert_close(attention(q, k, v).float(), expected, rtol=0, atol=tolerance)
