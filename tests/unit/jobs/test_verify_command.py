"""`factory verify` as it is typed: what it says, what it drops, and what it draws again."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from broken_lakes import Rows, drawn, found, rewrite, rows_of
from typer.testing import CliRunner

from factory.lake import Lake
from jobs.app import app
from jobs.generate.again import generate_line


def test_the_command_names_every_problem_and_exits_1(lake: Path) -> None:
    whole = CliRunner().invoke(app, ["verify", str(lake)])
    assert (whole.exit_code, whole.stdout) == (0, f"ok {lake}\n")

    for number in (0, 1):
        shutil.rmtree(lake / drawn(lake, number)["image_uri"])
    broken = CliRunner().invoke(app, ["verify", str(lake)])
    assert (broken.exit_code, broken.stdout) == (1, "")
    lines = broken.stderr.splitlines()
    assert sum(line.startswith("problem: case ") for line in lines) == 2
    assert lines[-1] == (
        f"2 problems with 2 volumes to draw again. Next: factory verify {lake} --drop-broken"
    )


def test_a_case_that_is_broken_leads_to_the_ingest_that_makes_it_anew(lake: Path) -> None:
    def move(rows: Rows) -> Rows:
        row = next(row for row in rows if row["kind"] == "real")
        row["image_uri"] += "-gone"
        return rows

    rewrite(lake, move)
    told = CliRunner().invoke(app, ["verify", str(lake)]).stderr.splitlines()[-1]
    assert re.fullmatch(
        r"\d+ problems\. Next: the same factory ingest again, which mends its cases; then "
        rf"{re.escape(generate_line(Lake(lake)))}",
        told,
    )


def test_what_is_broken_can_be_dropped_and_is_drawn_again(
    lake: Path, cases_16: Path, model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support import draw_in_process

    from jobs.amount import Amount
    from jobs.generate.config import GenerateConfig
    from jobs.generate.job import generate

    before = {row["work_id"]: row["image_sha256"] for row in rows_of(lake)}
    shutil.rmtree(lake / drawn(lake)["image_uri"])
    dropped = CliRunner().invoke(app, ["verify", str(lake), "--drop-broken"])
    assert dropped.exit_code == 1
    assert "1 volume dropped" in dropped.stderr

    draw_in_process(monkeypatch)
    generate(cases_16, model_16, lake, Amount(count=4), GenerateConfig(steps=2))
    assert found(lake) == []
    assert {row["work_id"]: row["image_sha256"] for row in rows_of(lake)} == before


def test_volumes_can_be_drawn_again_and_one_that_differs_is_a_problem(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = CliRunner().invoke(app, ["verify", str(lake), "--regenerate", "2"])
    assert same.exit_code == 0
    assert same.stderr.count("the same voxels, in the same environment") == 2

    from jobs.generate.synthesizers import lung_ddpm

    monkeypatch.setattr(lung_ddpm, "noise_of", lambda seed: torch.zeros)
    other = CliRunner().invoke(app, ["verify", str(lake), "--regenerate", "1"])
    assert other.exit_code == 1
    assert "drawn again in the same environment it has other voxels" in other.stderr


def test_a_volume_that_cannot_be_drawn_again_hides_no_other_problem(lake: Path) -> None:
    for number in range(4):
        shutil.rmtree(lake / drawn(lake, number)["image_uri"])
    told = CliRunner().invoke(app, ["verify", str(lake), "--regenerate", "1", "--drop-broken"])
    assert told.exit_code == 1
    assert "could not be drawn again: volume" in told.stderr
    assert "4 volumes dropped" in told.stderr


def test_a_model_that_is_gone_hides_no_other_problem(lake: Path) -> None:
    identity = json.loads((lake / "dataset.json").read_text())
    (lake / "dataset.json").write_text(json.dumps(identity | {"model": str(lake / "gone")}))
    shutil.rmtree(lake / drawn(lake)["image_uri"])
    told = CliRunner().invoke(app, ["verify", str(lake), "--regenerate", "1"])
    assert "problem: nothing could be drawn again: " in told.stderr
    assert "problem: case " in told.stderr
