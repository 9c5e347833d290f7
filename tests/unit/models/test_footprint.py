"""Memory that is counted without a GPU, against hand counts, a profiler and true tensors."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from models.blocks import GroupNorm32
from models.ema import Ema
from models.engine import SamplingEngine
from models.footprint import (
    _CudaKernels,
    forward_flops,
    peak_bytes,
    sampling_footprint,
    training_footprint,
)
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

SMALL = UNet3DConfig(grid=16, base_channels=8, channel_mults=(1, 2), attention_max_size=8)
PAPER = UNet3DConfig()
KILOBYTE = torch.Size([256])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small wait for each other's threads most of their time."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def chained() -> None:
    a = torch.zeros(KILOBYTE)
    b = torch.cat([a, a])
    del a
    torch.cat([b, b])


def viewed() -> None:
    a = torch.zeros(KILOBYTE)
    views = [a.view(16, 16), a[:8], a.reshape(-1), a.detach()]
    a.add_(1.0)
    assert len(views) == 4


def differentiated() -> None:
    x = torch.zeros(KILOBYTE, requires_grad=True)
    # exp keeps its result for the way back; there a scalar's gradient and x's meet x and exp(x).
    x.exp().sum().backward()


@pytest.mark.parametrize(
    ("call", "expected"),
    [(chained, 2048 + 4096), (viewed, 1024), (differentiated, 3 * 1024 + 2 * 4)],
)
def test_the_peak_is_the_one_that_a_hand_counts(call: Callable[[], None], expected: int) -> None:
    assert peak_bytes(call) == expected


def test_what_was_there_before_costs_nothing_and_neither_do_its_views() -> None:
    layer, x = nn.Linear(64, 64), torch.zeros(1, 64)
    assert peak_bytes(lambda: layer(x)) == 64 * 4
    assert peak_bytes(lambda: [layer.weight.t(), x[0], x.add_(1.0)]) == 0


def test_torchs_profiler_sees_the_same_peak_in_a_training_step() -> None:
    # No convolutions: those of the CPU have a workspace, which only the profiler sees.
    norm, layer, x = nn.GroupNorm(4, 8), nn.Linear(128, 64), torch.randn(2, 8, 128)

    def step() -> None:
        for parameter in (*norm.parameters(), *layer.parameters()):
            parameter.grad = None
        F.silu(layer(F.silu(norm(x)))).square().mean().backward()

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = profiled.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = peak = 0
    for _, size in memory:
        now += size
        peak = max(peak, now)
    assert peak_bytes(step) == peak


def true_training_peak(*, activation_checkpointing: bool, autocast: bool = False) -> int:
    network = UNet3D(SMALL)
    network.activation_checkpointing = activation_checkpointing
    x, t = torch.randn(1, 3, 16, 16, 16), torch.tensor([3])
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            eps = network(x, t)
        F.l1_loss(eps.float(), x[:, :1]).backward()

    return peak_bytes(step)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_a_training_step_takes_what_is_estimated(activation_checkpointing: bool) -> None:
    estimate = training_footprint(SMALL, activation_checkpointing=activation_checkpointing)
    true = true_training_peak(activation_checkpointing=activation_checkpointing)
    assert estimate.activation_bytes == pytest.approx(true, rel=0.005)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_an_autocast_training_step_takes_what_is_estimated(
    activation_checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_cuda(norm: GroupNorm32, x: Tensor) -> Tensor:
        out = F.group_norm(x.float(), norm.num_groups, norm.weight, norm.bias, norm.eps)
        return out.to(x.dtype)

    estimate = training_footprint(
        SMALL, precision="bfloat16", activation_checkpointing=activation_checkpointing
    )
    monkeypatch.setattr(GroupNorm32, "forward", on_cuda)
    true = true_training_peak(activation_checkpointing=activation_checkpointing, autocast=True)
    # The casts of the weights, a twentieth in a network this small, are not all alive at the peak.
    assert estimate.activation_bytes == pytest.approx(true, rel=0.04)


def test_the_state_of_training_is_weights_gradients_adam_and_the_average() -> None:
    network = UNet3D(SMALL)
    average, optimizer = Ema(network), torch.optim.Adam(network.parameters())
    network(torch.randn(1, 3, 16, 16, 16), torch.tensor([3])).mean().backward()
    optimizer.step()
    tensors = [*network.parameters(), *average.module.parameters()]
    tensors += [weight.grad for weight in network.parameters()]
    tensors += [value for of in optimizer.state.values() for value in of.values() if value.ndim]
    found = sum(tensor.nbytes for tensor in tensors)
    assert training_footprint(SMALL).state_bytes == found


def test_sampling_holds_nothing_at_its_peak_but_what_the_last_join_needs() -> None:
    # 16 channels from below and 8 of the skip, joined; a copy for CUDA's group norm, and its output;
    # the stem's 8, which are joined next; the 3 of the input.
    channels = 3 * (16 + 8) + 8 + 3
    peak = sampling_footprint(SMALL).activation_bytes
    assert peak <= 1.001 * channels * 16**3 * 4


def test_a_sampler_holds_the_weights_once() -> None:
    weights = sum(weight.nbytes for weight in UNet3D(SMALL).parameters())
    assert sampling_footprint(SMALL).state_bytes == weights
    # Half, but for norms and the step embedding, which stay float32.
    state = sampling_footprint(SMALL, precision="bfloat16").state_bytes
    assert 0.5 * weights < state < 0.55 * weights


@pytest.mark.parametrize(("channels_last", "features"), [(False, 2), (True, 3)])
def test_group_norm_on_cuda_takes_a_copy_of_voxels_that_lie_channels_last(
    channels_last: bool, features: int
) -> None:
    with torch.device("meta"):
        convolution, x = nn.Conv3d(3, 8, 3, padding=1), torch.empty(1, 3, 32, 32, 32)
    with torch.no_grad(), _CudaKernels(channels_last=channels_last):
        peak = peak_bytes(lambda: F.group_norm(convolution(x), 4))
    assert peak == pytest.approx(features * 8 * 32**3 * 4, rel=0.001)


def test_a_prediction_takes_what_is_estimated() -> None:
    engine, x = SamplingEngine(UNet3D(SMALL)), torch.randn(1, 3, 16, 16, 16)
    with torch.inference_mode():
        true = peak_bytes(lambda: engine(x, torch.tensor([3])))
    assert sampling_footprint(SMALL).activation_bytes == pytest.approx(true, rel=0.01)


def test_the_papers_network_samples_in_six_gigabytes_and_256_cubed_in_eighty() -> None:
    assert sampling_footprint(PAPER, precision="bfloat16").total_bytes < 6e9
    assert sampling_footprint(PAPER, grid=256, precision="bfloat16").total_bytes < 80e9


def test_the_papers_training_step_takes_half_of_a_24_gigabyte_gpu_with_checkpointing() -> None:
    without = training_footprint(PAPER, precision="bfloat16")
    checkpointed = training_footprint(PAPER, precision="bfloat16", activation_checkpointing=True)
    assert checkpointed.total_bytes < 12e9
    assert checkpointed.activation_bytes < 0.65 * without.activation_bytes


def test_a_batch_of_two_takes_twice_the_activations_and_the_same_state() -> None:
    one = training_footprint(SMALL, activation_checkpointing=True)
    two = training_footprint(SMALL, activation_checkpointing=True, batch_size=2)
    assert two.state_bytes == one.state_bytes
    assert two.activation_bytes == pytest.approx(2 * one.activation_bytes, rel=0.05)


def test_attention_never_holds_a_score_for_each_pair_of_voxels() -> None:
    config = UNet3DConfig(grid=64, base_channels=16, channel_mults=(1, 1), attention_max_size=32)
    scores = 4 * (32**3) ** 2
    assert training_footprint(config).activation_bytes < scores / 4


def test_the_papers_network_takes_5_54_teraflop_a_prediction() -> None:
    # A 3 x 3 x 3 convolution of 64 channels at 128^3 has 0.46 of them; here are twelve's worth.
    assert forward_flops(PAPER) == 5_536_663_142_400


def test_an_unknown_precision_and_a_grid_that_does_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^precision is 'half'; known are float32, bfloat16$"):
        training_footprint(SMALL, precision="half")
    with pytest.raises(ValueError, match=r"sides \(17, 17, 17\) voxels; .* multiple of 2"):
        sampling_footprint(SMALL, grid=17)
