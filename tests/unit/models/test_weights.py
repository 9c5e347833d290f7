"""What lies in the package is whole, and small enough to lie there."""

import pytest
import torch

from models.card import read_model_card
from models.checkpoint import load_checkpoint
from models.weights import NAMES, shipped


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_ships_is_whole_and_finite(name: str) -> None:
    denoiser = load_checkpoint(shipped(name)).denoiser
    assert all(torch.isfinite(weight).all() for weight in denoiser.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_ships_takes_at_most_12_mb_and_has_a_page_about_it(name: str) -> None:
    sizes = {path.name: path.stat().st_size for path in shipped(name).iterdir()}
    assert set(sizes) == {"README.md", "model.json", "weights.safetensors"}
    assert sum(sizes.values()) <= 12_000_000


@pytest.mark.parametrize("name", NAMES)
def test_its_card_names_no_place_on_the_machine_that_trained_it(name: str) -> None:
    assert "/" not in "".join(map(str, read_model_card(shipped(name)).training.values()))


def test_a_name_that_no_model_has_is_answered_with_those_that_ship() -> None:
    with pytest.raises(ValueError, match=r"^model 'demos': none that ships .*; known are demo$"):
        shipped("demos")
