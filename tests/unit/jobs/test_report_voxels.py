"""Slices and histograms of a page: what they hold, how large they are, what is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifest_rows import real, sha
from report_pages import unpacked

from factory.layouts import LUNG, NODULE
from factory.storage import Storage
from factory.volumes import Volume, write_volume
from jobs.report import packed as packing
from jobs.report.choose import Chosen
from jobs.report.packed import pack_hu, pack_slices, planes_of
from jobs.report.voxels import EDGES_HU, histograms, show

SPACING = (2.0, 1.0, 1.0)


class Silent:
    def update(self, done: int, note: str = "") -> None:
        self.done = done


def volume(ct: np.ndarray, layout: np.ndarray | None = None) -> Volume:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    labels = np.zeros(ct.shape, np.uint8) if layout is None else layout
    return Volume(ct=ct.astype(np.int16), layout=labels.astype(np.uint8), affine=affine)


def noise(shape: tuple[int, ...], seed: int = 0, low: int = -1024, high: int = 600) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int16)


@pytest.mark.parametrize(("low", "high"), [(-1024, 600), (-32768, 32768)])
def test_hu_come_back_to_the_last_bit(low: int, high: int) -> None:
    hu = noise((3, 5, 7), low=low, high=high)
    np.testing.assert_array_equal(unpacked(pack_hu(hu), [3, 5, 7]), hu)


def test_slices_are_seen_from_the_feet_and_the_synthetic_ones_add_to_the_reference() -> None:
    real_hu, drawn_hu = noise((4, 6, 5)), noise((4, 6, 5), seed=1)
    layout = np.zeros((4, 6, 5), np.uint8)
    layout[2, 1, 1] = NODULE
    found = pack_slices(volume(drawn_hu, layout), volume(real_hu), SPACING)
    reference = unpacked(found.content["reference"], found.content["shape"])
    rest = unpacked(found.content["synthetic"], found.content["shape"])
    np.testing.assert_array_equal(reference, real_hu[:, ::-1, ::-1])
    np.testing.assert_array_equal(reference + rest, drawn_hu[:, ::-1, ::-1])
    assert found.planes == (0, 1, 2, 3)
    assert found.content["first"] == 2
    assert found.content["aspect"] == pytest.approx(5 / 6, abs=1e-6)


def test_without_a_reference_the_volume_stands_alone() -> None:
    hu = noise((2, 4, 4))
    found = pack_slices(volume(hu), None, SPACING)
    assert found.content["reference"] is None
    np.testing.assert_array_equal(
        unpacked(found.content["synthetic"], [2, 4, 4]), hu[:, ::-1, ::-1]
    )


@pytest.mark.parametrize(
    ("num", "most", "first", "expected"),
    [
        (4, 64, 2, (0, 1, 2, 3)),
        (10, 5, 3, (1, 3, 5, 7, 9)),
        (10, 4, 9, (0, 3, 6, 9)),
        (1, 64, 0, (0,)),
        (100, 1, 57, (57,)),
    ],
)
def test_slices_are_equally_far_and_the_one_through_the_nodule_is_there(
    num: int, most: int, first: int, expected: tuple[int, ...]
) -> None:
    assert planes_of(num, most, first) == expected


def test_a_large_volume_has_fewer_slices_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 20_000)
    layout = np.zeros((32, 32, 32), np.uint8)
    layout[21, 8, 8] = NODULE
    found = pack_slices(volume(noise((32, 32, 32)), layout), None, SPACING)
    assert found.num_bytes <= 20_000
    assert len(found.planes) == 8
    assert found.planes[found.content["first"]] == 21
    monkeypatch.setattr(packing, "MOST_BYTES", 10)
    assert len(pack_slices(volume(noise((32, 32, 32))), None, SPACING).planes) == 4


def test_what_was_kept_of_the_reference_costs_next_to_nothing() -> None:
    real_hu = noise((8, 32, 32))
    alone = len(pack_slices(volume(real_hu), None, SPACING).content["synthetic"])
    beside = len(pack_slices(volume(real_hu), volume(real_hu), SPACING).content["synthetic"])
    assert beside < alone / 100


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def kept(place: Path, name: str, one: Volume, **changes: Any) -> dict[str, Any]:
    """Write a volume; return its row, as a manifest would have it."""
    write_volume(Storage(place), name, one)
    row = real("c0", image_uri=f"{place}/{name}", shape=list(one.ct.shape), work_id=None)
    return row | {"qc_verdict": None, "spacing_mm": list(SPACING)} | changes


def lungs_of(*hu: int) -> Volume:
    ct = np.full((2, 4, 4), 40)
    layout = np.zeros((2, 4, 4), np.uint8)
    ct.ravel()[: len(hu)], layout.ravel()[: len(hu)] = hu, LUNG
    layout.ravel()[-1] = NODULE
    return volume(ct, layout)


def test_lungs_are_counted_volume_by_volume_and_the_donor_once(place: Path) -> None:
    donor = kept(place, "donor", lungs_of(-1040, -1040))
    rows = [
        kept(place, "a", lungs_of(-840, -840, -840, -840), work_id="a"),
        kept(place, "b", lungs_of(-815, 2000), work_id="b"),
    ]
    tracker = Silent()
    found = histograms(rows, {"c0": donor}, tracker)
    assert found.synthetic is not None
    assert found.real is not None
    shares = dict(zip(EDGES_HU, found.synthetic.shares, strict=False))
    assert (shares[-850], shares[-825]) == (0.5, 0.25)
    assert found.synthetic.outside == pytest.approx(0.25)
    assert (found.synthetic.num_volumes, found.real.num_volumes) == (2, 1)
    assert found.real.shares[0] == 1.0
    assert (tracker.done, list(found.problems)) == (3, [])


def test_a_volume_that_cannot_be_counted_is_told_and_the_rest_is_counted(place: Path) -> None:
    rows = [
        kept(place, "a", lungs_of(-840), work_id="a"),
        kept(place, "b", volume(np.zeros((2, 4, 4))), work_id="b"),
        kept(place, "c", lungs_of(-840), work_id="c"),
    ]
    (place / "c/0/c/0/0/0").write_bytes(b"torn")
    found = histograms(rows, {}, Silent())
    assert found.synthetic is not None
    assert found.synthetic.num_volumes == 1
    assert found.real is None
    assert found.problems[0] == "volume b: its layout has no lung"
    assert found.problems[1].startswith(f"volume c: volume {place}/c: found")


def test_a_donor_counts_only_beside_a_volume_that_was_drawn_into_it(place: Path) -> None:
    rows = [
        kept(place, "a", lungs_of(-840), work_id="a"),
        kept(place, "b", lungs_of(-840), work_id="b", case_id="c1"),
    ]
    (place / "b/zarr.json").unlink()
    donors = {
        "c0": kept(place, "d0", lungs_of(-700)),
        "c1": kept(place, "d1", lungs_of(-600), case_id="c1"),
    }
    found = histograms(rows, donors, Silent())
    assert found.synthetic is not None
    assert found.real is not None
    assert (found.synthetic.num_volumes, found.real.num_volumes) == (1, 1)
    assert found.real.shares[EDGES_HU.index(-700)] == 1.0


def shown(row: dict[str, Any], donors: dict[str, Any]) -> tuple[bool, bool, str]:
    found = show(Chosen(row, "named"), donors)
    has_reference = found.packed is not None and found.packed.content["reference"] is not None
    return found.packed is not None, has_reference, found.remark


def test_a_volume_is_shown_without_what_cannot_be_read(place: Path) -> None:
    row = kept(place, "a", lungs_of(-840), work_id=sha("a"))
    donor = kept(place, "donor", lungs_of(-700))
    assert shown(row, {"c0": donor}) == (True, True, "")
    assert shown(row, {})[:2] == (True, False)
    assert "its donor has no row here" in shown(row, {})[2]
    small = kept(place, "small", volume(np.zeros((2, 2, 2))))
    assert "its donor has (2, 2, 2) voxels, and it (2, 4, 4)" in shown(row, {"c0": small})[2]
    (place / "donor/0/c/0/0/0").unlink()
    assert shown(row, {"c0": donor})[:2] == (True, False)
    assert "its donor cannot be read: volume" in shown(row, {"c0": donor})[2]
    (place / "a/zarr.json").write_text("[]")
    assert shown(row, {"c0": donor})[:2] == (False, False)
    assert shown(row, {})[2].startswith("the volume cannot be read: volume")


@pytest.mark.parametrize("spacing", [[1.0, 2.0], [0.0, 1.0, 1.0], [float("nan"), 1.0, 1.0], []])
def test_a_volume_whose_row_has_no_spacing_is_not_shown(place: Path, spacing: list[float]) -> None:
    row = kept(place, "a", lungs_of(-840), spacing_mm=spacing)
    assert "expected three, above 0" in shown(row, {})[2]


def test_a_volume_of_another_shape_than_its_row_is_not_shown(place: Path) -> None:
    row = kept(place, "a", lungs_of(-840), shape=[9, 9, 9])
    assert (
        "found a CT of (2, 4, 4) and a layout of (2, 4, 4) voxels; expected (9, 9, 9)"
        in (shown(row, {})[2])
    )
