import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from factory.ingest.lungs import segment_lungs
from factory.phantom import Phantom, draw_phantom

Mask = NDArray[np.bool_]
SPACING_MM = (3.0, 2.0, 2.0)


def _dice(one: Mask, two: Mask) -> float:
    return float(2.0 * (one & two).sum() / (one.sum() + two.sum()))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(0, size=(75, 100, 132))


def _ball(
    shape: tuple[int, int, int], centre_mm: tuple[float, float, float], radius_mm: float
) -> Mask:
    z, y, x = (
        (np.arange(num) * mm - at).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (num, mm, at) in enumerate(zip(shape, SPACING_MM, centre_mm, strict=True))
    )
    inside: Mask = z * z + y * y + x * x < radius_mm**2
    return inside


def _schematic_chest() -> tuple[NDArray[np.int16], Mask]:
    """Return a body of 40 HU with two round lungs, and the lungs; 120 x 160 x 240 mm."""
    shape = (40, 80, 120)
    ct = np.full(shape, -1000, dtype=np.int16)
    ct[:, 12:68, 10:110] = 40
    right, left = (_ball(shape, (60.0, 80.0, x), 46.0) for x in (70.0, 170.0))
    ct[right | left] = -850
    return ct, right | left


def test_lungs_of_a_phantom_are_found_to_the_pleura(phantom: Phantom) -> None:
    mask = segment_lungs(phantom.ct, phantom.spacing_mm)

    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert _dice(mask > 0, phantom.lung) > 0.96


@pytest.mark.parametrize("size", [(60, 64, 80), (64, 112, 144)])
def test_coarse_and_fine_scans_give_the_same_lungs(size: tuple[int, int, int]) -> None:
    phantom = draw_phantom(1, size=size)

    mask = segment_lungs(phantom.ct, phantom.spacing_mm) > 0

    assert _dice(mask, phantom.lung) > 0.955


def test_vessels_and_nodules_inside_the_lungs_belong_to_them(phantom: Phantom) -> None:
    mask = segment_lungs(phantom.ct, phantom.spacing_mm) > 0

    deep = ndimage.binary_erosion(phantom.lung, iterations=4)
    assert mask[phantom.nodule > 0].mean() > 0.95
    assert mask[deep].mean() > 0.995


def test_trachea_is_left_out(phantom: Phantom) -> None:
    top = np.flatnonzero(phantom.lung.any(axis=(1, 2)))[-1]
    body = np.stack([ndimage.binary_fill_holes(plane > -300) for plane in phantom.ct])
    trachea = body & (phantom.ct < -900) & ~ndimage.binary_dilation(phantom.lung, iterations=2)
    mask = segment_lungs(phantom.ct, phantom.spacing_mm) > 0

    assert trachea[top - 6 : top + 1].sum() > 50
    assert not mask[top - 6 : top + 1][trachea[top - 6 : top + 1]].any()
    assert not mask[top + 3 :].any()


def test_gas_in_the_stomach_is_no_lung(phantom: Phantom) -> None:
    dome = np.flatnonzero(phantom.lung.any(axis=(1, 2)))[0]
    far = ~ndimage.binary_dilation(phantom.lung, iterations=2)
    body = np.stack([ndimage.binary_fill_holes(plane > -300) for plane in phantom.ct])
    gas = body & (phantom.ct < -700) & far
    gas[dome + 14 :] = False
    mask = segment_lungs(phantom.ct, phantom.spacing_mm) > 0

    assert gas.sum() > 50
    assert not mask[gas].any()


def test_most_of_a_nodule_that_sits_on_the_pleura_belongs_to_the_lung() -> None:
    ct, lungs = _schematic_chest()
    nodule = _ball(ct.shape, (60.0, 80.0, 29.0), 6.0) & lungs
    ct[nodule] = 40

    mask = segment_lungs(ct, SPACING_MM) > 0

    assert nodule.sum() > 20
    assert mask[nodule].mean() > 0.7


