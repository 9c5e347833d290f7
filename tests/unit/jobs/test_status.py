"""How far a lake is, read from its markers alone."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.lake import MANIFEST, Lake
from jobs.app import app
from jobs.lakes import planned_items


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
    assert remarks == ""


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
        "Next: the same factory generate again, unless it runs; it goes on where it was",
    ]


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
