"""Quality control holds a volume to what its way of drawing promises, and says what it did not check."""

import numpy as np
import pytest

from factory.intensity import HuWindow
from factory.quality import Promises, Quality, assess

SHAPE = (12, 12, 12)


def scan() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    layout = np.zeros(SHAPE, np.uint8)
    layout[3:9, 3:9, 3:9] = 1
    hu = np.where(layout == 1, rng.normal(-850, 40, SHAPE), rng.normal(40, 10, SHAPE))
    return hu.astype(np.int16), layout


def judged(promises: Promises, *, spoilt: bool) -> Quality:
    """A new lung; where spoilt, one voxel of the wall is another too, and the border is a step."""
    reference, layout = scan()
    drawn = layout == 1
    hu = np.where(drawn, np.random.default_rng(1).normal(-850, 40, SHAPE), reference)
    if spoilt:
        hu[0, 0, 0] += 1
        hu[drawn] -= 2000
    return assess(
        hu.astype(np.int16), reference, layout, drawn, HuWindow(-3000, 3000), promises=promises
    )


def test_all_is_checked_unless_something_is_not_promised() -> None:
    columns = judged(Promises(), spoilt=True).as_columns()
    assert (columns["qc_background_equal"], columns["qc_background_changed"]) == (False, 1)
    assert columns["qc_seam_score"] == pytest.approx(3.2, abs=0.3)
    assert Promises().unchecked == ()


def test_a_background_that_may_change_is_neither_equal_nor_wrong() -> None:
    quality = judged(Promises(background=False), spoilt=True)
    columns = quality.as_columns()
    assert (columns["qc_background_equal"], columns["qc_background_changed"]) == (None, None)
    assert not any("background" in reason for reason in quality.reasons)
    assert any("seam score" in reason for reason in quality.reasons)


def test_a_border_that_is_no_seam_has_no_score() -> None:
    quality = judged(Promises(seam=False), spoilt=True)
    assert quality.as_columns()["qc_seam_score"] is None
    assert not any("seam" in reason for reason in quality.reasons)
    assert quality.as_columns()["qc_background_changed"] == 1


def test_what_is_not_checked_is_told_a_sentence_each() -> None:
    assert [
        line.split("did not ")[1] for line in Promises(background=False, seam=False).unchecked
    ] == [
        "compare the background: none of it was kept",
        "measure a seam: what was drawn does not end with the lungs",
    ]
    assert len(Promises(seam=False).unchecked) == len(Promises(background=False).unchecked) == 1


def test_a_kept_promise_is_accepted() -> None:
    assert judged(Promises(), spoilt=False).verdict == "accept"