@pytest.mark.parametrize("diameter_mm", [18.0, 26.0])
@pytest.mark.parametrize("at", ["side", "back"])
@pytest.mark.parametrize("lung", ["right", "left", "both in one"])
def test_most_of_a_mass_on_the_chest_wall_belongs_to_the_lung(
    diameter_mm: float, at: str, lung: str
) -> None:
    ct, lungs = _schematic_chest()
    middle_mm = 170.0 if lung == "left" else 70.0
    outwards = 1.0 if lung == "left" else -1.0
    reach_mm = 46.0 - 0.3 * diameter_mm
    y, x = (80.0, middle_mm + outwards * reach_mm) if at == "side" else (80.0 - reach_mm, middle_mm)
    mass = _ball(ct.shape, (60.0, y, x), diameter_mm / 2) & lungs
    if lung == "both in one":
        bridge = _ball(ct.shape, (60.0, 80.0, 120.0), 12.0)
        ct[bridge] = -850
    ct[mass] = 40

    mask = segment_lungs(ct, SPACING_MM) > 0

    assert mask[mass].mean() > 0.7


def test_a_heart_that_dents_a_lung_from_the_middle_is_left_out() -> None:
    ct, lungs = _schematic_chest()
    heart = _ball(ct.shape, (60.0, 84.0, 126.0), 15.0)
    ct[heart] = 40

    mask = segment_lungs(ct, SPACING_MM) > 0

    dent = heart & lungs
    assert dent.sum() > 100
    assert mask[dent].mean() < 0.35


def test_trachea_that_opens_into_a_lung_is_left_out() -> None:
    ct, lungs = _schematic_chest()
    trachea = np.zeros_like(lungs)
    trachea[:] = _ball(ct.shape, (60.0, 110.0, 120.0), 8.0)[20]
    trachea[:20] = False
    bronchus = np.zeros_like(lungs)
    for step in np.linspace(0.0, 1.0, 20):
        bronchus |= _ball(ct.shape, (60.0, 110.0 - 25.0 * step, 120.0 - 40.0 * step), 7.0)
    ct[trachea | bronchus] = -980

    mask = segment_lungs(ct, SPACING_MM) > 0

    assert not mask[26:][trachea[26:]].any()
    assert _dice(mask, lungs) > 0.97


def test_bowel_gas_that_reaches_the_lung_through_a_thin_wall_is_left_out() -> None:
    ct, lungs = _schematic_chest()
    gas = _ball(ct.shape, (22.0, 118.0, 202.0), 14.0) & ~ndimage.binary_dilation(lungs)
    wall = ndimage.binary_dilation(gas) & ndimage.binary_dilation(lungs) & ~gas & ~lungs
    ct[gas] = -990
    ct[wall] = -400

    mask = segment_lungs(ct, SPACING_MM) > 0

    assert wall.any()
    assert mask[gas].mean() < 0.25


def test_lungs_of_a_scan_of_three_slices_are_found() -> None:
    ct, lungs = _schematic_chest()

    mask = segment_lungs(ct[18:21], SPACING_MM) > 0

    assert _dice(mask, lungs[18:21]) > 0.97


@pytest.mark.parametrize("shell_hu", [100, -880], ids=["table", "mattress"])
def test_foam_under_a_patient_with_one_lung_is_not_taken_for_the_other(shell_hu: int) -> None:
    ct, lungs = _schematic_chest()
    ct[:, 12:68, 60:] = 40
    ct[:, 12:68, :10] = 40
    lungs[:, :, 60:] = False
    ct[:, :11, 4:116] = shell_hu
    ct[:, 2:9, 6:114] = -880

    mask = segment_lungs(ct, SPACING_MM) > 0

    assert not mask[:, :12].any()
    assert _dice(mask, lungs) > 0.97


def test_chest_wall_of_a_few_millimetres_keeps_the_lung_in_the_body() -> None:
    ct, lungs = _schematic_chest()
    thin = ct.copy()
    thin[:, 64:, :] = -1000
    thin[:, 63:, :][lungs[:, 63:, :]] = -1000
    for plane, inside in zip(thin, lungs, strict=True):
        columns = inside[:63].any(axis=0)
        plane[62:64, columns] = 40
    expected = lungs.copy()
    expected[:, 62:] = False

    mask = segment_lungs(thin, SPACING_MM) > 0

    assert _dice(mask, expected) > 0.97


