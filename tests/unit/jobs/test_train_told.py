"""A network may be told of nodules alone; it is trained, kept and fed so from then on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from factory.layouts import LABELS
from factory.preprocessing import Preprocessing
from jobs.generate.config import GenerateConfig
from jobs.recipe import load_recipe
from jobs.train import probes, steps
from jobs.train.config import TrainConfig
from jobs.train.examples import Example
from jobs.train.pace import _example
from jobs.train.run_folder import _identity, _with_defaults
from jobs.train.samples import write_samples
from jobs.train.told import card_of, preprocessing_of, told
from models.schedule import NoiseSchedule
from models.unet3d_config import UNet3DConfig

BOTH = tuple(LABELS)
INGEST = {"grid": 16, "field_of_view": "lungs", "margin_mm": 20.0, "spacing_mm": 0.0}
SMALL = UNet3DConfig(
    grid=8, in_channels=2, base_channels=8, channel_mults=(1, 2), attention_max_size=4
)
NODULES = TrainConfig(labels=("nodule",), model=SMALL, lung_weight=5.0)


def condition() -> Tensor:
    """Lung in the first half, a nodule in one voxel of it."""
    channels = -torch.ones(1, 2, 8, 8, 8)
    channels[0, 0, :4], channels[0, 1, 2, 2, 2] = 1.0, 1.0
    channels[0, 0, 2, 2, 2] = -1.0
    return channels


def example(given: Tensor) -> Example:
    generator = torch.Generator().manual_seed(3)
    shape = (1, 1, 8, 8, 8)
    return Example(
        x_start=torch.rand(shape, generator=generator) * 2 - 1,
        condition=given,
        t=torch.tensor([9]),
        noise=torch.randn(shape, generator=generator),
    )


def test_each_label_is_told_by_its_own_channel() -> None:
    given = condition()
    assert told(given, BOTH) is given
    assert torch.equal(told(given, ("nodule",)), given[:, 1:])
    assert told(given, ("nodule",))[0, 0, 2, 2, 2] == 1


def test_the_loss_sees_no_lung_and_weighs_it_all_the_same() -> None:
    """Lungs are what it draws: without their layout they still weigh more."""
    schedule = NoiseSchedule(NODULES.schedule)
    seen: list[Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros_like(x[:, :1])

    losses = []
    for lung in (condition(), -torch.ones(1, 2, 8, 8, 8)):
        given = example(lung)
        losses.append(float(steps._loss(Spy(), NODULES, schedule, given, torch.device("cpu"))))
        assert seen[-1].shape[1] == 2
        assert torch.equal(seen[-1][:, 1:], lung[:, 1:])
    noise = example(condition()).noise.abs()
    weights = torch.ones(8, 8, 8)
    weights[:4] = 5.0
    weighed = (noise * weights).mean() / weights.mean()
    assert losses[0] == pytest.approx(float(weighed), rel=1e-5)
    assert losses[1] == pytest.approx(float(noise.mean()), rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_the_validation_loss_is_of_what_training_feeds() -> None:
    seen: list[Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros_like(x[:, :1])

    probes.probe_loss(
        Spy(),
        NoiseSchedule(NODULES.schedule),
        [example(condition())],
        kind="l1",
        weight=lambda given: steps.voxel_weight(given, 5.0),
        labels=NODULES.labels,
        autocast=False,
        device=torch.device("cpu"),
    )
    assert torch.equal(seen[0][:, 1:], condition()[:, 1:])


def test_a_step_of_such_a_network_can_be_taken_and_timed() -> None:
    config = replace(NODULES, learning_rate=1e-3)
    training = steps.start_training(config, torch.device("cpu"))
    before = [weight.detach().clone() for weight in training.model.parameters()]
    taken = steps.take_step(training, config, NoiseSchedule(config.schedule), [_example(config)])
    assert taken.loss > 0
    assert any(
        not torch.equal(a, b) for a, b in zip(before, training.model.parameters(), strict=True)
    )


def test_the_card_of_a_usual_model_says_what_it_always_said() -> None:
    assert card_of(TrainConfig(), INGEST) == {"hu_window": [-1024.0, 600.0], "ingest": INGEST}


def test_the_card_of_an_ablation_says_what_it_is_told_of_and_what_it_draws() -> None:
    card = card_of(NODULES, INGEST)
    assert (card["labels"], card["drawn"]) == (["nodule"], ["lung", "nodule"])
    fed = Preprocessing.from_json(card)
    assert fed == preprocessing_of(NODULES, INGEST)
    assert (fed.labels, fed.labels_drawn, fed.hu_window) == (("nodule",), BOTH, (-1024.0, 600.0))


def test_pictures_of_a_run_keep_what_lies_outside_the_lungs(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from jobs.train import samples
    from jobs.train.samples import read_references
    from jobs.train.settings import StoredCase

    rows: list[Any] = []
    monkeypatch.setattr(samples, "NUM_STEPS", 2)
    monkeypatch.setattr(
        samples, "comparison_figure", lambda given, path: rows.extend(given) or path.touch()
    )
    cases = [StoredCase(row["case_id"], row["image_uri"]) for row in store.rows]
    config = replace(NODULES, model=replace(SMALL, grid=16))
    network = steps.start_training(config, torch.device("cpu")).model
    write_samples(
        network,
        NoiseSchedule(config.schedule),
        read_references(store.url, [], cases, 1),
        preprocessing_of(config, INGEST),
        tmp_path / "a.png",
        seed=0,
    )
    (row,) = rows
    outside = row.layout == 0
    np.testing.assert_array_equal(row.synthetic_hu[outside], row.reference_hu[outside])
    assert (row.synthetic_hu != row.reference_hu)[row.layout == 1].mean() > 0.9


@pytest.mark.parametrize(
    ("labels", "in_channels", "message"),
    [
        (
            ("nodule",),
            3,
            r"^model\.in_channels is 3; training feeds 2: the noisy volume and nodule$",
        ),
        (
            BOTH,
            2,
            r"^model\.in_channels is 2; training feeds 3: the noisy volume, lung and nodule$",
        ),
        (("lung",), 2, r"^labels is \['lung'\]; known are \['lung', 'nodule'\] or \['nodule'\]$"),
        ((), 1, r"^labels is \[\]; known are"),
    ],
)
def test_labels_and_channels_that_do_not_fit_are_refused(
    labels: tuple[str, ...], in_channels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(labels=labels, model=replace(UNet3DConfig(), in_channels=in_channels))


def test_a_run_of_an_earlier_release_goes_on_and_an_ablation_does_not_take_it_over() -> None:
    asked = _identity(TrainConfig())
    earlier = {key: value for key, value in asked.items() if key != "labels"}
    assert _with_defaults(earlier) == asked
    assert _identity(NODULES) != asked


def test_the_ablations_are_the_papers_but_for_what_they_leave_out() -> None:
    paper, no_aas, no_layout, no_both = (
        load_recipe(name)
        for name in (
            "paper",
            "ablation-no-aas",
            "ablation-no-lung-layout",
            "ablation-no-both",
        )
    )
    train = paper.table("train", TrainConfig)
    told_less = replace(train, labels=("nodule",), model=replace(train.model, in_channels=2))
    generate = paper.table("generate", GenerateConfig)
    whole = replace(generate, synthesizer="med-ddpm")
    assert no_aas.table("train", TrainConfig) == train
    assert no_aas.table("generate", GenerateConfig) == whole
    assert no_layout.table("train", TrainConfig) == told_less
    assert no_layout.table("generate", GenerateConfig) == generate
    assert no_both.table("train", TrainConfig) == told_less
    assert no_both.table("generate", GenerateConfig) == whole
    for recipe in (no_aas, no_layout, no_both):
        assert recipe.tables["ingest"] == paper.tables["ingest"]


@pytest.mark.parametrize("name", ["med-ddpm", "copy-paste", "noise"])
def test_a_baseline_differs_from_the_demo_by_what_draws(name: str) -> None:
    config, demo = (load_recipe(n).table("generate", GenerateConfig) for n in (name, "demo"))
    assert config == replace(demo, synthesizer=name)


def test_an_ablation_of_ones_own_size_takes_a_base_that_ships(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'base = "ablation-no-both"\n[train]\nsteps = 7\n[train.model]\nbase_channels = 32\n'
    )
    train = load_recipe(str(own)).table("train", TrainConfig)
    assert (train.labels, train.model.in_channels, train.model.base_channels) == (
        ("nodule",),
        2,
        32,
    )
    assert load_recipe(str(own)).table("generate", GenerateConfig).synthesizer == "med-ddpm"
