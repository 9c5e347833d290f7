import pytest
import torch
from torch import Tensor

from models.attention import attention, attention_backend


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1) @ v


@pytest.mark.parametrize(("heads", "channels"), [(1, 64), (4, 16), (3, 5)])
def test_attention_is_softmax_of_scaled_products_times_values(heads: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 27, channels, generator=generator) for _ in range(3))
    # 1e-5: float32 rounding of sums over 27 tokens of order-one values.
    torch.testing.assert_close(attention(q, k, v), softmax_attention(q, k, v), rtol=0, atol=1e-5)


def test_attention_lets_every_volume_and_head_attend_to_itself_only() -> None:
    q = torch.zeros(2, 2, 8, 4)
    v = torch.arange(4.0).reshape(2, 2, 1, 1).expand(2, 2, 8, 4)
    torch.testing.assert_close(attention(q, q, v), v)


def test_attention_takes_torchs_kernel_where_there_is_no_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from models import attention as module

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    module._xformers_kernel.cache_clear()
    assert attention_backend() == "sdpa"
    module._xformers_kernel.cache_clear()


def test_attention_falls_back_when_xformers_refuses_cuda_tensors() -> None:
    from models import attention as module

    def refuses(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError("xFormers wasn't build with CUDA support")

    real_zeros = torch.zeros
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch, "zeros", lambda *shape, device: real_zeros(*shape))
        patch.setattr(module, "_import_quietly", lambda: refuses)
        module._xformers_kernel.cache_clear()
        assert attention_backend() == "sdpa"
        patch.setattr(module, "_import_quietly", lambda: softmax_attention)
        module._xformers_kernel.cache_clear()
        assert attention_backend() == "xformers"
    module._xformers_kernel.cache_clear()


def test_a_full_gpu_at_the_probe_is_not_taken_for_a_missing_kernel() -> None:
    from models import attention as module

    def full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    real_zeros = torch.zeros
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch, "zeros", lambda *shape, device: real_zeros(*shape))
        patch.setattr(module, "_import_quietly", lambda: full)
        module._xformers_kernel.cache_clear()
        with pytest.raises(torch.OutOfMemoryError):
            attention_backend()
        # The next call asks again, when there may be room.
        patch.setattr(module, "_import_quietly", lambda: softmax_attention)
        assert attention_backend() == "xformers"
    module._xformers_kernel.cache_clear()
