import hashlib

import numpy as np
import pytest

from factory.digests import digest_json, sha256_of_file, sha256_of_voxels


def test_a_digest_is_over_the_voxels_in_c_order_and_little_endian():
    volume = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)
    expected = hashlib.sha256(volume.astype("<i2").tobytes()).hexdigest()
    assert sha256_of_voxels(volume) == expected
    assert sha256_of_voxels(volume.astype(">i2")) == expected
    assert sha256_of_voxels(np.asfortranarray(volume)) == expected
    assert sha256_of_voxels(volume.transpose(2, 1, 0).copy().transpose(2, 1, 0)) == expected


def test_one_hu_changes_the_digest():
    volume = np.zeros((4, 4, 4), np.int16)
    before = sha256_of_voxels(volume)
    volume[3, 0, 1] = 1
    assert sha256_of_voxels(volume) != before


def test_axes_that_are_exchanged_change_the_digest():
    volume = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert sha256_of_voxels(volume) != sha256_of_voxels(volume.transpose(2, 1, 0))


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path):
    file = tmp_path / "scan.nii.gz"
    file.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_file(file) == known
    assert sha256_of_file(str(file)) == known


def test_the_order_of_keys_does_not_count_and_the_order_of_values_does():
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json({"a": 1, "b": [1, 2]}) != digest_json({"a": 1, "b": [2, 1]})


def test_a_plan_has_the_same_digest_on_every_machine():
    assert digest_json({"seed": 0, "steps": 250, "window": [-1024.0, 600.0]}) == (
        "9504afbf70cb18a7886a544f201438ef"
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_has_no_digest(number):
    with pytest.raises(ValueError, match="Out of range float"):
        digest_json({"margin_mm": number})
