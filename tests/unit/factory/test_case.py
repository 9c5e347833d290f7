import dataclasses
import hashlib

import numpy as np
import pytest

from factory.case import Case, case_digest

AFFINE = np.diag([0.7, 0.8, 2.5, 1.0])


def case_of() -> Case:
    ct = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)
    layout = np.ones((2, 3, 4), np.uint8)
    return Case(case_id="a", patient_id="p", ct=ct, layout=layout, affine=AFFINE)


def test_a_case_knows_its_spacing_z_first():
    assert case_of().spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def test_a_cases_digests_are_those_of_its_own_voxels():
    case = case_of()
    assert case.image_sha256 == hashlib.sha256(case.ct.astype("<i2").tobytes()).hexdigest()
    assert case.layout_sha256 == hashlib.sha256(case.layout.tobytes()).hexdigest()


def test_a_case_cannot_be_given_other_voxels():
    with pytest.raises(dataclasses.FrozenInstanceError):
        case_of().ct = np.zeros((2, 3, 4), np.int16)


def test_whatever_changes_a_synthetic_volume_changes_the_cases_digest():
    flat = AFFINE.ravel().tolist()
    digests = {
        case_digest("image", "layout", flat),
        case_digest("other", "layout", flat),
        case_digest("image", "other", flat),
        case_digest("layout", "image", flat),
        case_digest("image", "layout", [*flat[:-2], 1.0, 1.0]),
    }
    assert len(digests) == 5
    assert case_digest("image", "layout", flat) == case_digest("image", "layout", list(flat))
