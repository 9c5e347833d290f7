"""Weights in the authors' files become the same network here, or a text that says why not."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_weights import (
    NETWORK,
    published_state,
    random_unet,
    refusal,
    schedule_buffers,
    write_published,
)
from torch import Tensor

from models.published import read_published
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

SMALL = UNet3DConfig(grid=32, base_channels=4, channel_mults=(1, 2))

NETWORKS = {
    "paper's depth, narrow": UNet3DConfig(base_channels=4),
    "two blocks a level": UNet3DConfig(grid=64, base_channels=8, channel_mults=(1, 2, 2), num_res_blocks=2),
    "three blocks, nodules alone": UNet3DConfig(
        grid=32, in_channels=2, base_channels=6, channel_mults=(2, 1), num_res_blocks=3
    ),
    "attention in the first level": UNet3DConfig(grid=16, base_channels=8, channel_mults=(1, 3, 2)),
    "one level": UNet3DConfig(grid=16, base_channels=8, channel_mults=(2,)),
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> UNet3D:
    return random_unet(SMALL)


@pytest.fixture
def state(small: UNet3D) -> dict[str, Tensor]:
    """The small network as the authors would write it; to be changed."""
    return published_state(small)


def predicted(denoiser: UNet3D) -> Tensor:
    config = denoiser.config
    side = config.shrink * 2
    torch.manual_seed(1)
    x = torch.randn(1, config.in_channels, side, side, side)
    with torch.inference_mode():
        return denoiser(x, torch.tensor([3]))


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_a_network_of_any_shape_is_read_back_and_predicts_bit_for_bit_the_same(
    tmp_path: Path, config: UNet3DConfig
) -> None:
    written = random_unet(config)
    found = read_published(write_published(tmp_path / "p.pt", published_state(written))).denoiser
    assert found.config == config
    assert not found.training
    assert torch.equal(predicted(found), predicted(written))


def test_weights_for_the_published_depth_are_for_volumes_of_128_voxels(tmp_path: Path) -> None:
    written = random_unet(UNet3DConfig(base_channels=2))
    published = read_published(write_published(tmp_path / "p.pt", published_state(written)))
    assert published.denoiser.config.grid == 128


@pytest.mark.parametrize("mults", [(1, 2), (1, 1, 1, 2, 2)])
def test_a_network_that_attends_in_the_bottleneck_alone_gets_no_more_attention(
    tmp_path: Path, mults: tuple[int, ...]
) -> None:
    config = UNet3DConfig(base_channels=4, channel_mults=mults, attention_max_size=1)
    written = random_unet(config)
    found = read_published(write_published(tmp_path / "p.pt", published_state(written))).denoiser
    assert found.config == config
    assert torch.equal(predicted(found), predicted(written))


def test_the_average_is_read_unless_the_last_steps_weights_are_asked_for(
    tmp_path: Path, small: UNet3D
) -> None:
    other = random_unet(SMALL, seed=1)
    path = tmp_path / "p.pt"
    write_published(path, published_state(small), model=published_state(other), step=250_000)
    assert torch.equal(predicted(read_published(path).denoiser), predicted(small))
    assert torch.equal(predicted(read_published(path, use="model").denoiser), predicted(other))
    assert read_published(path).step == 250_000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_float32(
    tmp_path: Path, state: dict[str, Tensor], dtype: torch.dtype
) -> None:
    saved = {name: tensor.to(dtype) for name, tensor in (state | schedule_buffers(20)).items()}
    published = read_published(write_published(tmp_path / "p.pt", saved))
    assert {weight.dtype for weight in published.denoiser.parameters()} == {torch.float32}
    expected = saved[f"{NETWORK}middle_block.1.qkv.weight"].float()
    assert torch.equal(published.denoiser.bottleneck.attention.qkv.weight, expected)
    assert published.schedule.num_steps == 20


def test_a_torch_file_is_read_whatever_its_name_ends_in(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    assert read_published(write_published(tmp_path / "p.safetensors", state, step=5)).step == 5


def test_a_file_of_the_old_torch_format_is_read_too(
    tmp_path: Path, small: UNet3D, state: dict[str, Tensor]
) -> None:
    path, content = tmp_path / "p.pt", {"step": 1, "model": state, "ema": state}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert torch.equal(predicted(read_published(path).denoiser), predicted(small))


# The schedule.


def test_the_files_own_schedule_says_how_many_timesteps(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = write_published(tmp_path / "p.pt", state | schedule_buffers(9))
    assert read_published(path).schedule.num_steps == 9
    assert read_published(path, timesteps=9).schedule.num_steps == 9


@pytest.mark.parametrize(("asked", "found"), [(None, 250), (40, 40)])
def test_a_file_without_a_schedule_has_the_timesteps_asked_for_or_the_papers(
    tmp_path: Path, state: dict[str, Tensor], asked: int | None, found: int
) -> None:
    path = write_published(tmp_path / "p.pt", state)
    assert read_published(path, timesteps=asked).schedule.num_steps == found


def test_timesteps_that_the_file_contradicts_are_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    text = refusal(write_published(tmp_path / "p.pt", state | schedule_buffers(9)), timesteps=250)
    assert "a schedule of 9 timesteps; expected 250, as asked. Leave --timesteps out" in text


@pytest.mark.parametrize("name", ["betas", "alphas_cumprod"])
@pytest.mark.parametrize(
    ("nudge", "told"),
    [(2e-5, "2e-05"), (0.5, "0.5"), (float("nan"), "nan")],
)
def test_a_schedule_that_is_not_the_cosine_schedule_is_refused(
    tmp_path: Path, state: dict[str, Tensor], name: str, nudge: float, told: str
) -> None:
    buffers = schedule_buffers(9)
    buffers[name][4] += nudge
    text = refusal(write_published(tmp_path / "p.pt", state | buffers))
    assert f"{name} that are up to {told} off the cosine schedule of 9 timesteps" in text
    assert text.endswith("take some that were trained with the cosine schedule")


@pytest.mark.parametrize(
    "betas", [torch.zeros(8), torch.zeros(3, 3), torch.zeros(9, dtype=torch.long), [0.1] * 9]
)
def test_a_schedule_of_several_lengths_is_refused(
    tmp_path: Path, state: dict[str, Tensor], betas: object
) -> None:
    buffers = schedule_buffers(9) | {"betas": betas}
    text = refusal(write_published(tmp_path / "p.pt", state | buffers))
    assert re.search(r"lengths alphas_cumprod 9, betas [08], posterior_mean_coef3 9; exp", text)


# Tensors that do not fit.


def test_any_one_missing_tensor_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    stem = f"{NETWORK}input_blocks.0.0.weight"
    # A fifth of them, which still is one of every kind.
    for name in sorted(state.keys() - {stem})[::5]:
        kept = {other: tensor for other, tensor in state.items() if other != name}
        text = refusal(write_published(tmp_path / "p.pt", kept))
        assert f"architecture: 1 missing ({name}); expected the {len(state)} tensors" in text


def test_all_tensors_that_do_not_fit_are_named_at_once(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    missing = [f"{NETWORK}output_blocks.{i}.0.in_layers.0.weight" for i in range(4)]
    for name in missing:
        del state[name]
    changed = {
        f"{NETWORK}out.0.bias": torch.zeros(5),
        f"{NETWORK}out.2.bias": torch.zeros(1, dtype=torch.int8),
        f"{NETWORK}time_embed.0.bias": "text",
        f"{NETWORK}label_emb.weight": torch.zeros(2, 2),
        "online_model.weight": torch.zeros(1),
        "betas": torch.zeros(3),
    }
    text = refusal(write_published(tmp_path / "p.pt", {**state, **changed}))
    assert f"4 missing ({', '.join(missing)}); " in text
    assert f"2 unknown ({NETWORK}label_emb.weight, online_model.weight); " in text
    assert (
        f"3 of another kind ({NETWORK}out.0.bias (5,) instead of (4,), "
        f"{NETWORK}out.2.bias torch.int8 instead of (1,), "
        f"{NETWORK}time_embed.0.bias a str instead of (16,))"
    ) in text
    assert text.endswith("Give weights of Lung-DDPM or Lung-DDPM+ as their code wrote them")


def test_a_residual_block_with_one_misshapen_tensor_does_not_mislead(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    name = f"{NETWORK}input_blocks.3.0.in_layers.2.weight"
    state[name] = torch.zeros(12, 4, 3, 3, 3)
    text = refusal(write_published(tmp_path / "p.pt", state))
    assert f"1 of another kind ({name} (12, 4, 3, 3, 3) instead of (8, 4, 3, 3, 3)); exp" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(
    tmp_path: Path, state: dict[str, Tensor], value: float
) -> None:
    broken = [f"{NETWORK}middle_block.1.norm.bias", f"{NETWORK}out.2.weight"]
    for name in broken:
        state[name].view(-1)[-1] = value
    text = refusal(write_published(tmp_path / "p.pt", state))
    assert f"found NaN or infinite values in 2 tensors ({', '.join(broken)}); exp" in text
    assert text.endswith("or take one from before the training diverged")


@pytest.mark.parametrize(
    ("change", "told"),
    [(Tensor.to_sparse, "sparse"), (lambda tensor: tensor.to("meta"), "without its numbers")],
)
def test_tensors_that_hold_no_plain_numbers_are_refused(
    tmp_path: Path, state: dict[str, Tensor], change: Callable[[Tensor], Tensor], told: str
) -> None:
    name = f"{NETWORK}out.2.weight"
    state[name] = change(state[name])
    text = refusal(write_published(tmp_path / "p.pt", state))
    assert f"1 of another kind ({name} {told} instead of" in text


def test_a_weight_that_overflows_float32_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state[f"{NETWORK}out.2.bias"] = torch.tensor([1e300], dtype=torch.float64)
    text = refusal(write_published(tmp_path / "p.pt", state))
    assert f"infinite values in 1 tensors ({NETWORK}out.2.bias)" in text


STEM = "input_blocks.0.0.weight"
FOREIGN = {
    "no stem": ({STEM: None}, f"found none as shape of {STEM}; exp"),
    "flat": ({STEM: (4, 3, 3, 3)}, rf"found \(4, 3, 3, 3\) as shape of {STEM}; exp"),
    "empty": ({STEM: (0, 3, 3, 3, 3)}, rf"found \(0, 3, 3, 3, 3\) as shape of {STEM}"),
    "odd widths": ({STEM: (3, 3, 3, 3, 3)}, r"found levels of \[4, 8\] channels; .* stem's 3"),
    "uneven": (
        {"input_blocks.4.0.out_layers.0.weight": (8,)},
        r"found levels of \[1, 2\] residual blocks; expected as many in each",
    ),
    "two attending": (
        {"input_blocks.1.1.qkv.weight": (12, 4, 1)},
        r"found attention in levels \[0, 1\]; expected it in one at most",
    ),
    "gap": (
        {"input_blocks.6.0.out_layers.0.weight": (8,)},
        r"found nothing under input_blocks\.4; expected a residual block",
    ),
    "other block": (
        {"input_blocks.4.0.conv_shortcut.weight": (8,)},
        r"found 0\.conv_shortcut\.weight under input_blocks\.4; expected a residual block",
    ),
    "trailing convolution": (
        {"input_blocks.4.0.op.weight": (8, 8, 3, 3, 3)},
        r"found levels of \[1, 1, 0\] residual blocks",
    ),
    "one channel": ({STEM: (1, 3, 3, 3, 3)}, r"base_channels is 1; it must be even"),
}


@pytest.mark.parametrize(("changed", "problem"), FOREIGN.values(), ids=FOREIGN)
def test_tensors_of_another_family_of_networks_say_what_is_foreign(
    tmp_path: Path,
    state: dict[str, Tensor],
    changed: dict[str, tuple[int, ...] | None],
    problem: str,
) -> None:
    for name, shape in changed.items():
        if shape is None:
            del state[NETWORK + name]
        else:
            state[NETWORK + name] = torch.zeros(shape)
    text = refusal(write_published(tmp_path / "p.pt", state))
    assert re.search(rf"make no network of Lung-DDPM's family: {problem}", text)
    assert text.endswith("Give weights of Lung-DDPM or Lung-DDPM+")


# Files that are something else.