@pytest.mark.parametrize("margin_mm", [0.0, 15.0])
def test_scan_cropped_to_the_lungs_gives_the_same_lungs(phantom: Phantom, margin_mm: float) -> None:
    whole = segment_lungs(phantom.ct, phantom.spacing_mm) > 0
    (around,) = ndimage.find_objects(phantom.lung.astype(int))
    box = tuple(
        slice(max(0, part.start - round(margin_mm / mm)), part.stop + round(margin_mm / mm))
        for part, mm in zip(around, phantom.spacing_mm, strict=True)
    )

    cropped = segment_lungs(phantom.ct[box], phantom.spacing_mm) > 0

    assert _dice(cropped, whole[box]) > 0.985


def test_lungs_that_the_first_and_last_slice_cut_reach_them(phantom: Phantom) -> None:
    z = np.flatnonzero(phantom.lung.any(axis=(1, 2)))
    box = slice(z[0] + 15, z[-1] - 12)

    mask = segment_lungs(phantom.ct[box], phantom.spacing_mm) > 0

    assert _dice(mask[0], phantom.lung[box][0]) > 0.95
    assert _dice(mask[-1], phantom.lung[box][-1]) > 0.95


def test_odd_sizes_and_fine_spacing_keep_the_grid_of_the_scan() -> None:
    ct, lungs = _schematic_chest()
    fine = ct.repeat(3, axis=1).repeat(3, axis=2)[:, 1:-1, 2:-1]
    expected = lungs.repeat(3, axis=1).repeat(3, axis=2)[:, 1:-1, 2:-1]

    mask = segment_lungs(fine, (3.0, 2.0 / 3.0, 2.0 / 3.0)) > 0

    assert mask.shape == fine.shape
    assert _dice(mask, expected) > 0.98


def test_one_lung_is_enough() -> None:
    ct, lungs = _schematic_chest()
    lungs[:, :, 60:] = False
    ct[:, 12:68, 60:110] = 40

    assert _dice(segment_lungs(ct, SPACING_MM) > 0, lungs) > 0.97


@pytest.mark.parametrize("hu", [-1000, 40])
def test_scan_without_lungs_says_how_much_air_was_found_and_what_was_expected(hu: int) -> None:
    ct = np.full((20, 40, 40), hu, dtype=np.int16)

    with pytest.raises(
        ValueError,
        match=r"found 0 ml of air within the body, expected at least 50 ml of lung below -320 HU"
        r"\. Check that the values are HU and that the scan shows the chest",
    ):
        segment_lungs(ct, SPACING_MM)


def test_array_that_is_no_volume_and_spacing_that_is_none_are_named() -> None:
    with pytest.raises(ValueError, match=r"found an array of shape \(4, 4\), expected .* \(z, y"):
        segment_lungs(np.zeros((4, 4), dtype=np.int16), SPACING_MM)
    with pytest.raises(ValueError, match=r"found spacing .* \(0\.0, 1\.0, 1\.0\) mm, expected"):
        segment_lungs(np.zeros((4, 4, 4), dtype=np.int16), (0.0, 1.0, 1.0))


def _ct_dir() -> Path:
    default = Path(__file__).parents[4] / "shared" / "ct"
    folder = Path(os.environ.get("FACTORY_CT_DIR", default)) / "thorax"
    if not (folder / "lctsc_000_ct.nii.gz").exists():
        pytest.skip(f"no real CT at {folder}; set FACTORY_CT_DIR")
    return folder


def _volume(path: Path) -> tuple[NDArray[np.int16], tuple[float, float, float]]:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.as_closest_canonical(nibabel.load(path))
    x_mm, y_mm, z_mm = (float(mm) for mm in image.header.get_zooms())
    return np.asarray(image.dataobj).astype(np.int16).transpose(2, 1, 0), (z_mm, y_mm, x_mm)


@pytest.mark.slow
def test_lungs_of_patients_agree_with_their_experts() -> None:
    folder = _ct_dir()
    scores = {}
    for number in range(8):
        ct, spacing_mm = _volume(folder / f"lctsc_{number:03d}_ct.nii.gz")
        expert, _ = _volume(folder / f"lctsc_{number:03d}_lung.nii.gz")
        scores[number] = _dice(segment_lungs(ct, spacing_mm) > 0, expert > 0)

    assert np.mean(list(scores.values())) > 0.975, scores
    assert min(scores.values()) > 0.96, scores
