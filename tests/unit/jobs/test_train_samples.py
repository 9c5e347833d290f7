"""Pictures of a run can be compared with each other, and cost the training nothing but time."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from factory.errors import UsageError
from factory.layouts import BACKGROUND
from factory.pictures import ComparisonRow
from factory.preprocessing import Preprocessing
from jobs.cases import CaseStore
from jobs.train import samples
from jobs.train.samples import picture_name, read_references, write_samples
from jobs.train.settings import StoredCase
from models.checkpoint import Checkpoint, load_checkpoint

# Narrower than the phantoms are: what is not drawn must not have gone through it.
FED = Preprocessing(hu_window=(-1000.0, 0.0))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "NUM_STEPS", 2)


@pytest.fixture(scope="module")
def checkpoint(model_16: Path) -> Checkpoint:
    return load_checkpoint(model_16)


@pytest.fixture
def cases(store: CaseStore) -> list[StoredCase]:
    return [StoredCase(row["case_id"], row["image_uri"]) for row in store.rows]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[ComparisonRow]:
    """The rows of the pictures that a test writes, one after the other."""
    rows: list[ComparisonRow] = []
    figure = samples.comparison_figure

    def keep(given: list[ComparisonRow], path: Path) -> None:
        rows.extend(given)
        figure(given, path)

    monkeypatch.setattr(samples, "comparison_figure", keep)
    return rows


def test_lungs_are_drawn_and_the_rest_is_the_references(
    store: CaseStore,
    cases: list[StoredCase],
    checkpoint: Checkpoint,
    tmp_path: Path,
    drawn: list[ComparisonRow],
) -> None:
    references = read_references(store.url, [], cases, 2)
    path = tmp_path / "samples" / picture_name(1000)
    write_samples(checkpoint.denoiser, checkpoint.schedule, references, FED, path, seed=5)

    assert [row.title for row in drawn] == ["c0, trained on, seed 5", "c1, trained on, seed 6"]
    for row, (_, volume) in zip(drawn, references, strict=True):
        outside = volume.layout == BACKGROUND
        np.testing.assert_array_equal(row.reference_hu, volume.ct)
        np.testing.assert_array_equal(row.synthetic_hu[outside], volume.ct[outside])
        assert (row.synthetic_hu != volume.ct)[~outside].mean() > 0.5
    assert path.name == "step_00001000.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_each_row_has_a_noise_of_its_own_and_the_same_at_every_step_of_the_run(
    store: CaseStore,
    cases: list[StoredCase],
    checkpoint: Checkpoint,
    tmp_path: Path,
    drawn: list[ComparisonRow],
) -> None:
    (reference,) = read_references(store.url, [], cases, 1)
    for name, references in (("a", [reference, reference]), ("b", [reference])):
        torch.rand(3)
        path = tmp_path / f"{name}.png"
        write_samples(checkpoint.denoiser, checkpoint.schedule, references, FED, path, seed=0)
    first, second, again = (row.synthetic_hu for row in drawn)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_a_picture_changes_nothing_of_the_network_nor_of_the_random_numbers(
    store: CaseStore, cases: list[StoredCase], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    network = copy.deepcopy(checkpoint.denoiser).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    state = torch.random.get_rng_state()
    references = read_references(store.url, [], cases, 1)
    write_samples(network, checkpoint.schedule, references, FED, tmp_path / "a.png", seed=0)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert all(module.training for module in network.modules())
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, weights[name])
        assert not weight.is_inference()


def test_held_out_cases_come_first_and_of_each_kind_those_with_nodules(
    store: CaseStore, cases: list[StoredCase]
) -> None:
    """Of the three phantoms, c2 has no nodule."""
    c0, c1, c2 = cases

    def titles(validation: list[StoredCase], training: list[StoredCase], num: int) -> list[str]:
        return [title for title, _ in read_references(store.url, validation, training, num)]

    assert titles([c2, c1], [c0], 2) == ["c1, held out", "c2, held out"]
    assert titles([c2], [c0, c1], 2) == ["c2, held out", "c0, trained on"]
    assert titles([], [c2, c0], 5) == ["c0, trained on", "c2, trained on"]


def test_a_picture_of_nothing_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found 0 volumes to compare"):
        write_samples(checkpoint.denoiser, checkpoint.schedule, [], FED, tmp_path / "a.png", seed=0)
    assert not list(tmp_path.iterdir())
