"""Held against MONAI: distances, MS-SSIM, and MedicalNet's network with its dilations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from evaluations import scan
from monai.metrics.fid import FIDMetric
from monai.metrics.mmd import MMDMetric
from monai.networks.nets.resnet import resnet50
from scipy import ndimage

from factory.errors import UsageError
from factory.evaluation.frechet import frechet_distance
from factory.evaluation.mmd import mmd_squared
from factory.evaluation.moments import Moments, merge
from factory.evaluation.paired import WINDOW
from jobs.evaluate import extractors, similarity
from jobs.evaluate.extractors import Scale, medicalnet, open_extractor


def normal(seed: int, count: int = 80, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0 + shift, (count, 16))


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Weights by MedicalNet's names: its network has the parameters of this one."""
    torch.manual_seed(0)
    network = resnet50(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    )
    return dict(network.state_dict())


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
def test_the_frechet_distance_is_monais() -> None:
    one, other = normal(0), normal(1, shift=0.4)
    expected = float(FIDMetric()(torch.from_numpy(one), torch.from_numpy(other)))
    parts = merge([Moments.of(one[:30]), Moments.of(one[30:])])
    assert frechet_distance(parts, Moments.of(other)) == pytest.approx(expected, rel=1e-5)


def test_the_discrepancy_is_monais_where_the_kernel_is_its_linear_one() -> None:
    one, other = normal(2), normal(3, shift=0.4)
    expected = float(MMDMetric()(torch.from_numpy(one), torch.from_numpy(other)))
    # x.y and 1 - |x - y|^2 / 2 differ by terms that cancel.
    found = mmd_squared(one, other, lambda squared: 1.0 - squared / 2.0)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, rel=1e-5)


def test_ms_ssim_is_one_for_equal_volumes_and_falls_with_noise() -> None:
    units = WINDOW.encode(scan(0).ct)
    rng = np.random.default_rng(0)
    found = [
        similarity.ms_ssim(units, (units + rng.normal(0, much, units.shape)).astype(np.float32))
        for much in (0.0, 0.1, 0.3)
    ]
    assert found[0] == pytest.approx(1.0, abs=1e-6)
    assert found[0] > found[1] > found[2] > 0.0


def test_ms_ssim_is_that_of_scipys_filters() -> None:
    """Wang, Simoncelli and Bovik's product over scales, each window inside the volume."""
    rng = np.random.default_rng(3)
    units = WINDOW.encode(scan(0).ct)
    other = np.clip(units + rng.normal(0, 0.2, units.shape), -1, 1).astype(np.float32)
    found = similarity.ms_ssim(units, other)
    assert found == pytest.approx(ms_ssim_by_scipy(units, other), abs=1e-5)


def ms_ssim_by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    shares = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[: similarity.num_scales(24)]
    shares /= shares.sum()
    x, y = ((side.astype(np.float64) + 1) / 2 for side in (one, other))
    terms = []
    for _ in shares:
        terms.append(ssim_by_scipy(x, y))
        x, y = (halved(side) for side in (x, y))
    contrasts = [max(contrast, 0.0) for _, contrast in terms[:-1]]
    values = np.array([*contrasts, max(terms[-1][0], 0.0)])
    return float(np.prod(values**shares))


def ssim_by_scipy(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    taps = np.exp(-0.5 * (np.arange(-3, 4) / 1.5) ** 2)
    taps /= taps.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        for axis in range(3):
            values = ndimage.correlate1d(values, taps, axis=axis)
        return values[3:-3, 3:-3, 3:-3]

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    contrast = (2 * both + c2) / (vx + vy + c2)
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return float((luminance * contrast).mean()), float(contrast.mean())


def halved(values: np.ndarray) -> np.ndarray:
    even = values[tuple(slice(0, size // 2 * 2) for size in values.shape)]
    shape = [edge for size in even.shape for edge in (size // 2, 2)]
    return even.reshape(shape).mean(axis=(1, 3, 5))


def test_as_many_scales_are_taken_as_fit() -> None:
    sizes = (128, 112, 64, 32, 16, 8, 6)
    assert [similarity.num_scales(size) for size in sizes] == [5, 5, 4, 3, 2, 1, 0]
    for size in (64, 32, 16, 8):
        volume = np.random.default_rng(1).uniform(-1, 1, (size,) * 3).astype(np.float32)
        assert similarity.ms_ssim(volume, volume) == pytest.approx(1.0, abs=1e-6)
    small = np.zeros((6, 6, 6), np.float32)
    assert np.isnan(similarity.ms_ssim(small, small))


def test_medicalnet_keeps_an_eighth_of_the_grid_and_pools_2048_features(
    published: dict[str, torch.Tensor],
) -> None:
    network = medicalnet(published, where="weights")
    shapes = {}
    for name in ("layer2", "layer3", "layer4"):
        stage = network.get_submodule(name)
        stage.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: out.shape}))
    with torch.inference_mode():
        features = network(torch.zeros(1, 1, 32, 32, 32))
    assert features.shape == (1, 2048)
    assert [tuple(shapes[name][2:]) for name in shapes] == [(4, 4, 4)] * 3


def test_the_last_stages_are_dilated_by_2_and_4_and_all_else_is_as_published(
    published: dict[str, torch.Tensor],
) -> None:
    network = medicalnet(published, where="weights")
    for stage, dilation in (("layer1", 1), ("layer2", 1), ("layer3", 2), ("layer4", 4)):
        wide = [
            module
            for name, module in network.get_submodule(stage).named_modules()
            if name.endswith("conv2")
        ]
        assert {module.dilation for module in wide} == {(dilation,) * 3}
        assert {module.padding for module in wide} == {(dilation,) * 3}
    assert all(torch.equal(network.state_dict()[name], one) for name, one in published.items())
    assert not network.training


def test_a_file_of_weights_is_named_by_its_digest_and_by_whether_it_is_the_authors(
    published: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.digests import sha256_of_file

    path = tmp_path / "resnet_50.pth"
    state = {f"module.{name}": weight for name, weight in published.items()}
    torch.save({"state_dict": state | {"module.conv_seg.0.weight": torch.zeros(2)}}, path)
    extractor = open_extractor(path, "cpu")
    assert extractor.digest == sha256_of_file(path)
    assert extractor.name == f"medicalnet-resnet50-unverified-{extractor.digest[:8]}"
    assert extractor.scale is Scale.UNVERIFIED
    found = extractor(WINDOW.encode(scan(0).ct))
    assert found.shape == (extractor.num_features,) == (2048,)
    assert np.isfinite(found).all()
    monkeypatch.setattr(extractors, "PUBLISHED", frozenset({extractor.digest}))
    theirs = open_extractor(path, "cpu")
    assert theirs.name == f"medicalnet-resnet50-{extractor.digest[:8]}"
    assert theirs.scale is Scale.PUBLISHED


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    for content in ({"state_dict": {"conv1.weight": torch.zeros(3)}}, [1, 2], {"state_dict": {}}):
        torch.save(content, path)
        with pytest.raises(UsageError, match=r"other\.pth: found .* expected resnet_50\.pth"):
            open_extractor(path, "cpu")
    path.write_bytes(b"no weights at all")
    with pytest.raises(UsageError, match=r"expected resnet_50\.pth of MedicalNet"):
        open_extractor(path, "cpu")
