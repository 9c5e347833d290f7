"""A finished run is read back as it was written; a torn, foreign or hostile one is told."""

import json
import math
import os
import shutil
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segmentation_scores import case, nodule, run_of, save_run

from factory.errors import FactoryError, StoreError
from jobs.downstream import case_tables, results
from jobs.downstream.case_tables import CASES_SCHEMA, NODULES_SCHEMA, read_cases
from jobs.downstream.results import read_run
from manifests.write import write_table

SCORES = (
    case("p1", dice=0.25, nodules=[nodule(4.5, 0.0), nodule(12.0, 0.75)], num_false=2),
    case("p1", 1, dice=0.5),
    case("p2", dice=math.nan, nodules=()),
    case("p3", dice=0.0, nodules=(), num_false=1, specificity=0.75),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a finished run; not to be changed."""
    return save_run(tmp_path_factory.mktemp("run") / "run", SCORES, num_synthetic=3)


@pytest.fixture
def run(written, tmp_path):
    """A copy of it, to be torn."""
    return shutil.copytree(written, tmp_path / "run")


def edit(run, **changes):
    path = run / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(run, name, change):
    """Write a table of a run anew, its rows changed."""
    schema = {"cases.parquet": CASES_SCHEMA, "nodules.parquet": NODULES_SCHEMA}[name]
    rows = pq.read_table(run / name).to_pylist()
    write_table(pa.Table.from_pylist(change(rows), schema=schema), run / name)


def test_a_run_is_read_back_as_it_was_written(written):
    found = read_run(written)
    assert repr(found.cases) == repr(SCORES)
    assert (found.label, found.seed, found.fold, found.folder) == ("real-1", 0, 0, written)
    assert (found.num_real, found.num_synthetic, found.mix["num_synthetic"]) == (8, 3, 3)
    assert (found.network, found.num_parameters, found.steps) == ("AttentionUnet", 1234, 2)
    assert (found.config["steps"], found.manifest, found.seconds) == (2, "mixed.parquet", 1.5)
    assert (found.loss, found.digest) == ((1.5, 1.25), "d" * 64)
    assert found.left_out == {}
    assert (found.trial.seed, found.trial.fold, len(found.trial.cases)) == (0, 0, 4)


def test_tables_say_of_each_row_whose_it_is_and_null_what_is_undefined(written):
    cases = pq.read_table(written / "cases.parquet").to_pylist()
    assert [row["dice"] for row in cases] == [0.25, 0.5, None, 0.0]
    assert {(row["mix"], row["seed"], row["fold"]) for row in cases} == {("real-1", 0, 0)}
    nodules = pq.read_table(written / "nodules.parquet").to_pylist()
    assert [(row["case_id"], row["nodule"], row["found"]) for row in nodules] == [
        ("p1-0", 0, False),
        ("p1-0", 1, True),
        ("p1-1", 0, True),
    ]


def test_a_loss_that_is_not_finite_is_kept_as_such(tmp_path):
    found = run_of(tmp_path, SCORES, loss=[1.0, math.nan, math.inf])
    assert repr(found.loss) == "(1.0, nan, nan)"


def test_a_run_is_finished_only_once_its_result_is_there(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "write_cases", killed)
    with pytest.raises(KeyboardInterrupt):
        save_run(tmp_path / "half", SCORES)
    assert not (tmp_path / "half" / "result.json").exists()
    with pytest.raises(
        StoreError, match=r"half: there is no result\.json; expected a finished run"
    ):
        read_run(tmp_path / "half")
    with pytest.raises(StoreError, match=r"nowhere: there is no result\.json"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": "0"}, r"result\.json: found seed '0'"),
        ({"seed": True}, r"found seed 'True'"),
        ({"loss": ["low"]}, r"a loss that is no number"),
        ({"loss": None}, r"found loss 'None'"),
        ({"left_out": ["c1"]}, r"found left_out \"\['c1'\]\""),
        ({"left_out": {"c1": 3}}, r"reasons of what was left out that are no text"),
        ({"loss": [10**400]}, r"a loss that is no number"),
        ({"mix": {"num_real": 1}}, r"a mix of \{'num_real': 1\}"),
        ({"mix": {"num_real": 1, "num_synthetic": -1}}, r"a mix of"),
        ({"label": "real-0.5"}, r"cases\.parquet: found a row of another run than .*real-0\.5"),
        ({"seed": 7}, r"cases\.parquet: found a row of another run"),
        ({"num_cases": 5}, r"4 cases, where result\.json has 5"),
        ({"label": "x" * 9000}, r"another run than .{200,400}; expected what"),
    ],
)
def test_a_result_that_cannot_be_is_told_with_what_was_found(run, changes, told):
    edit(run, **changes)
    with pytest.raises(StoreError, match=told):
        read_run(run)


def test_a_result_of_other_bytes_is_told(run):
    for content in (
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ):
        (run / "result.json").write_bytes(content)
        with pytest.raises(StoreError, match=r"expected what a finished run wrote"):
            read_run(run)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("cases.parquet", lambda rows: [*rows, rows[0]], "a case in two rows"),
        ("cases.parquet", lambda rows: rows[:3], r"3 cases, where result\.json has 4"),
        ("cases.parquet", lambda rows: rows[1:], r"a nodule of 'p1-0', which is no case of it"),
        ("cases.parquet", lambda rows: [rows[0] | {"dice": 1.5}, *rows[1:]], "not within 0 and 1"),
        ("cases.parquet", lambda rows: [rows[0] | {"dice": None}, *rows[1:]], "which has nodules"),
        ("nodules.parquet", lambda rows: rows[:1], r"1 nodules of case 'p1-0', where .* has 2"),
        ("nodules.parquet", lambda rows: [rows[0], *rows[:1], rows[2]], "twice, or not at all"),
        ("nodules.parquet", lambda rows: [rows[0] | {"diameter_mm": -1.0}, *rows[1:]], "cannot be"),
        ("nodules.parquet", lambda rows: [rows[0] | {"seed": 1}, *rows[1:]], "row of another run"),
    ],
)
def test_tables_that_do_not_fit_each_other_are_told(run, name, change, told):
    rewrite(run, name, change)
    with pytest.raises(StoreError, match=told):
        read_run(run)


def test_tables_that_are_missing_torn_or_of_something_else_are_told(run):
    path = run / "cases.parquet"
    content = path.read_bytes()
    for torn in (b"", content[:-8], content[:200] + b"\0" * 50 + content[250:], b"PAR1" * 9):
        path.write_bytes(torn)
        with pytest.raises(StoreError, match=r"cases\.parquet: found no table of a run"):
            read_run(run)
    path.unlink()
    with pytest.raises(StoreError, match=r"cases\.parquet: found no table of a run"):
        read_run(run)
    shutil.copy(run / "nodules.parquet", path)
    with pytest.raises(StoreError, match=r"cases\.parquet: found no table of a run"):
        read_run(run)


def test_a_table_that_would_fill_the_memory_is_refused_before_it_does(run):
    columns = pq.read_table(run / "cases.parquet").schema.names
    many = pa.table({name: pa.array([None] * 1_000_001, pa.int8()) for name in columns})
    pq.write_table(many, run / "cases.parquet")
    with pytest.raises(StoreError, match=r"1000001 rows of \d+ bytes, which no test has"):
        read_run(run)
    # Written once, read a hundred thousand times over: 1 MB here would be 100 GB there.
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * 1_000_000])
    pq.write_table(pa.table(dict.fromkeys(columns, long)), run / "cases.parquet")
    with pytest.raises(StoreError, match=r"a text of more than 10000 bytes"):
        read_run(run)


def test_a_file_larger_than_any_run_writes_is_not_read(run, monkeypatch):
    monkeypatch.setattr(case_tables, "_MOST_BYTES", 4000)
    os.truncate(run / "result.json", 5000)
    with pytest.raises(StoreError, match=r"result\.json: found 5000 bytes; a run has at most 4000"):
        read_run(run)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_bytes_are_changed_nothing_but_a_factory_error_comes_out(written, run, data):
    name = data.draw(st.sampled_from(["result.json", "cases.parquet", "nodules.parquet"]))
    content = bytearray((written / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (run / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(FactoryError):
        read_run(run)
    shutil.copy(written / name, run / name)


def test_cases_of_another_run_are_not_taken_for_its_own(written):
    with pytest.raises(StoreError, match=r"a row of another run than \{'mix': 'real-1', 'seed': 0"):
        read_cases(written, mix="real-1", seed=0, fold=3)
