"""Which series of a study become cases."""

import numpy as np
import pytest
from dicom_files import write_series
from pydicom.uid import generate_uid

from factory.dicom.choose import choose_series, sharpness
from factory.dicom.find import find_series
from factory.errors import UsageError


def ct(num=5, rows=8, columns=6):
    return (
        np.linspace(-1000, 400, num * rows * columns).reshape(num, rows, columns).astype(np.int16)
    )


@pytest.fixture
def study_of(tmp_path):
    """Write series of one study, from (number of slices, gap in mm, kernel), and find them."""

    def write(*wanted, folder="study"):
        study_uid = generate_uid()
        for n, (num, gap, kernel) in enumerate(wanted):
            write_series(
                tmp_path / folder / str(n),
                ct(num),
                (gap, 0.7, 0.7),
                study_uid=study_uid,
                series_uid=f"1.2.{n + 1}",
                tags={"ConvolutionKernel": kernel},
            )
        return find_series(tmp_path / folder).series

    return write


def chosen(series, rule):
    return [one.series_uid for one in choose_series(series, rule).chosen]


def test_the_thinnest_series_of_a_study_is_chosen_and_the_rest_is_told(study_of):
    series = study_of((5, 5.0, "B30f"), (20, 1.25, "B30f"), (10, 2.5, "B30f"))
    choice = choose_series(series, "thinnest")
    assert [one.series_uid for one in choice.chosen] == ["1.2.2"]
    assert [(left.series_uid, left.reason) for left in choice.left_out] == [
        (
            "1.2.1",
            "not chosen: --series thinnest took another series of its study (5 slices of 5.00 mm)",
        ),
        (
            "1.2.3",
            "not chosen: --series thinnest took another series of its study (10 slices of 2.50 mm)",
        ),
    ]
    assert not any(left.broken for left in choice.left_out)


def test_of_equally_thin_series_the_longest_then_the_softest_then_the_lowest_uid_is_chosen(
    study_of,
):
    assert chosen(study_of((8, 2.0, "B30f"), (9, 2.0, "B80f"), folder="a"), "thinnest") == ["1.2.2"]
    assert chosen(study_of((8, 2.0, "LUNG"), (8, 2.0, "STANDARD"), folder="b"), "thinnest") == [
        "1.2.2"
    ]
    assert chosen(study_of((8, 2.0, "B30f"), (8, 2.0, "B30f"), folder="c"), "thinnest") == ["1.2.1"]


def test_a_few_thin_slices_are_not_preferred_to_the_whole_chest(study_of):
    series = study_of((20, 0.6, "B30f"), (20, 2.0, "B30f"))
    assert chosen(series, "thinnest") == ["1.2.2"]


def test_a_thousandth_of_a_millimetre_is_no_thinner(study_of):
    assert chosen(study_of((8, 2.001, "B30f"), (9, 2.0, "B80f")), "thinnest") == ["1.2.2"]
    assert chosen(study_of((9, 2.001, "B30f"), (8, 2.0, "B30f"), folder="b"), "thinnest") == [
        "1.2.1"
    ]


def test_most_slices_count_places_not_files(study_of, tmp_path):
    series = study_of((9, 2.0, "B30f"), (8, 2.0, "B30f"))
    assert chosen(series, "most-slices") == ["1.2.1"]
    again = write_series(tmp_path / "t", ct(8), (2.0, 0.7, 0.7), twice=[1, 2, 3],
                         study_uid=series[0].study_uid, series_uid="1.1")  # fmt: skip
    assert chosen((*find_series(tmp_path / "t").series, *series), "most-slices") == ["1.2.1"]
    assert len(again.paths) == 11


def test_each_study_has_its_own_choice_and_all_takes_every_series(study_of):
    first = study_of((5, 5.0, "B30f"), (20, 1.25, "B30f"), folder="a")
    second = study_of((5, 5.0, "B30f"), folder="b")
    assert len(choose_series((*first, *second), "thinnest").chosen) == 2
    every = choose_series((*second, *first), "all")
    assert (len(every.chosen), every.left_out) == (3, ())


def test_a_choice_does_not_depend_on_the_order_of_series(study_of):
    series = study_of((8, 2.0, "B30f"), (8, 2.0, "B30f"), (8, 2.0, "B30f"))
    for rule in ("thinnest", "most-slices", "all"):
        assert choose_series(series, rule) == choose_series(series[::-1], rule)


def test_one_series_can_be_named_by_its_whole_uid_only(study_of):
    series = study_of((5, 5.0, "B30f"), (20, 1.25, "B30f"))
    choice = choose_series(series, "1.2.1")
    assert [one.series_uid for one in choice.chosen] == ["1.2.1"]
    assert choice.left_out[0].reason == "not the series that --series names (20 slices of 1.25 mm)"
    with pytest.raises(
        UsageError, match=r"over 2 CT series: found a UID that none of them has; expected"
    ):
        choose_series(series, "1.2")
    with pytest.raises(
        UsageError, match=r"found 'thickest'; expected thinnest, most-slices, all or the"
    ):
        choose_series(series, "thickest")


@pytest.mark.parametrize(
    ("softer", "sharper"),
    [("B30f", "B70s"), ("Br40d\\3", "Bl64d\\3"), ("STANDARD", "LUNG"), ("SOFT", "BONE"),
     ("FC08", "FC51"), ("FC13", "FC30"), ("B", "D"), ("I30f\\3", "unheard of"), ("unheard of", "B80f")],
)  # fmt: skip
def test_soft_kernels_are_told_from_sharp_ones(softer, sharper):
    assert sharpness(softer.replace("\\", "/")) < sharpness(sharper.replace("\\", "/"))
