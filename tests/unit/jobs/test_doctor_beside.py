"""What a doctor times beside the network: all else that an actor does with a volume."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory.layouts import BACKGROUND, LUNG, NODULE
from factory.storage import Storage
from factory.volumes import read_volume
from jobs.doctor import beside
from jobs.generate.config import GenerateConfig
from models.checkpoint import load_checkpoint


def test_a_volume_is_read_judged_and_written_as_an_actor_does(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def told(name: str) -> Any:
        function = getattr(beside, name)

        def tell(*given: Any, **named: Any) -> Any:
            done.append(name)
            return function(*given, **named)

        return tell

    for name in ("read_volume", "assess", "measure_nodules", "sha256_of_voxels", "write_volume"):
        monkeypatch.setattr(beside, name, told(name))
    seconds = beside.seconds_beside(load_checkpoint(model_16).card, GenerateConfig())
    of_one = [
        *("read_volume", *["sha256_of_voxels"] * 2),
        *("assess", "measure_nodules", *["sha256_of_voxels"] * 2, "write_volume"),
    ]
    assert done == ["write_volume", *of_one * 2]
    assert 0.0 < seconds < 60.0


def test_a_phantom_of_a_large_grid_is_a_smaller_one_with_its_voxels_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(beside, "_LARGEST_PHANTOM", 16)
    small, large = beside.phantom_volume(16), beside.phantom_volume(32)
    assert np.array_equal(large.ct[::2, 1::2, ::2], small.ct)
    assert np.array_equal(large.layout[1::2, ::2, ::2], small.layout)
    assert set(np.unique(large.layout)) <= {BACKGROUND, LUNG, NODULE}
    assert (large.layout == LUNG).any()
    beside.write_volume(Storage(tmp_path), "v", large)
    assert np.array_equal(read_volume(Storage(tmp_path), "v").ct, large.ct)
