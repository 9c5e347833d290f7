import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.blocks import GroupNorm32, conv3d, num_groups, step_embedding


def test_group_norm_of_half_precision_activations_is_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dtypes: list[torch.dtype] = []
    group_norm = F.group_norm

    def recorded(x: Tensor, *settings: object) -> Tensor:
        dtypes.append(x.dtype)
        return group_norm(x, *settings)

    monkeypatch.setattr(F, "group_norm", recorded)
    normed = GroupNorm32(8, 8).half()(torch.randn(1, 8, 4, 4, 4).half())
    assert (dtypes, normed.dtype) == ([torch.float32], torch.float16)


def test_step_embedding_is_cosines_then_sines_of_a_geometric_series() -> None:
    angles = [7.0 / 1000 ** (i / 3) for i in range(3)]
    expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    torch.testing.assert_close(step_embedding(torch.tensor([7]), 6)[0], torch.tensor(expected))


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (24, 8), (8, 8), (6, 2)])
def test_norms_have_32_groups_or_the_largest_divisor_of_32_and_the_width(
    channels: int, groups: int
) -> None:
    assert num_groups(channels) == groups


def far_from_zero(dtype: torch.dtype, num_volumes: int = 1) -> Tensor:
    """Voxels whose mean is fifty times their spread, channels last."""
    generator = torch.Generator().manual_seed(0)
    voxels = torch.randn(num_volumes, 32, 16, 16, 16, generator=generator) + 50
    return voxels.to(dtype, memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("num_volumes", [1, 2])
@pytest.mark.parametrize("num_groups", [8, 32])
def test_channels_last_a_norm_is_as_exact_as_otherwise(num_groups: int, num_volumes: int) -> None:
    x = far_from_zero(torch.float32, num_volumes)
    norm = GroupNorm32(num_groups, 32)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    expected = F.group_norm(
        x.double().contiguous(), num_groups, norm.weight.double(), norm.bias.double()
    )
    # torch's own kernel is 0.01 off here: E[x^2] - E[x]^2 cancels.
    torch.testing.assert_close(norm(x).double(), expected, rtol=0, atol=5e-5)
    assert norm(x).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_norm_of_bfloat16_voxels_rounds_its_result_alone(
    memory_format: torch.memory_format,
) -> None:
    x = far_from_zero(torch.bfloat16).to(memory_format=memory_format)
    found, expected = GroupNorm32(8, 32)(x), F.group_norm(x.double().contiguous(), 8)
    assert found.dtype == torch.bfloat16
    # Half a step of 8 bits, and a little for the sums.
    assert ((found - expected).abs() <= 2**-8 * expected.abs() + 2e-3).all()


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (1, 1), (3, 2)])
def test_a_convolution_gives_the_same_whoever_computes_it(size: int, stride: int) -> None:
    conv = conv3d(6, 8, size, stride=stride)
    x = torch.randn(2, 6, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = F.conv3d(x, conv.weight, conv.bias, stride, size // 2)
    with torch.inference_mode():
        torch.testing.assert_close(conv(x), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(conv(x), expected)


def test_only_sampling_goes_past_torchs_choice_of_a_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    own = torch.mkldnn_convolution
    monkeypatch.setattr(
        torch, "mkldnn_convolution", lambda *given: calls.append(given) or own(*given)
    )
    conv, x = conv3d(2, 4, 3), torch.zeros(1, 2, 4, 4, 4)
    conv(x).sum().backward()
    assert not calls
    with torch.inference_mode():
        conv(x)
    assert len(calls) == 1


SHALLOW = """
import torch
from models.blocks import conv3d

torch.manual_seed(0)
for channels, side in ((24, 2), (48, 2), (24, 4)):
    conv = conv3d(channels, channels, 3)
    x = torch.randn(1, channels, 2, side, side)
    conv(x).square().mean().backward()
    expected, conv.weight.grad = conv.weight.grad, None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(x)
        out.float().square().mean().backward()
    assert out.dtype == torch.bfloat16
    off = (conv.weight.grad - expected).norm() / expected.norm()
    assert off < 0.01, f"{channels} channels, 2 x {side} x {side}: {off:.2e}"
"""


def test_gradients_of_two_slices_in_bfloat16_do_not_depend_on_what_memory_held() -> None:
    # glibc then fills what it hands out, so that reading unwritten memory shows at once.
    environment = {**os.environ, "MALLOC_PERTURB_": "128"}
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", SHALLOW], check=True, env=environment, cwd=root)
