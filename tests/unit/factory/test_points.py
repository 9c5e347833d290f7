import numpy as np
import pytest

from factory.axes import ras_from_lps, ras_from_zyx
from factory.errors import CaseError, FactoryError
from factory.ingest.points import NodulePoint, draw_points, points_of, read_points
from factory.ingest.sources import SourceCase
from factory.nodules.bank import bank_of, embedded_bank

HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
SHAPE = (60, 90, 100)
AFFINE = np.diag([0.8, 0.8, 1.25, 1.0])
AFFINE[:3, 3] = (-40.0, -35.0, -120.0)
VOXEL_MM3 = 0.8 * 0.8 * 1.25
CENTRE = (2.3, -4.1, -80.2)


def point(diameter_mm: float, center: tuple[float, float, float] = CENTRE) -> NodulePoint:
    return NodulePoint(center_lps_mm=center, diameter_mm=diameter_mm)


def draw(*points: NodulePoint, case_id: str = "a", affine: np.ndarray = AFFINE) -> np.ndarray:
    return draw_points(case_id, points, SHAPE, affine, embedded_bank())


@pytest.fixture
def table(tmp_path):
    def read(content: str | bytes):
        path = tmp_path / "annotations.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_points(path)

    return read


def test_rows_are_gathered_by_series_in_their_order(table):
    found = table(
        f"{HEADER}1.2.3,-100.5,67.25,-231.8,6.44\n9.9,1,2,3,4\n1.2.3,103.78,-121.8,-286.6,5.65\n"
    )
    assert found == {
        "1.2.3": [point(6.44, (-100.5, 67.25, -231.8)), point(5.65, (103.78, -121.8, -286.6))],
        "9.9": [point(4.0, (1.0, 2.0, 3.0))],
    }


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}a, 1, 2, 3, 4\r\n",
        "diameter_mm,note,coordZ,coordY,coordX,seriesuid\n4,big,3,2,1,a\n",
        f"{HEADER}a,1,2,3,4\na,1.0,2.0,3.0,4.0\n\n",
    ],
    ids=["from-excel", "other-columns", "row-twice"],
)
def test_tables_are_read_as_people_write_them(table, content):
    assert table(content) == {"a": [point(4.0, (1.0, 2.0, 3.0))]}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a,1,2,3,0", "diameter_mm '0'"),
        ("a,1,2,3,-1", "diameter_mm '-1'"),
        ("a,1,2,3,101", "diameter_mm '101'"),
        ("a,1,2,nan,4", "coordZ 'nan'"),
        ("a,1,2,1e9,4", "coordZ '1e9'"),
        ("a,1,two,3,4", "coordY 'two'"),
        (",1,2,3,4", "coordX '1'"),
        ("a,1,2", "coordZ ''"),
    ],
)
def test_a_row_that_is_no_nodule_is_named_by_its_line(table, line, found):
    with pytest.raises(
        FactoryError, match=rf"annotations\.csv, line 3: found .*{found}.*expected a"
    ):
        table(f"{HEADER}a,1,2,3,4\n{line}\n")


def test_a_table_with_other_columns_names_them(table):
    with pytest.raises(
        FactoryError, match=r"found columns id, x; expected seriesuid, coordX, coor"
    ):
        table("id,x\na,1\n")


def test_a_table_that_cannot_be_read_says_why(table, tmp_path):
    with pytest.raises(FactoryError, match=r"points .*nowhere: found no such file or folder;"):
        read_points(tmp_path / "nowhere")
    with pytest.raises(
        FactoryError, match=r"found bytes that are no text .*expected a CSV in UTF-8"
    ):
        table(b"seriesuid,coordX\n\xff\xfe")
    with pytest.raises(FactoryError, match=r"annotations\.csv, line \d: found what is no CSV"):
        table(HEADER + '"' + "a" * 200_000)


def test_a_table_too_large_to_be_one_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(FactoryError, match=r"found 1048576 MiB; expected a table of at most 256"):
        read_points(path)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (SourceCase(case_id="x-1", patient_id="x", series=("1.dcm",), series_uid="1.2.3"), "1.2.3"),
        (SourceCase(case_id="1.2.3", patient_id="p", ct="/s/1.2.3.mhd"), "1.2.3"),
        (SourceCase(case_id="a", patient_id="a", ct="/s/a_ct.nii.gz"), "a_ct"),
        (SourceCase(case_id="b", patient_id="b", ct="/s/b_ct.nii.gz"), "b"),
        (SourceCase(case_id="c", patient_id="c", ct="/s/c_ct.nii.gz"), ""),
    ],
)
def test_a_case_is_found_by_its_series_its_id_or_its_file(case, name):
    rows = {"1.2.3": [point(4.0)], "a_ct": [point(5.0)], "b": [point(6.0)]}
    assert points_of(case, rows) == (name, tuple(rows.get(name, ())))


