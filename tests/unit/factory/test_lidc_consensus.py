import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest
from lidc_xml import box_read, make_stack, on_slice, read_of, reads_of, ring, sop_uid

from factory.axes import ras_from_zyx
from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.errors import RecipeError
from factory.lidc import draw
from factory.lidc.consensus import ConsensusConfig, consensus
from factory.lidc.parse import read_lidc_xml
from factory.lidc.reads import Ratings
from factory.lidc.table import LidcNodule

HALF = ConsensusConfig()


def agreed(*readers, stack=None, **config):
    return consensus(reads_of(*readers), stack or make_stack(), ConsensusConfig(**config))


def widths_of(labels, slices=(4, 6)):
    """Return the columns of each label on the slices and rows that `four_readers` use."""
    columns = {}
    for label in range(1, int(labels.max()) + 1):
        z, _, x = np.nonzero(labels == label)
        assert (z.min(), z.max() + 1) == slices
        columns[label] = (int(x.min()), int(x.max()) + 1)
    return columns


def four_readers(*ends):
    """Return readers who all begin at column 10, and end where they are told."""
    return [[box_read([4, 5], 10, 10, 6, end - 10)] for end in ends]


def test_a_voxel_is_nodule_where_at_least_half_of_the_readers_outlined_it():
    assert widths_of(agreed(*four_readers(14, 16, 18, 20)).labels) == {1: (10, 18)}
    assert widths_of(agreed(*four_readers(14, 16, 18)).labels) == {1: (10, 16)}
    assert widths_of(agreed(*four_readers(14, 16)).labels) == {1: (10, 16)}
    assert widths_of(agreed(*four_readers(14)).labels) == {1: (10, 14)}


def test_only_readers_who_outlined_a_nodule_count_unless_all_are_to():
    two_of_four = [*four_readers(14, 16), [], []]
    assert widths_of(agreed(*two_of_four).labels) == {1: (10, 16)}
    assert widths_of(agreed(*two_of_four, of_all_readers=True).labels) == {1: (10, 14)}


def test_a_nodule_of_one_reader_is_gone_where_half_of_all_are_asked_for():
    found = agreed(*four_readers(14), [], [], of_all_readers=True)
    assert (found.nodules, found.labels.max()) == ((), 0)
    assert found.notes == ("1 nodule without a voxel that enough readers agree on: left out",)


@pytest.mark.parametrize(
    ("share", "end"), [(0.01, 20), (0.25, 20), (0.26, 18), (0.75, 16), (0.76, 14), (1.0, 14)]
)
def test_the_share_of_readers_that_must_agree_can_be_chosen(share, end):
    found = agreed(*four_readers(14, 16, 18, 20), share=share)
    assert widths_of(found.labels) == {1: (10, end)}


def test_a_third_of_three_readers_is_one():
    found = agreed(*four_readers(14, 16, 18), share=1 / 3)
    assert widths_of(found.labels) == {1: (10, 18)}


def test_nodules_of_too_few_readers_are_left_out_and_told():
    readers = four_readers(14, 16, 18)
    readers[0].append(box_read([8], 30, 30, 3, 3))
    found = agreed(*readers, min_readers=2)
    assert [nodule.num_readers for nodule in found.nodules] == [3]
    assert found.notes == ("1 nodule outlined by fewer than 2 readers: left out",)
    assert [nodule.num_readers for nodule in agreed(*readers).nodules] == [3, 1]


def test_labels_are_ranks_by_volume_on_the_grid_of_the_ct():
    found = agreed([box_read([1], 5, 5, 2, 2), box_read([4, 5], 20, 20, 6, 7)])
    assert (found.labels.dtype, found.labels.shape) == (np.uint8, (12, 40, 44))
    assert [nodule.num_voxels for nodule in found.nodules] == [84, 4]
    assert found.labels[4, 20, 20] == 1
    assert found.labels[1, 5, 5] == 2
    assert np.count_nonzero(found.labels) == 88


def test_a_voxel_that_two_nodules_claim_is_the_larger_ones_and_counted_once():
    inner = box_read([4], 12, 12, 2, 10)
    found = agreed([inner, box_read([4], 10, 10, 8, 8)])
    assert [nodule.num_voxels for nodule in found.nodules] == [64, 8]
    np.testing.assert_array_equal(np.bincount(found.labels.ravel())[1:], [64, 8])
    assert found.labels[4, 12, 17] == 1
    assert found.labels[4, 12, 18] == 2


def test_labels_are_ranks_by_what_is_left_of_a_nodule():
    overlapping = [box_read([4], 10, 10, 8, 8), box_read([4], 10, 14, 6, 10)]
    found = agreed([*overlapping, box_read([8], 30, 30, 5, 8)])
    assert [nodule.num_voxels for nodule in found.nodules] == [64, 40, 36]
    assert found.labels[8, 30, 30] == 2


