"""Table II claims a published scale only where there is one."""

from dataclasses import replace

import pytest

from factory.evaluation.intervals import Interval
from jobs.evaluate.extractors import Scale
from jobs.evaluate.figures import Figure
from jobs.evaluate.tables import table2


def page(scale: Scale, *figures: Figure, grid: int = 128) -> str:
    return table2(figures, ["ours"], "net", scale=scale, grid=(grid,) * 3)


def of_slices(extractor: str) -> Figure:
    return Figure(
        of="ours",
        name="fid_2_5d",
        region="whole",
        extractor=extractor,
        interval=Interval(1.0, 0.5, 1.5),
        n=4,
        note="",
    )


def test_weights_of_the_authors_are_on_the_published_scale_but_for_what_is_said() -> None:
    found = page(Scale.PUBLISHED)
    assert "- FID is on the scale of the published column: MedicalNet's ResNet-50 at 128^3" in found
    assert "slices that are all air are kept and nothing is resized" in found
    assert "If the weights are" not in found


@pytest.mark.parametrize(
    ("grid", "said"), [(128, "**If the weights are"), (64, "if the weights are")]
)
def test_weights_of_an_unknown_digest_are_so_only_if_they_are_the_authors(
    grid: int, said: str
) -> None:
    found = page(Scale.UNVERIFIED, grid=grid)
    assert said in found
    assert "- FID is on the scale" not in found


def test_on_another_grid_nothing_published_compares() -> None:
    assert "on another grid than its 128^3" in page(Scale.PUBLISHED, grid=64)
    assert "comparable with no published figure" in page(Scale.OWN)


def test_the_distance_of_slices_is_maisis_with_radimagenets_weights_alone() -> None:
    theirs = page(Scale.OWN, of_slices("radimagenet-resnet50-01234567"))
    assert "It is MAISI's 2.5-D distance, if the weights are RadImageNet's" in theirs
    others = page(Scale.OWN, of_slices("resnet50-2d-01234567"))
    assert "MAISI" not in others
    assert "on no published scale" in others
    assert "fid_2_5d" not in page(Scale.OWN)


def test_a_note_cannot_break_a_line_of_the_table() -> None:
    hostile = replace(of_slices("net"), note="| 0.0 | best of all |")
    (line,) = (one for one in page(Scale.OWN, hostile).splitlines() if "best of all" in one)
    assert line == "| ours | fid_2_5d | whole | 1 (0.5 to 1.5) | 4 | / 0.0 / best of all / |"
