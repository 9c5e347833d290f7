import pytest
import torch
from torch import Tensor, nn

from models import engine
from models.engine import SamplingEngine, computes_in_bfloat16
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

SHAPE = (1, 3, 16, 16, 16)


@pytest.fixture(scope="module")
def network() -> UNet3D:
    generator = torch.Generator().manual_seed(1)
    config = UNet3DConfig(grid=16, base_channels=24, channel_mults=(1, 2), attention_max_size=8)
    network = UNet3D(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            spread = 0.1 if weight.ndim == 1 else weight[0].numel() ** -0.5
            weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    return network


def volume() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))


def relative_error(engine: SamplingEngine, network: UNet3D) -> float:
    t = torch.tensor([5])
    with torch.inference_mode():
        expected, found = network(volume(), t), engine(volume(), t)
    assert found.dtype == torch.float32
    return ((found - expected).norm() / expected.norm()).item()


def test_in_float32_it_predicts_what_the_network_does(network: UNet3D) -> None:
    assert relative_error(SamplingEngine(network), network) < 1e-5


def test_in_bfloat16_it_differs_by_rounding_alone(
    network: UNet3D, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: True)
    # bfloat16 rounds to 2^-9, some twenty layers deep.
    assert 1e-4 < relative_error(SamplingEngine(network, precision="bfloat16"), network) < 3e-2


def test_in_bfloat16_group_norms_stay_in_float32(
    network: UNet3D, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: True)
    inner = SamplingEngine(network, precision="bfloat16")._network
    for module in inner.modules():
        if isinstance(module, nn.GroupNorm):
            assert module.weight.dtype == torch.float32
        elif isinstance(module, nn.Conv3d):
            assert module.weight.dtype == torch.bfloat16


def test_the_network_it_was_made_from_is_left_alone(
    network: UNet3D, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    SamplingEngine(network, precision="bfloat16")
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert value.is_contiguous()
        assert torch.equal(value, before[name])
    assert all(weight.requires_grad for weight in network.parameters())


def test_a_cpu_without_bfloat16_says_so_instead_of_emulating_it(
    network: UNet3D, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: False)
    assert not computes_in_bfloat16("cpu")
    with pytest.raises(
        ValueError, match=r"this cpu has no bfloat16 arithmetic .* precision=.float32"
    ):
        SamplingEngine(network, precision="bfloat16")


def test_unknown_precision_is_refused_with_the_known_ones(network: UNet3D) -> None:
    with pytest.raises(ValueError, match="precision is 'int8'; known are float32, bfloat16"):
        SamplingEngine(network, precision="int8")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_voxels_and_weights_lie_channels_last(
    network: UNet3D, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(engine, "_cpu_computes_in_bfloat16", lambda: True)
    fast, seen = SamplingEngine(network, precision=precision), []
    inner = fast._network
    inner.encoder[0].blocks[0].res.conv1.register_forward_pre_hook(
        lambda conv, given: seen.extend([given[0], conv.weight])
    )
    with torch.inference_mode():
        fast(volume(), torch.tensor([5]))
    assert len(seen) == 2
    assert all(tensor.is_contiguous(memory_format=torch.channels_last_3d) for tensor in seen)


def test_a_compiled_network_is_one_graph_and_warm_before_the_first_volume(
    network: UNet3D, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, runs = [], []

    def compile_as_asked(network: UNet3D, **options: object) -> object:
        compiled.append(options)
        return lambda x, t: runs.append(tuple(x.shape)) or network(x, t)

    monkeypatch.setattr(torch, "compile", compile_as_asked)
    SamplingEngine(network)
    assert not compiled
    SamplingEngine(network, compiled=True)
    assert compiled == [{"mode": "default", "dynamic": False, "fullgraph": True}]
    assert runs == [SHAPE, SHAPE]


def test_a_prediction_is_not_overwritten_by_the_next(network: UNet3D) -> None:
    # CUDA graphs return the same memory at each run; here a network does.
    engine = SamplingEngine(network)
    memory = torch.zeros(1, 1, 16, 16, 16)
    engine._predict = lambda x, t: memory.add_(1)
    first, second = engine(volume(), torch.tensor([5])), engine(volume(), torch.tensor([4]))
    assert (first.mean().item(), second.mean().item()) == (1, 2)


@pytest.mark.slow
def test_compiled_it_predicts_the_same(network: UNet3D) -> None:
    assert relative_error(SamplingEngine(network, compiled=True), network) < 1e-5