def test_the_table_has_size_and_centre_in_the_patient():
    (nodule,) = agreed(*four_readers(14, 14)).nodules
    stack = make_stack()
    assert nodule.num_voxels == 2 * 6 * 4
    assert nodule.volume_mm3 == pytest.approx(48 * 2.5 * 0.8 * 0.8)
    assert nodule.diameter_mm == pytest.approx((6 * nodule.volume_mm3 / np.pi) ** (1 / 3))
    assert nodule.center_ras_mm == pytest.approx(ras_from_zyx(stack.affine, (4.5, 12.5, 11.5)))
    assert nodule.center_ras_mm == pytest.approx((140.8, 130.0, -88.75))


def test_the_centre_is_that_of_the_voxels_in_our_orientation_too():
    stack = make_stack()
    found = agreed(*four_readers(14, 17), stack=stack)
    inside = np.argwhere(stack.canonical(found.labels) == 1)
    centre = ras_from_zyx(stack.canonical_affine, tuple(inside.mean(axis=0)))
    assert found.nodules[0].center_ras_mm == pytest.approx(centre)


def test_a_nodule_keeps_what_each_reader_said_of_it():
    readers = [
        [box_read([4, 5], 10, 10, 6, 4, malignancy=2, texture=5, calcification=6)],
        [box_read([4, 5], 10, 10, 6, 8, malignancy=5, calcification=3)],
        [],
        [box_read([4, 5], 10, 10, 6, 6, malignancy=4, texture=4)],
    ]
    (nodule,) = agreed(*readers).nodules
    assert nodule.num_readers == 3
    assert nodule.reader_voxels == (96, 72, 48)
    assert [rating.malignancy for rating in nodule.ratings] == [5, 4, 2]
    assert nodule.mean("malignancy") == pytest.approx(11 / 3)
    assert nodule.median("malignancy") == 4.0
    assert (nodule.given("texture"), nodule.mean("texture")) == ([4, 5], 4.5)
    assert (nodule.mean("margin"), nodule.median("margin")) == (None, None)


def test_agreement_is_the_mean_dice_of_all_pairs_of_readers():
    readers = four_readers(14, 16, 18)
    (nodule,) = agreed(*readers).nodules
    dice = [2 * 4 / (4 + 6), 2 * 4 / (4 + 8), 2 * 6 / (6 + 8)]
    assert nodule.agreement == pytest.approx(sum(dice) / 3)
    assert agreed(*four_readers(14)).nodules[0].agreement is None
    assert agreed(*four_readers(14, 14)).nodules[0].agreement == 1.0


def test_the_order_of_the_readers_changes_nothing():
    readers = four_readers(14, 16, 18, 20)
    readers[1].append(box_read([8], 30, 30, 3, 3, malignancy=1))
    found, other = agreed(*readers), agreed(*readers[::-1])
    np.testing.assert_array_equal(found.labels, other.labels)
    assert found.nodules == other.nodules


def test_pieces_of_one_reader_are_one_nodule_with_the_whole_of_another():
    whole = [box_read([4, 5], 10, 10, 6, 20)]
    pieces = [box_read([4, 5], 10, 10, 6, 8), box_read([4, 5], 10, 20, 6, 10)]
    (nodule,) = agreed(whole, pieces, share=1.0).nodules
    assert nodule.reader_voxels == (240, 216)
    assert nodule.num_voxels == 216


def test_reads_without_a_common_voxel_are_one_nodule_within_the_reach_that_is_asked_for():
    apart = [[box_read([4], 10, 10, 3, 3)], [box_read([4], 10, 16, 3, 3)]]
    assert len(agreed(*apart).nodules) == 2
    assert len(agreed(*apart, reach_mm=3.2).nodules) == 1


def test_marks_without_an_extent_are_counted_and_have_no_voxel():
    reads = reads_of([box_read([4], 10, 10, 3, 3)], [], num_small=2)
    found = consensus(reads, make_stack(), HALF)
    assert (found.num_readers, found.num_small, found.num_non_nodules) == (2, 4, 0)
    assert np.count_nonzero(found.labels) == 9


def test_a_ct_without_nodules_has_empty_labels():
    found = agreed([], [])
    assert (found.labels.max(), found.nodules, found.notes) == (0, (), ())


def test_notes_of_reading_and_drawing_are_passed_on():
    beyond = read_of(on_slice(20, ring(10, 10, 3, 3)))
    reads = replace(reads_of([beyond]), notes=("2 blinded reads left out",))
    assert consensus(reads, make_stack(), HALF).notes == (
        "2 blinded reads left out",
        "1 contour on slices that the CT lacks: left out",
        "1 outlined nodule wholly on slices that the CT lacks: left out",
    )


