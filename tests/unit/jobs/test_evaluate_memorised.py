"""Shares, ratios and the attack on sets whose distances can be counted by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.evaluate.figures import Side, pair_figures_of
from jobs.evaluate.given import Item
from jobs.evaluate.histogram_figures import histogram_figures
from jobs.evaluate.kept import Measured
from jobs.evaluate.memorised import memorisation_figures, memorisation_rows


def side(points: dict[str, tuple[float, str, str]], *, drawn: bool = False, **pair: float) -> Side:
    """Return volumes by name: place on a line, patient, split."""
    items, measured = [], []
    for name, (place, patient, split) in points.items():
        row: dict[str, Any] = {"work_id": name if drawn else None, "case_id": patient}
        items.append(
            Item(
                row=row,
                content=(name,),
                donor=None,
                work_id=name if drawn else "",
                case_id=patient,
                patient_id=patient,
                split=split,
            )
        )
        at = np.array([place], np.float32)
        measured.append(Measured(at, at, at, at, pair))
    return Side(items, measured)


TRAINING = {f"t{i}": (float(i), f"t{i}", "train") for i in range(5)}
HELD_OUT = {f"h{i}": (100.0 + i, f"h{i}", "test") for i in range(5)}
REAL = side(TRAINING | HELD_OUT)
# One lies on its donor; nine of another donor lie far from everybody.
DRAWN = side(
    {"s0": (0.0, "t0", "train")} | {f"s{i}": (200.0, "t1", "train") for i in range(1, 10)},
    drawn=True,
)


def figures(real: Side, drawn: Side) -> tuple[dict[str, Any], list[str]]:
    told: list[str] = []
    rows = memorisation_rows(real, drawn)
    found = memorisation_figures(real, drawn, "net", rows, told.append)
    return {one.name: one.interval for one in found if one.extractor in ("net", "")}, told


def test_without_donors_the_attack_learns_nothing_where_nothing_was_copied() -> None:
    """Held-out volumes lie where the training ones do; only children would tell the two apart."""
    training = {f"t{i}": (10.0 * i, f"t{i}", "train") for i in range(5)}
    held_out = {f"h{i}": (10.0 * i, f"h{i}", "test") for i in range(5)}
    children = {f"s{i}": (10.0 * i + 1.0, f"t{i}", "train") for i in range(5)}
    found, _ = figures(side(training | held_out), side(children, drawn=True))
    assert found["membership_auc_donor_excluded"].value == 0.5


def test_the_attack_asks_how_near_each_real_volume_has_a_synthetic_one() -> None:
    found, told = figures(REAL, DRAWN)
    assert found["membership_auc_donor_included"].value == 1.0
    assert found["membership_auc_donor_excluded"].value == pytest.approx(20 / 25)
    assert told == []


def test_shares_and_ratios_go_from_each_synthetic_volume() -> None:
    found, _ = figures(REAL, DRAWN)
    assert found["dcr_share_closer_to_training_donor_included"].value == pytest.approx(0.1)
    expected = (0.0 + 9 * 196 / 197) / 10
    assert found["nndr_donor_included"].value == pytest.approx(expected)
    without_donor = (1 / 2 + 9 * 196 / 197) / 10
    assert found["nndr_donor_excluded"].value == pytest.approx(without_donor)


def test_rows_name_the_nearest_and_the_nearest_of_another_patient() -> None:
    row = memorisation_rows(REAL, DRAWN)[0]
    assert (row["nearest_case_lungs"], row["distance_lungs"]) == ("t0", 0.0)
    assert (row["other_case_lungs"], row["other_distance_lungs"]) == ("t1", 1.0)
    assert row["usual_distance_lungs"] == 1.0
    assert row["verdict"] == "clear"


def test_four_held_out_volumes_are_too_few_to_tell() -> None:
    few = REAL.where(lambda item: item.case_id != "h0")
    found, told = figures(few, DRAWN)
    assert not any("auc" in name or "dcr" in name for name in found)
    assert told == [
        "memorisation: 5 training and 4 held-out real volumes; DCR share and membership AUC need 5 of each"
    ]


def test_without_a_training_split_nothing_is_told_of_copies() -> None:
    found, told = figures(side(HELD_OUT), DRAWN)
    assert found == {}
    assert "no real volume is of the training split" in told[0]


def test_pairs_are_resampled_by_patient_and_absent_figures_are_left_out() -> None:
    drawn = side(
        {"s0": (0.0, "t0", "train"), "s1": (0.0, "t0", "train"), "s2": (0.0, "t1", "train")},
        drawn=True,
        mse_lung=0.5,
    )
    (found,) = pair_figures_of(drawn)
    assert (found.name, found.region, found.n, found.interval.value) == ("mse", "lungs", 3, 0.5)
    assert found.note.endswith("no interval: volumes of 2 patients, 5 or more make one")


def test_sets_without_lungs_have_no_distance_of_them_and_it_is_said() -> None:
    def with_lungs(one: Side, hu: list[list[float]]) -> Side:
        shares = [np.array(values, np.float32) for values in hu]
        found = [replace(old, lung_hu=new) for old, new in zip(one.measured, shares, strict=True)]
        return Side(one.items, found, one.name)

    real = with_lungs(side({f"t{i}": (0.0, f"t{i}", "train") for i in range(4)}), [[1.0, 0.0]] * 4)
    names = {f"s{i}": (0.0, f"t{i}", "train") for i in range(3)}
    drawn = with_lungs(side(names, drawn=True), [[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    bare = with_lungs(side(names, drawn=True), [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    told: list[str] = []
    figure, floor = histogram_figures(real, [drawn, bare], 5, told.append)
    assert (figure.interval.value, figure.n, figure.region) == (1.0, 2, "lungs")
    assert (floor.name, floor.interval.value) == ("set_histogram_distance_hu_real_to_real", 0.0)
    assert told == ["set_histogram_distance_hu: : fewer than 2 volumes have lungs"]
