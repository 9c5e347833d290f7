"""A file that is no published checkpoint is refused with a text that says why."""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from published_weights import (
    published_state,
    random_unet,
    refusal,
    write_published,
)
from torch import Tensor

from models.unet3d_config import UNet3DConfig

SMALL = UNet3DConfig(grid=32, base_channels=4, channel_mults=(1, 2))


class Planted:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("planted"),))


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A small network as the authors would write it; to be changed."""
    return published_state(random_unet(SMALL))


def test_a_file_that_is_not_there_says_what_is_wanted(tmp_path: Path) -> None:
    text = refusal(tmp_path / "p.pt")
    assert text.endswith(
        "found no such file; expected a torch file with step, model and ema, as Lung-DDPM's "
        "training writes it. Correct the path"
    )


def test_a_folder_is_not_taken_for_a_file(tmp_path: Path) -> None:
    assert "found a folder; expected a torch file" in refusal(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 60, 5_000, -2_000])
def test_a_torn_file_tells_its_size(
    tmp_path: Path, state: dict[str, Tensor], kept: int, legacy: bool
) -> None:
    path, content = tmp_path / "p.pt", {"step": 1, "model": state, "ema": state}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:kept])
    text = refusal(path)
    assert f"found {path.stat().st_size} bytes that are torn or no torch file; exp" in text
    assert text.endswith("Copy or download it again")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.pt").write_bytes(b"a scan, not weights" * 50)
    assert "found 950 bytes that are torn or no torch file" in refusal(tmp_path / "p.pt")


def test_a_compiled_network_is_refused_without_a_warning(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "p.pt")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert "torn or no torch file" in refusal(tmp_path / "p.pt")
    assert warned == []


@pytest.mark.parametrize("protocol", [2, None])
def test_a_file_that_would_run_code_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if protocol is None:
        torch.save({"step": 1, "ema": Planted()}, tmp_path / "p.pt")
    else:
        (tmp_path / "p.pt").write_bytes(pickle.dumps(Planted(), protocol=protocol))
    text = refusal(tmp_path / "p.pt")
    assert re.search(r"found \S+ in it, so it was not loaded: to do so would run code from", text)
    assert text.endswith("Save it again as plain tensors where it was made")
    assert "weights_only" not in text
    assert not (tmp_path / "planted").exists()


def test_a_file_without_the_weights_asked_for_names_the_keys_that_it_has(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save({"step": 3, "model": state}, tmp_path / "p.pt")
    text = refusal(tmp_path / "p.pt")
    assert "found no key 'ema' among step, model; expected" in text
    assert text.endswith("Take --use model")
    torch.save({"state_dict": state}, tmp_path / "p.pt")
    text = refusal(tmp_path / "p.pt", use="model")
    assert "found no key 'model' among state_dict; expected" in text
    assert text.endswith("Give another file")


def test_of_a_bare_network_only_the_first_keys_are_named(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save(state, tmp_path / "p.pt")
    assert f" and {len(state) - 8} more; expected" in refusal(tmp_path / "p.pt")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([1, 2], "found a list; expected a torch file"),
        ({}, "found no key 'ema' among no keys at all; expected"),
        ({"ema": [1]}, "found a list under 'ema'; expected named tensors"),
        ({"ema": {}}, "found no tensor under denoise_fn. among no keys at all; expected"),
        ({"ema": {"unet.weight": torch.zeros(1)}}, "under denoise_fn. among unet.weight; expected"),
        ({"ema": {"denoise_fn.x": 1}}, "under denoise_fn. among denoise_fn.x; expected"),
    ],
)
def test_a_torch_file_of_something_else_says_what_it_holds(
    tmp_path: Path, content: object, problem: str
) -> None:
    torch.save(content, tmp_path / "p.pt")
    assert problem in refusal(tmp_path / "p.pt")


@pytest.mark.parametrize("step", ["later", float("nan"), [1], torch.zeros(2)])
def test_a_step_that_is_no_number_is_refused(
    tmp_path: Path, state: dict[str, Tensor], step: object
) -> None:
    text = refusal(write_published(tmp_path / "p.pt", state, step=step))
    assert "as its step; expected a number. Copy or download it again" in text
