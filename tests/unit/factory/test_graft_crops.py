"""Files of nodule crops: what is read from them, what is left out and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from nodule_crops import crop, crops_of

from factory.errors import StoreError
from factory.nodules.crops import load_crops


def save(path: Path, **changed: np.ndarray | None) -> Path:
    ct, percent = crop(10.0)
    arrays = {
        "ct_hu": np.stack([ct, ct]),
        "mask_percent": np.stack([percent, percent]),
        "names": np.array(["a", "b"]),
        "spacing_mm": np.array([2.0, 2.0, 2.0]),
    } | changed
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def test_crops_come_back_as_they_were_saved(tmp_path):
    crops = load_crops(save(tmp_path / "crops.npz"))
    assert (len(crops), crops.names, crops.spacing_mm) == (2, ("a", "b"), 2.0)
    np.testing.assert_array_equal(crops.ct_hu[1], crop(10.0)[0])
    assert crops.bank.diameters_mm == pytest.approx(10.0, abs=0.8)
    with pytest.raises(ValueError, match="read-only"):
        crops.ct_hu[0, 0, 0, 0] = 0


def test_the_digest_is_of_the_content_and_not_of_the_names(tmp_path):
    ct, percent = crop(10.0)
    brighter, wider = ct.copy(), percent.copy()
    brighter[0, 0, 0], wider[12, 12, 2] = 1, 1
    digests = [
        load_crops(save(tmp_path / "crops.npz", **changed)).digest
        for changed in (
            {},
            {"names": np.array(["c", "d"])},
            {"ct_hu": np.stack([ct, brighter])},
            {"mask_percent": np.stack([percent, wider])},
            {"spacing_mm": np.array(1.0)},
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[1:])) == 4


def test_empty_crops_and_those_that_cut_their_nodule_are_left_out_and_counted():
    ct, percent = crop(10.0)
    crops = crops_of((ct, percent // 3), (ct, percent), (ct, np.roll(percent, 10, axis=2)))
    assert crops.bank.names == ("crop-1",)
    assert crops.bank.num_empty == 2


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"mask_percent": None}, r"found keys \['ct_hu', 'names', 'spacing_mm'\].*all four"),
        ({"ct_hu": np.zeros((2, 25, 25, 25), np.float32)}, r"`ct_hu` is float32 \(2, 25, 25, 25\)"),
        ({"ct_hu": np.zeros((2, 25, 25), np.int16)}, r"`ct_hu` is int16 \(2, 25, 25\), expected"),
        (
            {"mask_percent": np.zeros((2, 5, 5, 5), np.uint8)},
            r"`mask_percent` is uint8 \(2, 5, 5, 5\)",
        ),
        (
            {"mask_percent": np.full((2, 25, 25, 25), 255, np.uint8)},
            "reaches 255, expected 0 to 100",
        ),
        ({"mask_percent": np.zeros((2, 25, 25, 25), np.uint8)}, "none of 2 crops has voxels"),
        ({"names": np.array(["a"])}, r"`names` has shape \(1,\), expected \(2,\)"),
        ({"names": np.array(["a", "a"])}, "`names` has 'a' more than once"),
        ({"spacing_mm": np.array([2.0, 2.0, 3.0])}, r"`spacing_mm` is \[2\.0, 2\.0, 3\.0\]"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, changed, problem):
    with pytest.raises(StoreError, match=rf"nodule crops .*crops\.npz: .*{problem}"):
        load_crops(save(tmp_path / "crops.npz", **changed))


def test_a_missing_and_a_torn_file_are_named(tmp_path):
    with pytest.raises(StoreError, match=r"nodule crops .*none\.npz: no such file.*Check the path"):
        load_crops(tmp_path / "none.npz")
    path = save(tmp_path / "crops.npz")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(StoreError, match=r"nodule crops .*crops\.npz: cannot be read"):
        load_crops(path)
