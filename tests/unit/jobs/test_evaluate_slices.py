"""The 2.5-D Fréchet distance: its network, its slices, and its mean over planes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import resnet50
from scipy.linalg import sqrtm

from factory.errors import UsageError
from factory.evaluation.moments import Moments
from factory.evaluation.planes import frechet_of_planes, moments_by_fold
from jobs.evaluate import slices
from jobs.evaluate.resnet2d import resnet50_of, slice_images
from jobs.evaluate.slices import KeptSlices, middle_slices, open_slice_extractor

STEMS = ("conv1", "bn1", "", "", "layer1", "layer2", "layer3", "layer4")


def monai_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return resnet50(
        spatial_dims=2,
        n_input_channels=3,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    ).eval()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights by torchvision's names, with statistics that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(1)
    found = dict(monai_network().state_dict())
    for name, weight in found.items():
        if "running_mean" in name:
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
        elif "running_var" in name:
            weight.copy_(0.5 + torch.rand(weight.shape, generator=generator))
    return found


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(2))


def features_of(network: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(images).numpy()


def test_torchvisions_weights_give_the_features_of_monais_network(
    state: dict[str, torch.Tensor], images: torch.Tensor
) -> None:
    network = monai_network()
    network.load_state_dict(state)
    expected = features_of(network, images)
    found = features_of(resnet50_of(state, where="weights"), images)
    assert found.shape == (2, 2048)
    # Of float32: the largest are near 50.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_weights_with_biases_stride_where_keras_does(
    state: dict[str, torch.Tensor], images: torch.Tensor
) -> None:
    """A bias before a normalisation is a shift of its mean: so MONAI's network can tell."""
    generator = torch.Generator().manual_seed(3)
    keras, shifted = dict(state), {name: weight.clone() for name, weight in state.items()}
    norms = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "downsample.0": "downsample.1"}
    for name in [name for name in state if name.endswith("weight") and state[name].ndim == 4]:
        conv = name.removesuffix(".weight")
        end = next(end for end in norms if conv.endswith(end))
        bias = 0.1 * torch.randn(len(state[name]), generator=generator)
        keras[f"{conv}.bias"] = bias
        shifted[f"{conv.removesuffix(end)}{norms[end]}.running_mean"] -= bias
    network = monai_network()
    network.load_state_dict(shifted)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1.001e-5
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    expected = features_of(network, images)
    found = features_of(resnet50_of(keras, where="weights"), images)
    # Of float32: the largest are near 50.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_radimagenets_own_names_and_a_head_are_known(
    state: dict[str, torch.Tensor], images: torch.Tensor, tmp_path: Path
) -> None:
    named = {}
    for name, weight in state.items():
        first, _, rest = name.partition(".")
        named[f"module.backbone.{STEMS.index(first)}.{rest}"] = weight
    path = tmp_path / "ResNet50.pt"
    torch.save({"state_dict": named | {"fc.weight": torch.zeros(2, 2048)}}, path)
    extractor = open_slice_extractor(path, "cpu")
    expected = features_of(resnet50_of(state, where="weights"), images)
    np.testing.assert_array_equal(features_of(extractor.network, images), expected)
    assert extractor.name == f"radimagenet-resnet50-{extractor.digest[:8]}"


