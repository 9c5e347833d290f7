"""What a step trains on follows from the seed, the step and the slot, and from nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from factory.intensity import HuWindow
from factory.storage import Storage
from factory.volumes import read_volume
from jobs.cases import CaseStore, open_case_store
from jobs.train.examples import Example, Examples

WINDOW = HuWindow(-1024.0, 600.0)


@pytest.fixture(scope="module")
def store(cases_16: Path) -> CaseStore:
    return open_case_store(cases_16)


def examples_of(store: CaseStore, **changes: Any) -> Examples:
    options = {"window": WINDOW, "num_diffusion_steps": 250, "seed": 0, "batch_size": 2} | changes
    return Examples(store.url, [row["image_uri"] for row in store.rows], **options)


def same(one: Example, other: Example) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("x_start", "condition", "t", "noise")
    )


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("num_cases", [1, 3, 5])
def test_each_case_is_shown_once_before_any_is_again(batch_size: int, num_cases: int) -> None:
    examples = Examples(
        "memory://none",
        [str(i) for i in range(num_cases)],
        window=WINDOW,
        num_diffusion_steps=250,
        seed=0,
        batch_size=batch_size,
    )
    shown = [examples.case_index(step, slot) for step in range(30) for slot in range(batch_size)]
    epochs = [shown[start : start + num_cases] for start in range(0, 30, num_cases)]
    assert all(sorted(epoch) == list(range(num_cases)) for epoch in epochs)
    if num_cases > 1:
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_slot_sees_the_same_in_a_fresh_process_whatever_was_drawn_before(
    store: CaseStore,
) -> None:
    used, fresh = examples_of(store), examples_of(store)
    torch.manual_seed(1)
    for step in range(4):
        used.example(step, 0)
    torch.manual_seed(2)

    assert same(used.example(7, 1), fresh.example(7, 1))
    assert same(used.example(7, 1), used.example(7, 1))


def test_slots_steps_and_seeds_get_other_noise(store: CaseStore) -> None:
    examples, other = examples_of(store), examples_of(store, seed=1)
    noises = [examples.example(step, slot).noise for step in range(3) for slot in range(2)]
    noises += [other.example(0, 0).noise]
    for i, noise in enumerate(noises):
        assert not any(torch.equal(noise, later) for later in noises[i + 1 :])


def test_another_seed_shows_the_cases_in_another_order() -> None:
    paths = [str(i) for i in range(20)]
    options: dict[str, Any] = {"window": WINDOW, "num_diffusion_steps": 250, "batch_size": 1}
    orders = [
        [Examples("memory://none", paths, seed=seed, **options).case_index(i, 0) for i in range(20)]
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]


def test_the_split_of_a_batch_over_workers_does_not_change_it(store: CaseStore) -> None:
    """Step and slot name an example; a batch of four is two batches of two by position."""
    wide, narrow = examples_of(store, batch_size=4), examples_of(store, batch_size=2)
    assert [wide.case_index(1, slot) for slot in range(4)] == [
        narrow.case_index(step, slot) for step in (2, 3) for slot in range(2)
    ]


def test_a_diffusion_step_is_any_of_the_schedules(store: CaseStore) -> None:
    examples = examples_of(store, num_diffusion_steps=4)
    drawn = [int(examples.example(step, 0).t) for step in range(80)]
    assert set(drawn) == {0, 1, 2, 3}
    assert examples.example(0, 0).t.shape == (1,)
    assert examples.example(0, 0).t.dtype == torch.int64


def test_noise_is_standard_normal(store: CaseStore) -> None:
    examples = examples_of(store)
    noise = torch.cat([examples.example(step, 0).noise.flatten() for step in range(10)])
    # 40,960 voxels: five standard errors are 0.025 of the mean and 0.018 of the deviation.
    assert noise.mean() == pytest.approx(0.0, abs=0.025)
    assert noise.std() == pytest.approx(1.0, abs=0.018)
    assert (noise.abs() < 1).float().mean() == pytest.approx(0.6827, abs=0.012)


def test_a_volume_is_seen_in_window_units_with_its_layout_beside_it(store: CaseStore) -> None:
    examples = examples_of(store, window=HuWindow(-1000.0, 400.0))
    example = examples.example(3, 1)
    path = store.rows[examples.case_index(3, 1)]["image_uri"]
    volume = read_volume(Storage(store.url), path)

    hu = np.clip(volume.ct.astype(np.float64), -1000, 400)
    np.testing.assert_allclose(example.x_start[0, 0], (hu + 300) / 700, atol=1e-6)
    assert example.x_start.dtype == example.noise.dtype == torch.float32
    for channel, label in enumerate((1, 2)):
        np.testing.assert_array_equal(example.condition[0, channel] == 1, volume.layout == label)
    assert set(example.condition.unique().tolist()) == {-1.0, 1.0}
