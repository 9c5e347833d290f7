"""Volumes that are drawn again come out the same, and it is said where they do not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory.errors import StoreError
from factory.lake import IDENTITY, Lake
from jobs.generate.regenerate import TOLERANCE_HU, Redrawn, regenerate
from jobs.generate.volume_sampler import VolumeSampler


def test_volumes_of_a_lake_come_out_the_same_again(lake: Path) -> None:
    found = list(regenerate(Lake(lake), 3))
    assert len({one.work_id for one in found}) == 3
    assert all(one.same_environment and one.same_voxels for one in found)
    assert [one.problem for one in found] == ["", "", ""]
    assert [one.work_id for one in regenerate(Lake(lake), 1)] == [found[0].work_id]
    assert len(list(regenerate(Lake(lake), 99))) == 4


def test_a_code_that_draws_otherwise_is_found(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = VolumeSampler.sample

    def shifted(self: VolumeSampler, prepared: Any, seed: int) -> Any:
        hu = sample(self, prepared, seed)
        return np.where(prepared.given.drawn, hu + 1, hu).astype(np.int16)

    monkeypatch.setattr(VolumeSampler, "sample", shifted)
    (found,) = regenerate(Lake(lake), 1)
    assert not found.same_voxels
    assert found.mean_difference_hu == 1.0
    assert "same environment it has other voxels, 1 HU apart" in found.problem


@pytest.mark.parametrize(("apart", "is_wrong"), [(TOLERANCE_HU, False), (2 * TOLERANCE_HU, True)])
def test_another_environment_may_differ_a_little(apart: float, is_wrong: bool) -> None:
    found = Redrawn(
        work_id="w",
        case_id="c",
        same_environment=False,
        same_voxels=False,
        mean_difference_hu=apart,
    )
    assert bool(found.problem) is is_wrong
    assert replace(found, same_environment=True).problem


def test_a_lake_that_does_not_say_how_it_was_made_is_refused(lake: Path) -> None:
    identity = json.loads((lake / IDENTITY).read_text())
    del identity["config"]
    (lake / IDENTITY).write_text(json.dumps(identity))
    with pytest.raises(StoreError, match=r"dataset\.json has no `config`.*not drawn again"):
        list(regenerate(Lake(lake), 1))