def test_only_weights_that_come_as_radimagenets_do_are_called_so(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "resnet50.pth"
    biased = state | {
        name.removesuffix("weight") + "bias": torch.zeros(len(weight))
        for name, weight in state.items()
        if weight.ndim == 4
    }
    names = {}
    for kind, content in (("torchvision", state), ("keras", biased)):
        torch.save({f"module.{name}": weight for name, weight in content.items()}, path)
        names[kind] = open_slice_extractor(path, "cpu").name.rpartition("-")[0]
    assert names == {"torchvision": "resnet50-2d", "keras": "radimagenet-resnet50"}


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    for content in ({"conv1.weight": torch.zeros(3)}, [1, 2], {"state_dict": {}}):
        torch.save(content, path)
        with pytest.raises(UsageError, match=r"--weights-2d .*other\.pt: found .* 2-D ResNet-50"):
            open_slice_extractor(path, "cpu")
    path.write_bytes(b"no weights")
    with pytest.raises(UsageError, match=r"--weights-2d .* leave --weights-2d away"):
        open_slice_extractor(path, "cpu")


def test_the_middle_two_fifths_of_each_plane_are_taken() -> None:
    ct = np.zeros((20, 30, 128), np.int16)
    ct[0, 0, 0], ct[0, 0, 1] = -3000, 3000
    ct[8], ct[:, 9], ct[:, :, 38] = 100, 300, 500
    found = middle_slices(ct)
    assert [found[plane].shape for plane in ("xy", "zx", "yz")] == [
        (8, 30, 128),
        (12, 20, 128),
        (51, 20, 30),
    ]
    # Clipped to [-1000, 1000], and from there to [0, 1].
    assert found["xy"][0, 5, 5] == pytest.approx(0.5)
    assert found["xy"][2, 5, 5] == pytest.approx(0.55)
    assert found["zx"][0, 5, 5] == pytest.approx(0.65)
    assert found["yz"][0, 5, 5] == pytest.approx(0.75)


def test_the_least_of_a_volume_is_0_and_the_greatest_1_and_a_flat_one_is_0() -> None:
    ct = np.linspace(-500, 300, 1000).astype(np.int16).reshape(10, 10, 10)
    units = middle_slices(ct)["xy"]
    assert units[0, 0, 0] == pytest.approx((ct[3, 0, 0] + 500) / 800, abs=1e-6)
    assert not middle_slices(np.full((10, 10, 10), 40, np.int16))["yz"].any()


def test_an_image_is_grey_less_imagenets_means_in_bgr() -> None:
    found = slice_images(torch.full((1, 2, 2), 0.5))
    assert found.shape == (1, 3, 2, 2)
    expected = [0.5 - 0.406, 0.5 - 0.456, 0.5 - 0.485]
    assert found[0, :, 1, 1].tolist() == pytest.approx(expected)


def fid_by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    apart = one.mean(axis=0) - other.mean(axis=0)
    covariances = np.cov(one.T), np.cov(other.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(apart @ apart + np.trace(sum(covariances) - 2 * root))


def test_the_distance_is_the_mean_over_planes_and_each_fold_is_left_out_of_all() -> None:
    rng = np.random.default_rng(4)
    real, drawn = rng.normal(0, 1, (9, 3, 20, 5)), rng.normal(0.3, 1.2, (6, 3, 20, 5))
    folds = [i % 3 for i in range(9)], [i % 3 for i in range(6)]

    def by_hand(left_out: int) -> float:
        kept = [
            side[[fold != left_out for fold in own]]
            for side, own in zip((real, drawn), folds, strict=True)
        ]
        return float(
            np.mean([fid_by_scipy(*(side[:, p].reshape(-1, 5) for side in kept)) for p in range(3)])
        )

    found = frechet_of_planes(
        (moments_by_fold(real[:, p], folds[0]), moments_by_fold(drawn[:, p], folds[1]))
        for p in range(3)
    )
    assert found.value == pytest.approx(by_hand(-1), rel=1e-5)
    half = 4.302653 * np.sqrt(2 * np.var([by_hand(fold) for fold in range(3)]))
    assert found.high - found.value == pytest.approx(half, rel=1e-4)


def test_two_folds_and_a_set_of_one_fold_have_no_interval() -> None:
    rng = np.random.default_rng(5)
    parts = [Moments.of(rng.normal(size=(8, 3))) for _ in range(4)]
    two = frechet_of_planes([({0: parts[0], 1: parts[1]}, {0: parts[2], 1: parts[3]})])
    assert np.isnan(two.low)
    many = dict(enumerate(parts))
    assert np.isnan(frechet_of_planes([(many, {2: parts[0]})]).low)
    with pytest.raises(ValueError, match=r"mean of 0 planes"):
        frechet_of_planes([])


def test_a_torn_file_of_slices_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "NUM_FEATURES", 2)
    folder = tmp_path / "slices"
    folder.mkdir()
    arrays = {plane: np.ones((3, 2), np.float32) for plane in slices.PLANES}
    np.savez(folder / "whole.npz", **arrays)
    (folder / "torn.npz").write_bytes((folder / "whole.npz").read_bytes()[:200])
    np.savez(folder / "narrow.npz", **{plane: np.ones((3, 1)) for plane in slices.PLANES})
    np.savez(folder / "part.npz", xy=np.ones((3, 2)))
    np.savez(folder / "code.npz", **dict.fromkeys(slices.PLANES, np.array([{}], object)))
    kept = KeptSlices(tmp_path)
    names = ("whole", "torn", "narrow", "part", "code")
    assert [name for name in names if name in kept] == ["whole"]
    (found,) = kept.planes(["whole"], "yz")
    assert found.tolist() == [[1.0, 1.0]] * 3
