import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.blocks import GroupNorm32, num_groups, step_embedding


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