@pytest.mark.parametrize("diameter_mm", [3.0, 4.5, 6.0, 9.3, 14.0, 21.0, 33.0, 60.0])
def test_a_nodule_has_the_volume_of_its_sphere(diameter_mm):
    drawn = draw(point(diameter_mm))
    sphere_mm3 = np.pi / 6 * diameter_mm**3
    assert drawn.sum() * VOXEL_MM3 == pytest.approx(sphere_mm3, rel=0.05)


def test_a_nodule_smaller_than_a_voxel_is_one_voxel_where_it_lies():
    drawn = draw(point(0.4))
    [voxel] = np.argwhere(drawn)
    off_mm = np.subtract(ras_from_zyx(AFFINE, tuple(voxel)), ras_from_lps(np.array(CENTRE)))
    assert (np.abs(off_mm) <= np.array([0.8, 0.8, 1.25])).all()


@pytest.mark.parametrize("diameter_mm", [6.0, 14.0, 30.0])
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_a_nodule_lies_around_its_centre_to_a_fraction_of_a_voxel(diameter_mm, flip):
    affine = AFFINE @ np.diag([flip, 1.0, 1.0, 1.0])
    affine[0, 3] = -40.0 * flip
    z, y, x = np.argwhere(draw(point(diameter_mm), affine=affine)).mean(axis=0)
    centre = ras_from_zyx(affine, (z, y, x))
    np.testing.assert_allclose(centre, ras_from_lps(np.array(CENTRE)), atol=0.2)


def test_the_shape_of_the_nearest_diameter_is_taken():
    needle = np.zeros((40, 3, 3), bool)
    needle[:, 1, 1] = True
    ball = np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 10
    bank = bank_of([needle, ball], ["needle", "ball"], spacing_mm=1.0)
    small = draw_points("a", [point(6.0)], SHAPE, AFFINE, bank)
    large = draw_points("a", [point(16.0)], SHAPE, AFFINE, bank)

    def reach_mm(mask: np.ndarray) -> float:
        points = np.argwhere(mask) * (1.25, 0.8, 0.8)
        return float(np.linalg.norm(points - points.mean(axis=0), axis=1).max())

    assert reach_mm(small) > 10.0
    assert reach_mm(large) < 9.5


def test_a_nodule_is_the_same_whatever_else_is_drawn_and_another_in_another_case():
    alone = draw(point(14.0))
    far = point(8.0, (-20.0, 10.0, -100.0))
    np.testing.assert_array_equal(draw(far, point(14.0)), draw(point(14.0)) | draw(far))
    np.testing.assert_array_equal(alone, draw(point(14.0)))
    assert (alone != draw(point(14.0), case_id="b")).any()


def test_a_nodule_that_leaves_the_scan_is_cut_off():
    at_edge = tuple(ras_from_lps(np.array(ras_from_zyx(AFFINE, (0.0, 45.0, 50.0)))))
    drawn = draw(point(20.0, at_edge))
    sphere_mm3 = np.pi / 6 * 20.0**3
    assert drawn[0].any()
    assert 0.35 < drawn.sum() * VOXEL_MM3 / sphere_mm3 < 0.65


def test_a_nodule_of_far_too_many_voxels_is_refused_before_it_is_drawn():
    fine = np.diag([0.06, 0.06, 0.06, 1.0])
    middle = point(100.0, (-1.0, -1.0, 1.0))
    with pytest.raises(
        CaseError,
        match=r"^case a: a nodule of 100 mm takes a box of \d+ voxels; expected at most 67",
    ):
        draw(middle, affine=fine)


def test_a_centre_outside_of_the_scan_names_the_likely_mistake():
    with pytest.raises(
        CaseError, match=r"^case a: a nodule's centre \(2\.3, 44\.1, -80\.2\) mm lies"
    ):
        draw(point(6.0, (2.3, 44.1, -80.2)))
    with pytest.raises(
        CaseError, match=r"expected it within, in LPS mm as ITK has it\. Check whet"
    ):
        draw(point(6.0, (2.3, -4.1, 80.2)))