def test_a_row_is_plain_and_fits_a_parquet_table():
    readers = [
        [box_read([4], 10, 10, 3, 3, malignancy=4), box_read([8], 30, 30, 2, 2)],
        [box_read([4], 10, 10, 3, 4, malignancy=1, calcification=6)],
    ]
    rows = [nodule.as_row() for nodule in agreed(*readers).nodules]
    assert pa.Table.from_pylist(rows).to_pylist() == rows
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["malignancy"] == [1, 4]
    assert (rows[0]["malignancy_mean"], rows[0]["malignancy_median"]) == (2.5, 2.5)
    assert rows[0]["calcification"] == [6, None]
    assert "calcification_mean" not in rows[0]
    assert (rows[1]["malignancy"], rows[1]["malignancy_mean"]) == ([None], None)
    assert rows[1]["agreement"] is None


def test_every_field_of_a_nodule_is_in_its_row():
    (nodule,) = agreed(*four_readers(14)).nodules
    fields = {name for name in LidcNodule.__slots__ if name != "ratings"}
    assert fields | set(Ratings.__slots__) <= nodule.as_row().keys()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"share": 0.0}, "share: found 0.0; expected more than 0 and at most 1. Take 0.5"),
        ({"share": 1.5}, "share: found 1.5"),
        ({"share": float("nan")}, "share: found nan"),
        ({"min_readers": 0}, "min_readers: found 0; expected 1 or more"),
        ({"reach_mm": -1.0}, "reach_mm: found -1.0; expected 0 to 5, in mm"),
        ({"reach_mm": 6.0}, "reach_mm: found 6.0"),
        ({"reach_mm": float("nan")}, "reach_mm: found nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting, message):
    with pytest.raises(RecipeError, match=message):
        ConsensusConfig(**setting)


def test_the_large_nodule_of_lidc_0001_is_what_its_four_readers_agree_on(ct_dir):
    folder = ct_dir / "lidc_dicom" / "LIDC-IDRI-0001"
    (series,) = find_series(folder).series
    stack = read_stack("0001", series)
    found = consensus(read_lidc_xml(folder / "69.xml"), stack, HALF)
    (nodule,) = found.nodules
    assert (nodule.num_readers, found.num_readers) == (4, 4)
    assert nodule.num_voxels == 5428
    assert nodule.reader_voxels == (5905, 5498, 4955, 4613)
    assert nodule.agreement == pytest.approx(0.878, abs=1e-3)
    assert (nodule.mean("malignancy"), nodule.mean("texture")) == (4.75, 4.75)
    # Nine marks: three nodules under 3 mm, which three of the readers marked each.
    assert (found.num_small, found.num_non_nodules, found.notes) == (9, 13, ())
    # Soft tissue within, and lung around: the outlines lie where they were drawn.
    assert np.median(stack.ct_hu[found.labels == 1]) > 0
    assert nodule.center_ras_mm[0] < 0


def test_the_four_nodules_of_lidc_1011_are_those_of_the_pooled_scan(ct_dir):
    reads = read_lidc_xml(ct_dir / "lidc_dicom" / "LIDC-IDRI-1011_087.xml")
    contours = [
        contour
        for reader in reads.readers
        for nodule in reader.nodules
        for contour in nodule.contours
    ]
    uid_at = {contour.z_mm: contour.sop_uid for contour in contours}
    heights = np.arange(min(uid_at), max(uid_at) + 2.5, 2.5)
    stack = make_stack(
        len(heights),
        512,
        512,
        spacing_mm=(2.5, 0.859375, 0.859375),
        first_z_mm=heights[0],
        sop_uids=[uid_at.get(height, "") for height in heights],
        series_uid=reads.series_uid,
    )
    found = consensus(reads, stack, HALF)
    sizes = [(round(nodule.diameter_mm, 1), nodule.num_readers) for nodule in found.nodules]
    assert sizes == [(22.5, 4), (19.6, 4), (16.0, 4), (4.9, 1)]
    assert [nodule.mean("malignancy") for nodule in found.nodules] == [3.5, 4.5, 4.25, 2.0]
    pooled = np.asarray(nib.load(ct_dir / "thorax" / "lidc_1011_nodule.nii.gz").dataobj)
    for label, of_pooled in ((1, 3), (2, 2), (3, 1), (4, 4)):
        mask = (found.labels == label).view(np.uint8)
        quarters = sum(mask[:, y::2, x::2] for y in (0, 1) for x in (0, 1))
        np.testing.assert_array_equal(cut(quarters >= 2), cut(of_pooled == pooled.T))


def cut(mask):
    low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
    return mask[tuple(map(slice, low, high))]


def test_more_than_255_nodules_have_a_label_each(monkeypatch):
    monkeypatch.setattr(draw, "_VOXELS_AT_MOST", 1 << 20)
    stack = make_stack(2, 80, 80, sop_uids=[sop_uid(0), sop_uid(1)])
    places = [(row, column) for row in range(2, 78, 4) for column in range(2, 78, 4)][:256]
    found = agreed([box_read([0], *place, 1, 1) for place in places], stack=stack)
    assert found.labels.dtype == np.uint16
    assert found.labels.max() == len(found.nodules) == 256
