"""What the pictures of an evaluation put beside each other, and what is left of one that was cut off."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import real_set, relunged, scan, synthetic_set

from factory.pictures import ComparisonRow
from jobs.evaluate import pictures
from jobs.evaluate.figures import Side
from jobs.evaluate.given import Item, find_sets
from jobs.evaluate.kept import Measured
from jobs.evaluate.memorised import memorisation_rows
from jobs.evaluate.sides import Sides

NEAREST, FAR = 4, 50
"""Of the real cases, to the volume that was drawn; and where its features lie, far from all of theirs."""


def sides_of(tmp_path: Path, **changes: Any) -> Sides:
    """Return real cases c0 to c4, and a volume that was drawn into another scan."""
    real = real_set(tmp_path / "cases", ["train"] * 5)
    drawn = [(5, relunged(scan(5), seed=1))]
    lake = synthetic_set(tmp_path / "lake", drawn, {0: changes})
    sets = find_sets(str(real), {"ours": str(lake)})
    (synthetic,) = sets.synthetic
    return Sides(
        _side("real", sets.real.items, range(5)), [_side("ours", synthetic.items, [FAR])], {}
    )


def _side(name: str, items: Sequence[Item], places: Sequence[int]) -> Side:
    found = [np.array([place, place], np.float32) for place in places]
    return Side(items, [Measured(at, at, at, at, {}) for at in found], name)


def drawn_beside(sides: Sides, out: Path, patch: pytest.MonkeyPatch) -> list[ComparisonRow]:
    rows: list[ComparisonRow] = []

    def keep(given: Sequence[ComparisonRow], path: Path) -> None:
        rows.extend(given)
        path.touch()

    patch.setattr(pictures, "comparison_figure", keep)
    of_sets: Mapping[str, Any] = {
        side.name: memorisation_rows(sides.real, side) for side in sides.synthetic
    }
    pictures.draw_all_pairs(sides, of_sets, out, pytest.fail)
    return rows


def test_a_volume_is_not_shown_beside_a_case_that_only_has_its_donors_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hospitals may both have a case c0."""
    (row,) = drawn_beside(sides_of(tmp_path, case_id="c0"), tmp_path, monkeypatch)
    assert f"and c{NEAREST}\n" in row.title
    assert "no donor" in row.title
    assert np.array_equal(row.reference_hu, scan(NEAREST).ct)


def test_a_donor_that_only_the_lake_has_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = sides_of(tmp_path)
    others = find_sets(str(real_set(tmp_path / "others", ["train"] * 6)), {}).real.items
    (item,) = sides.synthetic[0].items
    with_donor = replace(sides.synthetic[0], items=[replace(item, donor=others[5].row)])
    (row,) = drawn_beside(replace(sides, synthetic=[with_donor]), tmp_path, monkeypatch)
    assert "and c5\n" in row.title
    assert np.array_equal(row.reference_hu, scan(5).ct)


def test_a_picture_that_is_interrupted_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any, file: Path, **__: Any) -> None:
        Path(file).write_bytes(b"\x89PNG\r\n\x1a\n half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupted)
    sides, out = sides_of(tmp_path), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        list(pictures.draw_scaling(sides.real, sides.synthetic, "net", out, pytest.fail))
    assert list(out.iterdir()) == []
