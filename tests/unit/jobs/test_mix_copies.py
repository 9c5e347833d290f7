"""What `factory evaluate` calls a copy never trains anybody."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mix_sources import case, drawn, make_source
from typer.testing import CliRunner

from factory.digests import sha256_of_file
from factory.errors import StoreError
from jobs.amount import Amount
from jobs.app import app
from jobs.evaluate.records import MEMORISATION_SCHEMA, write_parquet
from jobs.mix import write_mix
from manifests.errors import ManifestError
from manifests.read import read_manifest

DRAWN = [drawn("AB"[i % 2], i) for i in range(6)]
IDS = [str(row["work_id"]) for row in DRAWN]


@pytest.fixture
def lake(tmp_path: Path) -> str:
    rows = list(DRAWN)
    rows[5] = rows[5] | {"qc_verdict": "reject", "qc_reasons": ["grey"]}
    return make_source(tmp_path / "lake", "lake", [case("A"), case("B"), *rows])


def table(path: Path, **verdicts: str) -> Path:
    """Write a table of verdicts by work id, as `factory evaluate` does, in two sets by turns."""
    rows = [
        {"set": ("ours", "others")[i % 2], "work_id": name, "verdict": word}
        | {"case_id": "A", "patient_id": "p"}
        for i, (name, word) in enumerate(verdicts.items())
    ]
    write_parquet(rows, MEMORISATION_SCHEMA, path)
    return path


def ids_of(mix: str) -> list[str]:
    return [name for name in read_manifest(mix)["work_id"].to_pylist() if name]


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["mix", *map(str, arguments)])
    return result.exit_code, result.stderr


def test_copies_never_enter_and_the_next_ones_take_their_place(lake: str, tmp_path: Path) -> None:
    judged = dict(zip(IDS, ["copy", "near", "clear", "copy", "clear", "clear"], strict=True))
    told = table(tmp_path / "told.parquet", **judged)
    found = write_mix([lake], tmp_path / "mix.parquet", Amount(count=3), without_copies=[told])
    assert ids_of(found) == [IDS[1], IDS[2], IDS[4]]


def test_where_copies_leave_too_few_they_are_counted_as_the_other_rules_are(
    lake: str, tmp_path: Path
) -> None:
    judged = dict.fromkeys(IDS, "clear") | dict.fromkeys([*IDS[:2], IDS[5]], "copy")
    told = table(tmp_path / "told.parquet", **judged)
    with pytest.raises(
        ManifestError,
        match=r"there are 3 that may be used \(3 more may not: 1 rejected by quality control, 2 found to be a copy",
    ):
        write_mix([lake], tmp_path / "mix.parquet", Amount(count=4), without_copies=[told])


def test_the_command_says_what_was_barred_and_what_nobody_judged(lake: str, tmp_path: Path) -> None:
    told = table(
        tmp_path / "told.parquet",
        **{IDS[0]: "copy", IDS[1]: "clear", IDS[2]: "unknown", "foreign/scan": "copy"},
    )
    out = tmp_path / "mix.parquet"
    status, stderr = run(lake, "--count", 4, "--without-copies", told, "--out", out)
    assert status == 0
    assert f"left out: 1 volume found to be a copy, by {told}\n" in stderr
    assert "warning: 3 of the 4 synthetic volumes of this mix have no verdict there" in stderr
    about = json.loads(pq.read_schema(out).metadata[b"ct_factory.made_from"])
    assert about["without_copies"] == {
        "files": {str(told): sha256_of_file(told)},
        "num_barred": 1,
        "num_not_judged": 3,
    }


def test_a_copy_by_any_table_is_barred_and_nothing_is_warned_where_all_are_judged(
    lake: str, tmp_path: Path
) -> None:
    clear = table(tmp_path / "first.parquet", **dict.fromkeys(IDS, "clear"))
    copy = table(tmp_path / "second.parquet", **{IDS[3]: "copy"})
    flags = [flag for file in (copy, clear) for flag in ("--without-copies", file)]
    status, stderr = run(lake, "--count", 4, *flags, "--out", tmp_path / "mix.parquet")
    assert (status, "warning" in stderr) == (0, False)
    assert IDS[3] not in ids_of(str(tmp_path / "mix.parquet"))


def test_without_the_option_nothing_is_said_of_copies(lake: str, tmp_path: Path) -> None:
    status, stderr = run(lake, "--count", 1, "--out", tmp_path / "mix.parquet")
    assert (status, "cop" in stderr) == (0, False)
    about = pq.read_schema(tmp_path / "mix.parquet").metadata[b"ct_factory.made_from"]
    assert "without_copies" not in json.loads(about)


@pytest.mark.parametrize("kind", ["bytes", "columns", "numbers", "nothing", "a folder"])
def test_another_file_is_refused_and_nothing_is_written(
    kind: str, lake: str, tmp_path: Path
) -> None:
    file = tmp_path / "other.parquet"
    if kind == "bytes":
        file.write_bytes(b"PAR1 torn")
    elif kind == "columns":
        pq.write_table(pa.table({"work_id": ["a"]}), file)
    elif kind == "a folder":
        file.mkdir()
    elif kind == "numbers":
        pq.write_table(pa.table({"work_id": [1], "verdict": ["copy"]}), file)
    with pytest.raises(StoreError, match=r"other\.parquet: found .* expected the memorisation"):
        write_mix([lake], tmp_path / "mix.parquet", Amount(count=1), without_copies=[file])
    assert not (tmp_path / "mix.parquet").exists()
