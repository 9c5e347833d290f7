"""What a step trains on follows from the seed, the step and the slot, and from nothing else."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from factory.augment import AugmentConfig, augment
from factory.axes import spacing_zyx
from factory.errors import CaseError
from factory.intensity import HuWindow
from factory.layouts import NODULE
from factory.nodules.crops import load_crops
from factory.nodules.graft import GraftConfig, graft
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import CaseStore, open_case_store
from jobs.train.examples import Example, Examples

WINDOW = HuWindow(-1024.0, 600.0)
AUGMENT = AugmentConfig(rotation_deg=10.0, translation_mm=8.0, gain=0.05, shift_hu=20.0)
GRAFT = GraftConfig(probability=0.5, max_nodules=2, margin_mm=0.0)


@pytest.fixture(scope="module")
def store(cases_16: Path) -> CaseStore:
    return open_case_store(cases_16)


@pytest.fixture(scope="module")
def crops_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Balls of soft tissue, 18 to 28 mm across, in lungs of -850 HU."""
    squares = (np.arange(25) - 12.0) ** 2
    radius_mm = 2.0 * np.sqrt(squares[:, None, None] + squares[:, None] + squares)
    balls = np.stack([radius_mm <= diameter_mm / 2 for diameter_mm in (18.0, 22.0, 28.0)])
    path = tmp_path_factory.mktemp("crops") / "crops.npz"
    np.savez(
        path,
        ct_hu=np.where(balls, 40, -850).astype(np.int16),
        mask_percent=(100 * balls).astype(np.uint8),
        names=np.array(["small", "middle", "large"]),
        spacing_mm=np.full(3, 2.0),
    )
    return str(path)


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


def test_dropout_is_drawn_by_seed_step_and_slot_alone(store: CaseStore) -> None:
    def seeds(**changes: int) -> list[int]:
        examples = examples_of(store, **changes)
        return [examples.example(k, slot).dropout_seed for k in range(3) for slot in range(2)]

    drawn = seeds()
    torch.manual_seed(1)
    assert seeds() == drawn
    assert len({*drawn, *seeds(seed=1)}) == 12
    # The noise has another stream: its first numbers would choose the mask.
    generator = torch.Generator().manual_seed(drawn[0])
    torch.randint(250, (1,), generator=generator)
    noise = examples_of(store).example(0, 0).noise
    assert not torch.equal(torch.randn(noise.shape, generator=generator), noise)


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


def rng_of(stream: str, step: int, slot: int) -> np.random.Generator:
    digest = hashlib.sha256(f"0 {stream} {step} {slot}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def shown(store: CaseStore, examples: Examples, step: int, slot: int) -> Volume:
    return read_volume(Storage(store.url), examples.path(step, slot))


def test_grafts_come_before_augmentation_and_the_window_last(
    store: CaseStore, crops_path: str
) -> None:
    examples = examples_of(store, augment=AUGMENT, graft=GRAFT, crops_path=crops_path)
    plain, crops, num_grafted = examples_of(store), load_crops(crops_path), 0
    for step in range(12):
        volume = shown(store, examples, step, 1)
        spacing = spacing_zyx(volume.affine)
        grafted = graft(volume.ct, volume.layout, spacing, crops, GRAFT, rng_of("graft", step, 1))
        ct, layout = augment(*grafted, spacing, AUGMENT, rng_of("augment", step, 1))
        found = examples.example(step, 1)
        np.testing.assert_array_equal(found.x_start[0, 0], WINDOW.encode(ct))
        np.testing.assert_array_equal(found.condition[0, 1] == 1, layout == NODULE)
        assert torch.equal(found.noise, plain.example(step, 1).noise)
        assert torch.equal(found.t, plain.example(step, 1).t)
        num_grafted += grafted[0] is not volume.ct
    assert 1 <= num_grafted < 12


def test_an_example_is_the_same_from_any_thread_in_any_order(
    store: CaseStore, crops_path: str
) -> None:
    options: dict[str, Any] = {"augment": AUGMENT, "graft": GRAFT, "crops_path": crops_path}
    asked = [(step, slot) for step in range(6) for slot in range(2)]
    alone = examples_of(store, **options)
    calm = [alone.example(step, slot) for step, slot in asked]
    shared = examples_of(store, **options)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda pair: shared.example(*pair), asked[::-1]))
    assert all(same(one, other) for one, other in zip(calm, made[::-1], strict=True))
    # Nor has any of them changed the case that others see.
    bare = examples_of(store)
    found = shared.example(*asked[0]), alone.example(*asked[0])
    assert same(*found)
    assert same(bare.example(3, 0), examples_of(store).example(3, 0))


def test_augmentation_changes_with_step_slot_and_seed(store: CaseStore) -> None:
    """Of one case, so that no two examples are alike but by augmentation."""
    one = Examples(
        store.url,
        [store.rows[0]["image_uri"]],
        window=WINDOW,
        num_diffusion_steps=250,
        seed=0,
        batch_size=2,
        augment=AUGMENT,
    )
    found = [one.example(step, slot).x_start for step in range(2) for slot in range(2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[i + 1 :])


def test_grafts_without_nodules_to_graft_are_refused(store: CaseStore) -> None:
    with pytest.raises(ValueError, match=r"probability is 0\.5, and there are no nodules to graft"):
        examples_of(store, graft=GRAFT)


def test_a_case_that_cannot_be_augmented_is_named(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("the CT is (16, 16, 15)")

    monkeypatch.setattr("jobs.train.examples.augment", refuse)
    examples = examples_of(store)
    message = rf"case {examples.path(4, 1)}: slot 1 of step 4 cannot be made of it: the CT is"
    with pytest.raises(CaseError, match=message):
        examples.example(4, 1)


def test_a_probe_is_a_case_as_it_is_whatever_the_seed_and_the_augmentation(
    store: CaseStore, crops_path: str
) -> None:
    options: dict[str, Any] = {"augment": AUGMENT, "crops_path": crops_path}
    loud = examples_of(store, graft=GraftConfig(probability=1.0), seed=7, **options)
    for index in range(4):
        probe = loud.probe(index, 30 * index)
        volume = read_volume(Storage(store.url), store.rows[index % 3]["image_uri"])
        np.testing.assert_array_equal(probe.x_start[0, 0], WINDOW.encode(volume.ct))
        assert probe.t.tolist() == [30 * index]
        assert same(probe, examples_of(store).probe(index, 30 * index))
    assert not torch.equal(loud.probe(0, 1).noise, loud.probe(3, 1).noise)
