"""What differs between what a folder was made with and what is asked for."""

from jobs.claims import differences


def test_only_what_differs_is_told_by_its_path() -> None:
    found = {"steps": 25, "quality": {"seam_score": [0.5, 2.0], "max": 1}, "gone": True}
    asked = {"steps": 50, "quality": {"seam_score": [0.5, 2.0], "max": 2}}
    assert differences(found, asked) == [
        "gone was True, is absent",
        "quality.max was 1, is 2",
        "steps was 25, is 50",
    ]


def test_a_pair_that_went_through_a_file_is_the_same_pair() -> None:
    assert (
        differences({"limits": {"bone": [71.4, 1000.0]}}, {"limits": {"bone": (71.4, 1000.0)}})
        == []
    )
    assert differences({"bone": [1.0]}, {"bone": (2.0,)}) == ["bone was [1.0], is [2.0]"]
