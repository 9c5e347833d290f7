"""How far a lake is, read from its markers alone."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.lake import MANIFEST, Lake
from jobs.app import app
from jobs.generate.again import generate_line
from jobs.lakes import planned_items
from manifests.read import read_manifest
from manifests.write import write_manifest


def record(work_id: str) -> dict[str, object]:
    return {
        "item_id": work_id,
        "case_id": "c0",
        "stage": "generate",
        "error_class": "CaseError",
        "message": "case c0: torn",
        "traceback_tail": "",
        "attempts": 1,
        "retriable": False,
        "run_id": "run",
        "seen_at": datetime.now(UTC).isoformat(),
    }


def status(lake: Path) -> tuple[dict[str, str], str]:
    result = CliRunner().invoke(app, ["status", str(lake)])
    assert result.exit_code == 0, result.output
    return dict(line.split() for line in result.stdout.splitlines()), result.stderr


def test_a_finished_lake_misses_nothing(lake: Path) -> None:
    counts, remarks = status(lake)
    assert counts == {
        "planned": "4",
        "committed": "4",
        "quarantined": "0",
        "missing": "0",
        "published": "yes",
    }
    assert remarks == (
        "nothing of 4 planned volumes is missing, and the manifest is of them all. "
        f"Next: factory verify {lake}\n"
    )


def test_a_lake_on_its_way_says_what_is_missing_and_how_to_go_on(lake: Path) -> None:
    ids = [item["work_id"] for item in planned_items(Lake(lake))]
    for work_id in ids[:2]:
        (lake / "commits" / f"{work_id}.json").unlink()
    Lake(lake).quarantine(ids[0], record(ids[0]))
    (lake / MANIFEST).unlink()
    counts, remarks = status(lake)

    assert counts == {
        "planned": "4",
        "committed": "2",
        "quarantined": "1",
        "missing": "1",
        "published": "no",
    }
    assert remarks.splitlines() == [
        "quarantined: case c0: torn",
        "1 of 4 planned volumes missing; no manifest yet (a run may be at work). "
        f"Next: {generate_line(Lake(lake))}",
    ]


def test_a_lake_that_was_asked_for_more_says_that_its_manifest_is_of_the_plan_before(
    lake: Path,
) -> None:
    rows = read_manifest(lake / MANIFEST).to_pylist()
    drawn = [row["work_id"] for row in rows if row["kind"] == "synthetic"]
    write_manifest([row for row in rows if row["work_id"] not in drawn[2:]], lake / MANIFEST)
    (lake / "commits" / f"{drawn[3]}.json").unlink()
    counts, remarks = status(lake)

    assert (counts["missing"], counts["published"]) == ("1", "yes")
    assert remarks.startswith("1 of 4 planned volumes missing; the manifest lacks 2 of them ")


def test_a_torn_manifest_leaves_the_counts_of_the_markers(lake: Path) -> None:
    (lake / MANIFEST).write_bytes(b"torn")
    counts, remarks = status(lake)
    assert (counts["committed"], counts["published"]) == ("4", "yes")
    assert remarks.startswith("warning: ")
    assert (
        "\n0 of 4 planned volumes missing; the manifest cannot be read (a run may be at work). "
        in remarks
    )


def test_volumes_that_were_given_up_are_not_said_to_be_in_the_manifest(lake: Path) -> None:
    rows = read_manifest(lake / MANIFEST).to_pylist()
    given_up = next(row["work_id"] for row in rows if row["kind"] == "synthetic")
    write_manifest([row for row in rows if row["work_id"] != given_up], lake / MANIFEST)
    (lake / "commits" / f"{given_up}.json").unlink()
    Lake(lake).quarantine(given_up, record(given_up))
    _, remarks = status(lake)
    assert remarks.splitlines()[-1] == (
        "1 of 4 planned volumes quarantined and none missing; the manifest is of the others. "
        f"Next: factory verify {lake}"
    )


def test_only_what_is_planned_counts_and_each_item_once(lake: Path) -> None:
    ids = [item["work_id"] for item in planned_items(Lake(lake))]
    Lake(lake).commit("0" * 32, {})
    Lake(lake).quarantine("1" * 32, record("1" * 32))
    Lake(lake).quarantine(ids[0], record(ids[0]))
    counts, _ = status(lake)
    assert (counts["committed"], counts["quarantined"], counts["missing"]) == ("4", "0", "0")


def test_the_lake_of_the_workspace_is_meant_where_none_is_named(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lake.parent)
    assert CliRunner().invoke(app, ["status"]).exit_code == 0
    Path("factory.toml").write_text('[paths]\nlake = "nowhere"\n')
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: lake ")
    assert "nowhere: found none" in result.stderr


def test_a_run_on_its_way_tells_its_rate_and_one_that_ended_does_not(
    lake: Path,
) -> None:
    progress = json.loads((lake / "progress.json").read_text())
    assert progress["left"] == 0
    assert "last heard of" not in CliRunner().invoke(app, ["status", str(lake)]).stderr
    going = progress | {"left": 3, "seconds_left": 7200, "volumes_per_hour": 1234.5, "actors": 2}
    (lake / "progress.json").write_text(json.dumps(going | {"device_share": 0.957}))
    told = CliRunner().invoke(app, ["status", str(lake)]).stderr
    assert "1,234 volumes an hour, 2:00:00 left, actors: 2, devices busy 96% of the time" in told


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_a_progress_file_that_is_torn_is_passed_over(lake: Path, content: str) -> None:
    (lake / "progress.json").write_text(content)
    told = CliRunner().invoke(app, ["status", str(lake)])
    assert told.exit_code == 0
    assert "planned 4" in told.stdout
