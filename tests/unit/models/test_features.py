"""The fixed extractor is one and the same everywhere, and sees what is wrong with a volume."""

import pytest
import torch

from models.features import FixedExtractor, FixedExtractorConfig


def noise(seed: int, size: int = 16) -> torch.Tensor:
    return torch.rand(1, 1, size, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_weights_are_those_that_every_release_draws() -> None:
    extractor = FixedExtractor()
    assert extractor.name == "random-conv-320-92280b90"
    assert extractor.digest.startswith("92280b90")
    assert len(extractor.digest) == 64


def test_the_global_seed_does_not_change_them_nor_do_they_change_it() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert FixedExtractor().digest == FixedExtractor(FixedExtractorConfig(seed=0)).digest
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_or_width_is_another_extractor_with_another_name() -> None:
    names = {
        FixedExtractor(FixedExtractorConfig(seed=seed, channels=channels)).name
        for seed, channels in ((0, (4, 8)), (1, (4, 8)), (0, (8, 4)))
    }
    assert len(names) == 3
    assert all(name.startswith("random-conv-24-") for name in names)


def test_one_changed_weight_changes_the_digest() -> None:
    extractor = FixedExtractor()
    before = extractor.digest
    with torch.no_grad():
        extractor.levels[-1].bias[-1] += 1e-6
    assert extractor.digest != before


def test_a_volume_has_the_same_features_alone_and_in_a_batch() -> None:
    extractor = FixedExtractor()
    one, other = noise(1), noise(2)
    together = extractor(torch.cat([one, other]))
    assert together.shape == (2, 320)
    torch.testing.assert_close(together[0], extractor(one)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together[1], extractor(other)[0], rtol=1e-5, atol=1e-6)


def test_features_are_the_mean_and_the_spread_of_each_level() -> None:
    extractor = FixedExtractor(FixedExtractorConfig(channels=(3,)))
    x = noise(3)
    level = torch.nn.functional.leaky_relu(extractor.levels[0](x), 0.1)[0]
    expected = [
        *(channel.mean() for channel in level),
        *(channel.std(correction=0) for channel in level),
    ]
    torch.testing.assert_close(extractor(x)[0], torch.stack(expected))


def test_a_volume_of_one_value_is_flat_to_its_edge_at_every_level() -> None:
    features = FixedExtractor()(torch.full((1, 1, 16, 16, 16), -1.0))[0]
    start = 0
    for width in (16, 32, 48, 64):
        spread = features[start + width : start + 2 * width]
        assert spread.max() < 1e-5
        start += 2 * width


def test_levels_keep_the_scale_of_what_they_are_given() -> None:
    extractor = FixedExtractor()
    x = noise(4, 32)
    for level in extractor.levels:
        x = torch.nn.functional.leaky_relu(level(x), 0.1)
        assert 0.2 < x.square().mean().sqrt() < 2.0


@pytest.mark.parametrize("channels", [(), (4, 0)])
def test_a_network_without_a_level_or_with_an_empty_one_is_refused(
    channels: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match=r"channels are .* expected one or more levels"):
        FixedExtractorConfig(channels=channels)
