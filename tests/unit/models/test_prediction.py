"""Networks that predict v: what samplers and losses see of them is the noise."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models import engine
from models.checkpoint import load_checkpoint, save_checkpoint
from models.ddpm import eps_loss
from models.engine import SamplingEngine
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

CONFIG = UNet3DConfig(
    grid=8, base_channels=24, channel_mults=(1, 2), attention_max_size=4, prediction="v"
)
SCHEDULE = NoiseSchedule(ScheduleConfig(num_steps=100))
NOISIEST = 99


def trained(config: UNet3DConfig = CONFIG) -> UNet3D:
    generator = torch.Generator().manual_seed(1)
    network = UNet3D(config, SCHEDULE).eval().requires_grad_(False)
    for weight in network.parameters():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return network


def volumes() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x_start, noise = torch.randn(2, 1, 1, 8, 8, 8, generator=generator).unbind()
    layout = torch.randn(1, 2, 8, 8, 8, generator=generator).sign()
    return x_start.clamp(-1, 1), noise, layout


@pytest.mark.parametrize("t", [0, 50, NOISIEST])
def test_the_clean_volume_follows_from_v_without_an_error_that_grows(t: int) -> None:
    network, (x_start, noise, layout) = trained(), volumes()
    x_t = SCHEDULE.q_sample(x_start, t, noise)
    x, step = torch.cat([x_t, layout], dim=1), torch.tensor([t])
    signal, spread = SCHEDULE.signal_and_spread(t)
    expected = signal * x_t - spread * network.predict(x, step)
    found = SCHEDULE.predict_start_from_noise(x_t, t, network(x, step))
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_the_loss_is_of_v_at_every_step_alike() -> None:
    network, (x_start, noise, layout) = trained(), volumes()
    for t in (0, 50, NOISIEST):
        signal, spread = SCHEDULE.signal_and_spread(t)
        x = torch.cat([SCHEDULE.q_sample(x_start, t, noise), layout], dim=1)
        v = signal * noise - spread * x_start
        expected = (network.predict(x, torch.tensor([t])) - v).abs().mean()
        given = network, SCHEDULE, x_start, layout, torch.tensor([t]), noise
        torch.testing.assert_close(eps_loss(*given, prediction="v"), expected, rtol=1e-3, atol=0)
        # That of the noise all but ignores the noisiest steps.
        torch.testing.assert_close(eps_loss(*given), signal * expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("front_end", ["none", "haar"])
def test_bfloat16_does_not_spoil_the_first_prediction_of_the_clean_volume(
    monkeypatch: pytest.MonkeyPatch, front_end: str
) -> None:
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: True)  # Or emulates it.
    network, (x_start, noise, layout) = trained(replace(CONFIG, front_end=front_end)), volumes()
    x_t, step = SCHEDULE.q_sample(x_start, NOISIEST, noise), torch.tensor([NOISIEST])
    x = torch.cat([x_t, layout], dim=1)
    exact, rounded = (
        SCHEDULE.predict_start_from_noise(x_t, NOISIEST, predict(x, step))
        for predict in (network, SamplingEngine(network, precision="bfloat16"))
    )
    # Rounding x_t to 8 bits before it becomes the noise would put x_0 off by several windows.
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)


def test_a_checkpoint_keeps_the_schedule_that_v_needs_exactly(tmp_path: Path) -> None:
    network = trained()
    save_checkpoint(
        tmp_path / "model",
        network,
        schedule=SCHEDULE,
        preprocessing={},
        training={},
        dtype=torch.float16,
    )
    stored = load_file(tmp_path / "model" / "weights.safetensors")
    assert stored["stem.weight"].dtype == torch.float16
    loaded = load_checkpoint(tmp_path / "model").denoiser
    assert torch.equal(loaded.signal, SCHEDULE.alphas_cumprod.sqrt().float())
    assert torch.equal(loaded.spread, (1.0 - SCHEDULE.alphas_cumprod).sqrt().float())


def test_v_without_the_schedule_of_its_noise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a network that predicts v needs the schedule of its n"):
        UNet3D(CONFIG)
    assert UNet3D(replace(CONFIG, prediction="eps")).config.prediction == "eps"


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction is 'x0'; known are eps, v"):
        UNet3DConfig(prediction="x0")
