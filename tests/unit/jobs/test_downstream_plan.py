"""Real volumes test, and nothing that shares a scan with them trains."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downstream_sets import read_case as case
from manifest_rows import sha
from mix_sources import digest_of, drawn

from factory.errors import StoreError, UsageError
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.folds import Row
from jobs.downstream.plan import Plan, RunSpec, make_plan, make_spec, mix_label, resolve
from manifests.write import manifest_table, with_mix, write_table

CONFIG = DownstreamConfig()


def plan_of(tmp_path: Path, *rows: dict[str, object], name: str = "lake", **given: Any) -> Plan:
    """Return the plan of rows that nobody has looked at: a manifest made by hand can hold any."""
    manifest = tmp_path / f"{name}.parquet"
    write_table(with_mix(manifest_table(rows)), manifest)
    return make_plan(str(manifest), **given)


def cases(rows: tuple[Row, ...]) -> list[str]:
    return [row["case_id"] for row in rows]


def spec_of(plan: Plan, **changes: Any) -> RunSpec:
    return replace(make_spec(plan, plan.folds[0], CONFIG, out="run", seed=0), **changes)


def test_the_manifests_own_split_says_what_trains_and_what_tests(tmp_path: Path) -> None:
    rows = [case("a"), case("b", split="val"), case("c", split="test"), drawn("a", 0)]
    (fold,) = plan_of(tmp_path, *rows).folds
    assert (cases(fold.real), cases(fold.synthetic), cases(fold.test)) == (["a"], ["a"], ["c"])
    assert [row["kind"] for row in fold.synthetic] == ["synthetic"]


def test_without_test_cases_those_of_validation_test(tmp_path: Path) -> None:
    (fold,) = plan_of(tmp_path, case("a"), case("b", split="val")).folds
    assert (cases(fold.real), cases(fold.test)) == (["a"], ["b"])


def test_a_synthetic_volume_never_tests_and_no_child_of_a_held_out_donor_trains(
    tmp_path: Path,
) -> None:
    plan = plan_of(
        tmp_path,
        *(case("a"), case("v", split="val"), case("t", split="test")),
        *(drawn("a", 0), drawn("t", 1, split="test")),
        # Of the donor by its patient, its case and its scan.
        drawn("p", 2, patient_id="patient of v"),
        drawn("t", 3, patient_id="somebody", reference_sha256=sha("x")),
        drawn("q", 4, reference_sha256=digest_of("v")),
        drawn("a", 5, qc_verdict="reject"),
    )
    (fold,) = plan.folds
    assert cases(fold.test) == ["t"]
    assert [(row["case_id"], row["kind"]) for row in fold.synthetic] == [("a", "synthetic")]
    assert plan.barred == {
        "in val or test": (1,),
        "of a donor in val or test": (3,),
        "rejected by quality control": (1,),
    }


def test_children_of_a_held_out_scan_that_cannot_test_do_not_train_either(tmp_path: Path) -> None:
    rows = [case("a"), case("b"), case("t", split="test"), case("u", split="test", shape=(9, 9, 9))]
    plan = plan_of(tmp_path, *rows, drawn("u", 0))
    assert (cases(plan.folds[0].test), plan.folds[0].synthetic) == (["t"], ())
    assert plan.left_out == {
        "case u": "its grid is (9, 9, 9) voxels; expected (4, 6, 8), as most real ones have"
    }


def test_each_patient_tests_in_one_fold_and_its_children_train_in_the_others(
    tmp_path: Path,
) -> None:
    rows = [case(f"c{n}", split=("train", "val", "test")[n % 3]) for n in range(7)]
    rows += [case("c0-again", patient_id="patient of c0")]
    rows += [drawn(f"c{n}", n, split=("train", "val", "test")[n % 3]) for n in range(7)]
    plan = plan_of(tmp_path, *rows, num_folds=3)
    tested = [name for fold in plan.folds for name in cases(fold.test)]
    assert sorted(tested) == sorted([*(f"c{n}" for n in range(7)), "c0-again"])
    for fold in plan.folds:
        out = {row["patient_id"] for row in fold.test}
        assert not out & {row["patient_id"] for row in (*fold.real, *fold.synthetic)}
        assert len(fold.synthetic) == 7 - len(out)
        assert len(fold.real) + len(fold.test) == 8
    assert {len({row["patient_id"] for row in fold.test}) for fold in plan.folds} == {2, 3}
    # Each is barred where its donor tests, and counted there: not once a fold and then added up.
    assert plan.num_synthetic == 7
    assert plan.barred == {
        "whose donor tests": tuple(len({r["patient_id"] for r in f.test}) for f in plan.folds)
    }
    assert plan.extra == min(len(fold.synthetic) / len(fold.real) for fold in plan.folds)


def test_the_first_real_volumes_are_the_same_whatever_rows_follow_or_their_order(
    tmp_path: Path,
) -> None:
    rows = [case(f"c{n}") for n in range(12)]
    test = case("t", split="test")
    some = plan_of(tmp_path, *rows, test, name="some")
    turned = plan_of(tmp_path, test, *reversed(rows), drawn("c3", 0), name="turned")
    order = cases(some.folds[0].real)
    assert cases(turned.folds[0].real) == order
    assert order != sorted(order)


def test_volumes_without_a_layout_are_left_out_with_the_reason(tmp_path: Path) -> None:
    bare = case("b", layout_sha256=None, layout_uri=None)
    plan = plan_of(tmp_path, case("a"), bare, case("t", split="test"))
    assert plan.left_out == {"case b": "it has no layout, which would say where its nodules are"}
    assert cases(plan.folds[0].real) == ["a"]


def test_scans_that_nobody_looked_for_nodules_in_neither_train_nor_test(tmp_path: Path) -> None:
    rows = [
        *(case("a"), case("b", layout_origin="none"), case("t", split="test")),
        *(case("u", split="test", layout_origin="none"), drawn("b", 0), drawn("u", 1)),
        case("bare", layout_origin="none", layout_sha256=None, layout_uri=None),
    ]
    plan = plan_of(tmp_path, *rows)
    (fold,) = plan.folds
    assert (cases(fold.real), cases(fold.test)) == (["a"], ["t"])
    # What was put into such a scan by rule is known; children of a held-out one are barred as ever.
    assert cases(fold.synthetic) == ["b"]
    assert (plan.num_unannotated, plan.num_real, list(plan.left_out)) == (2, 5, ["case bare"])

    (fold,) = plan_of(tmp_path, *rows, unannotated="healthy").folds
    assert (sorted(cases(fold.real)), cases(fold.test)) == (["a", "b"], ["t", "u"])


def test_a_set_that_nobody_annotated_is_refused_with_the_counts_and_the_way_out(
    tmp_path: Path,
) -> None:
    rows = [case("a"), case("t", split="test", layout_origin="none")]
    with pytest.raises(
        UsageError,
        match=r"no real test or validation volume with a layout \(1 of 2 real scans are left out, for nobody "
        r'annotated them; \[downstream\] unannotated = "healthy" takes',
    ):
        plan_of(tmp_path, *rows)


def test_a_patient_that_trains_and_tests_is_refused_with_the_case_and_the_way_out(
    tmp_path: Path,
) -> None:
    message = (
        r"found case a in training, of a {} that tests; expected none.*one patient \(--patients\)"
    )
    test = case("t", split="test")
    for what, column in (("patient", "patient_id"), ("scan", "image_sha256")):
        twin = case("a", **{column: test[column]})
        with pytest.raises(StoreError, match=message.format(what)):
            plan_of(tmp_path, twin, test, name=what)
    copies = [case("a"), case("b", image_sha256=digest_of("a"))]
    with pytest.raises(StoreError, match=r"in training, of a scan that tests"):
        plan_of(tmp_path, *copies, num_folds=2, name="folds")


def test_nothing_to_train_or_to_test_on_is_refused_with_the_way_out(tmp_path: Path) -> None:
    message = r"found no real {} volume with a layout; expected one or more.*part them with --folds"
    with pytest.raises(UsageError, match=message.format("test or validation")):
        plan_of(tmp_path, case("a"), case("b"), name="no-test")
    with pytest.raises(UsageError, match=message.format("training")):
        plan_of(tmp_path, case("t", split="test"), drawn("a", 0), name="no-train")


@pytest.mark.parametrize("num_folds", [3, 99])
def test_more_folds_than_patients_are_refused(tmp_path: Path, num_folds: int) -> None:
    with pytest.raises(
        UsageError,
        match=rf"^--folds {num_folds}: {num_folds} folds need {num_folds} patients with an annotated scan; found 2 ",
    ):
        plan_of(tmp_path, case("a"), case("b"), num_folds=num_folds)


def test_a_case_in_two_rows_is_refused(tmp_path: Path) -> None:
    twice = case("t", split="test", image_uri="volumes/other.ome.zarr")
    with pytest.raises(StoreError, match=r"found case_id t in 2 rows; expected one\. Make the man"):
        plan_of(tmp_path, case("a"), case("t", split="test"), twice)
    with pytest.raises(StoreError, match=r"found image_uri .*/a\.ome\.zarr in 2 rows"):
        plan_of(tmp_path, case("a"), case("b", image_uri="volumes/a.ome.zarr"), name="uri")


def test_a_run_finds_its_rows_again_in_the_order_of_its_plan(tmp_path: Path) -> None:
    rows = [case("a"), case("b"), case("t", split="test"), drawn("a", 0)]
    plan = plan_of(tmp_path, *rows)
    train, test = resolve(spec_of(plan))
    assert train == [*plan.folds[0].real, *plan.folds[0].synthetic]
    assert test == list(plan.folds[0].test)
    assert spec_of(plan).label == "2R+1S" == mix_label(train)
    assert mix_label(plan.folds[0].real) == "2R"


def test_a_run_that_would_leak_is_refused_where_it_runs_too(tmp_path: Path) -> None:
    rows = [
        case("a"),
        case("b", split="val"),
        case("t", split="test"),
        drawn("a", 0),
        drawn("t", 1),
    ]
    plan = plan_of(tmp_path, *rows)
    (own,) = spec_of(plan).test_ids
    child = own.replace("t.ome.zarr", f"{drawn('t', 1)['work_id']}.ome.zarr")
    drawn_of_a = plan.folds[0].synthetic[0]["image_uri"]
    with pytest.raises(StoreError, match=r"which is synthetic, among those that test"):
        resolve(spec_of(plan, test_ids=(drawn_of_a,)))
    for leak, what in ((own, "patient"), (child, "patient")):
        with pytest.raises(StoreError, match=rf"in training, of a {what} that tests"):
            resolve(spec_of(plan, train_ids=(leak,)))
    twin = drawn("q", 2, reference_sha256=digest_of("t"))
    stray = plan_of(tmp_path, *rows, twin, name="stray")
    uri = own.replace("t.ome.zarr", f"{twin['work_id']}.ome.zarr")
    with pytest.raises(StoreError, match=r"in training, of a scan that tests"):
        resolve(spec_of(stray, train_ids=(uri,)))
    with pytest.raises(StoreError, match=r"found no row of nowhere; expected one"):
        resolve(spec_of(plan, train_ids=("nowhere",)))


def test_a_manifest_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, case("a"), case("t", split="test"))
    other = plan_of(tmp_path, case("a"), case("u", split="test"), name="other")
    with pytest.raises(StoreError, match=r"another manifest than the run was planned on"):
        resolve(spec_of(plan, manifest=other.manifest))


@pytest.mark.parametrize("column", ["case_id", "patient_id"])
def test_a_name_that_no_table_of_scores_holds_is_refused(tmp_path: Path, column: str) -> None:
    rows = [case("a"), case("t", split="test") | {column: "ü" * 5_001}]
    with pytest.raises(
        StoreError,
        match=rf"found a {column} of 10002 bytes, ü{{40}}\.\.\.; expected at most 10000\. Inge",
    ):
        plan_of(tmp_path, *rows)
    rows = [case("a"), case("t", split="test") | {column: "ü" * 5_000}]
    assert len(plan_of(tmp_path, *rows).folds[0].test) == 1
