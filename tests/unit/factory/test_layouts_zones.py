"""Left and right, high and low: which part of the lungs a voxel lies in."""

from pathlib import Path

import numpy as np
import pytest
from support import save_nifti

from factory.errors import CaseError
from factory.nodules.lobes import LOBES, read_lobes
from factory.nodules.zones import LEFT, RIGHT, ZONES, mediastinum_of, sides_of, thirds_of
from factory.phantom import Phantom

SIZE = 40


def boxes(*spans: tuple[int, int]) -> np.ndarray:
    """Lungs as boxes from one x to another."""
    lungs = np.zeros((30, 20, SIZE), bool)
    for start, stop in spans:
        lungs[3:27, 4:16, start:stop] = True
    return lungs


def test_the_right_lung_is_where_x_is_large() -> None:
    sides = sides_of(boxes((4, 16), (22, 36)))
    assert set(np.unique(sides[..., 4:16])) == {0, LEFT}
    assert set(np.unique(sides[..., 22:36])) == {0, RIGHT}


def test_lungs_that_touch_before_the_heart_are_told_apart() -> None:
    lungs = boxes((4, 16), (22, 36))
    lungs[12:18, 13:15, 16:22] = True
    sides = sides_of(lungs)
    assert (sides[lungs] != 0).all()
    assert (sides[..., 4:16][lungs[..., 4:16]] == LEFT).all()
    assert (sides[..., 22:36][lungs[..., 22:36]] == RIGHT).all()


def test_a_lung_that_reaches_over_the_midline_stays_one() -> None:
    """The lung that remains after an operation grows over to the other side."""
    lungs = boxes((4, 10), (20, 36))
    lungs[20:26, 5:7, 12:20] = True
    assert (sides_of(lungs)[..., 12:36][lungs[..., 12:36]] == RIGHT).all()


@pytest.mark.parametrize(("span", "side"), [((4, 16), LEFT), ((24, 36), RIGHT)])
def test_a_single_lung_is_one_lung(span: tuple[int, int], side: int) -> None:
    lungs = boxes(span)
    assert set(np.unique(sides_of(lungs)[lungs])) == {side}


def test_no_lungs_have_no_sides() -> None:
    assert not sides_of(boxes()).any()


def test_thirds_are_of_each_lungs_own_height_and_upper_is_high() -> None:
    lungs = boxes((4, 16), (22, 36))
    lungs[:15, :, 4:16] = False
    zones = thirds_of(sides_of(lungs))
    names = [["none", *ZONES][zone] for zone in zones[:, 10, 30]]
    assert names[3:27] == ["right-lower"] * 8 + ["right-middle"] * 8 + ["right-upper"] * 8
    names = [["none", *ZONES][zone] for zone in zones[:, 10, 10]]
    assert names[15:27] == ["left-lower"] * 4 + ["left-middle"] * 4 + ["left-upper"] * 4
    assert ((zones > 0) == lungs).all()


def test_the_mediastinum_lies_between_the_lungs() -> None:
    lungs = boxes((4, 16), (22, 36))
    between = mediastinum_of(sides_of(lungs))
    assert between[3:27, 4:16, 16:22].all()
    assert between.sum() == 24 * 12 * 6


def test_a_phantoms_lungs_are_told_apart_by_their_place(phantom: Phantom) -> None:
    sides = sides_of(phantom.lung)
    right = np.argwhere(sides == RIGHT)[:, 2].mean()
    left = np.argwhere(sides == LEFT)[:, 2].mean()
    assert right - left > 15
    share = (sides == RIGHT).sum() / phantom.lung.sum()
    assert share == pytest.approx(0.53, abs=0.08)


def write_lobes(folder: Path, phantom: Phantom, *, flip: bool = False) -> None:
    """Lobes as boxes on the scan's grid: right and left, split at a height."""
    affine = phantom.affine.copy()
    for name, zone in LOBES.items():
        side = sides_of(phantom.lung) == (RIGHT if "right" in zone else LEFT)
        height = {"upper": slice(18, None), "middle": slice(12, 18), "lower": slice(0, 12)}
        if "left" in zone:
            height["lower"] = slice(0, 18)
        mask = np.zeros(phantom.lung.shape, np.uint8)
        part = height[zone.split("-")[1]]
        mask[part] = side[part]
        if flip:
            mask = mask[:, :, ::-1]
            affine = phantom.affine.copy()
            affine[0] = phantom.affine[0] * [-1, 1, 1, 1]
            affine[0, 3] += phantom.affine[0, 0] * (mask.shape[2] - 1)
        save_nifti(folder / f"{name}.nii.gz", mask, affine)


@pytest.mark.parametrize("flip", [False, True])
def test_lobes_of_a_scan_are_brought_onto_the_grid_of_the_case(
    tmp_path: Path, phantom: Phantom, flip: bool
) -> None:
    write_lobes(tmp_path / "c0", phantom, flip=flip)
    # Every second voxel of the scan: the case's grid is coarser, and begins one voxel in.
    step = np.diag([2.0, 2.0, 2.0, 1.0])
    step[:3, 3] = 1.0
    lung = phantom.lung[1::2, 1::2, 1::2]
    zones = read_lobes(tmp_path, "c0", lung.shape, phantom.affine @ step)
    sides = sides_of(phantom.lung)[1::2, 1::2, 1::2]
    assert ((zones > 0) == lung).all()
    assert ((zones[lung] <= 3) == (sides[lung] == RIGHT)).all()
    assert set(np.unique(zones)) == {0, 1, 2, 3, 4, 6}
    assert (zones[9:][sides[9:] == RIGHT] == 1).all()


def test_lobes_that_are_missing_are_named(tmp_path: Path, phantom: Phantom) -> None:
    write_lobes(tmp_path / "c0", phantom)
    (tmp_path / "c0" / "lung_middle_lobe_right.nii.gz").unlink()
    with pytest.raises(
        CaseError, match=r"case c0: found no .*lung_middle_lobe_right\.nii\.gz; expected the five"
    ):
        read_lobes(tmp_path, "c0", phantom.lung.shape, phantom.affine)


def test_lobes_of_another_place_are_refused(tmp_path: Path, phantom: Phantom) -> None:
    write_lobes(tmp_path / "c0", phantom)
    away = phantom.affine.copy()
    away[:3, 3] += 5000.0
    with pytest.raises(CaseError, match=r"found no voxel of the lobes in .* on its grid"):
        read_lobes(tmp_path, "c0", phantom.lung.shape, away)
