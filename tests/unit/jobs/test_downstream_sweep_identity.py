"""Whose the folder of a sweep is: other settings, other runs and torn files are refused before hours are spent."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downstream_sets import read_case as case
from manifest_rows import sha
from mix_sources import make_source
from sweeps import CONFIG, MIXES

from factory.errors import StoreError
from jobs.downstream.sweep.job import sweep
from jobs.downstream.sweep.mixes import parse_mixes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": replace(CONFIG, steps=3)}, r"downstream.steps was 2, is 3"),
        ({"num_folds": 2}, "folds was 1, is 2"),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    sweep_source: str, trained: list[str], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    asked = {"config": CONFIG} | changes
    trained.clear()
    with pytest.raises(StoreError, match=rf"asked for differently before \({told}\); expected"):
        sweep(sweep_source, tmp_path / "out", mixes=parse_mixes("0.5", None, extra=True), **asked)
    assert trained == []


def test_another_manifest_is_refused(sweep_source: str, trained: list[str], tmp_path: Path) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    other = make_source(tmp_path / "other", "cases", [case("c0"), case("t0", split="test")])
    with pytest.raises(
        StoreError, match=r"manifest was [0-9a-f]+, is [0-9a-f]+\); expected the same"
    ):
        sweep(other, tmp_path / "out", CONFIG, parse_mixes(None, "1", extra=False))


def test_settings_that_change_no_figure_may_change(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    sweep(sweep_source, tmp_path / "out", replace(CONFIG, num_loaders=0), MIXES, num_seeds=2)
    assert len(trained) == 6


def test_a_moved_lake_goes_on(sweep_source: str, trained: list[str], tmp_path: Path) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    moved = shutil.copytree(sweep_source, tmp_path / "moved")
    sweep(str(moved), tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert len(trained) == 6


def test_what_another_sweep_is_just_writing_is_nobodys_own(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0123456789abcdef.unfinished").write_text("{")
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert len(trained) == 3


def test_somebodys_own_folder_is_left_alone(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(StoreError, match=r"found 1 file or folder of no sweep, as thesis.tex"):
        sweep(sweep_source, tmp_path, CONFIG, MIXES)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]
    assert trained == []


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_torn_identity_is_told(
    sweep_source: str, trained: list[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(StoreError, match=r"found a sweep\.json that is no JSON object"):
        sweep(sweep_source, tmp_path, CONFIG, MIXES)


def test_a_torn_run_is_told_before_hours_are_spent(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    trained.clear()
    (tmp_path / "out" / "runs" / "real-1-s0-f0" / "cases.parquet").write_bytes(b"torn")
    with pytest.raises(
        StoreError, match=r"real-1-s0-f0/cases\.parquet: found .* Remove the folder of"
    ):
        sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert trained == []


def test_the_identity_says_what_all_runs_share(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    told = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert (told["folds"], told["downstream"]["steps"]) == (1, 2)
    assert "num_loaders" not in told["downstream"]


def test_a_run_that_is_not_what_the_sweep_would_do_is_refused_before_hours_are_spent(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "out" / "runs" / "extra-0.5-s0-f0"
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    trained.clear()
    whole = (run / "result.json").read_text()
    told = json.loads(whole)
    for changes, difference in (
        ({"config": told["config"] | {"learning_rate": 1.0}}, "config.learning_rate was 1.0, is 0"),
        ({"network": "UNet"}, "network was UNet, is AttentionUnet"),
        ({"steps": -5}, "steps was -5, is 2"),
        ({"mix": {"num_real": 0, "num_synthetic": 0}}, "mix.num_real was 0, is 6; mix.num_synth"),
        ({"digest": "d" * 32}, "digest of manifest and volumes was dddd"),
    ):
        (run / "result.json").write_text(json.dumps(told | changes))
        with pytest.raises(
            StoreError,
            match=rf"extra-0\.5-s0-f0: found the result of another run \({difference}.* Remove the",
        ):
            sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    (run / "result.json").write_text(whole)
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert trained == []


def test_what_is_said_of_the_settings_of_another_run_has_an_end(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    result = tmp_path / "out" / "runs" / "real-1-s0-f0" / "result.json"
    told = json.loads(result.read_text())
    strange = {f"setting-{number}": "x" * 1_000 for number in range(1_000)}
    result.write_text(json.dumps(told | {"config": told["config"] | strange}))
    with pytest.raises(StoreError, match=r"result of another run \(config\.setting-") as caught:
        sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 1_400


def test_a_run_of_another_lake_is_no_run_of_the_sweep(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    rows = [case(f"c{n}", image_sha256=sha(f"x{n}")) for n in range(6)]
    rows += [case(f"t{n}", split="test") for n in range(2)]
    other = make_source(tmp_path / "lake", "cases", rows)
    mixes = parse_mixes(None, "1", extra=False)
    sweep(other, tmp_path / "other", CONFIG, mixes, num_seeds=1)
    sweep(sweep_source, tmp_path / "out", CONFIG, mixes, num_seeds=1)
    place = tmp_path / "out" / "runs" / "real-1-s0-f0"
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "other" / "runs" / place.name, place)
    with pytest.raises(StoreError, match=r"found the result of another run \(digest of manifest"):
        sweep(sweep_source, tmp_path / "out", CONFIG, mixes, num_seeds=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("real-0.5-s0-f0", "label was real-1, is real-0.5; mix.num_real was 6, is 3"),
        ("real-1-s1-f0", "seed was 0, is 1"),
        ("real-1-s0-f1", "whose name is no run's of this sweep; expected a mix, a seed and a fold"),
        ("real-1-s00-f0", "whose name is no run's of this sweep"),
        ("copy of real-1-s0-f0", "whose name is no run's of this sweep"),
        ("extra-9-s0-f0", r"that this sweep could not do .*9 needs 54 synthetic volumes"),
        (f"real-1-s{2**63}-f0", r"that this sweep could not do \(seed 9223372036854775808: "),
    ],
)
def test_a_run_under_another_name_is_refused(
    sweep_source: str, trained: list[str], tmp_path: Path, name: str, told: str
) -> None:
    runs = tmp_path / "out" / "runs"
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    shutil.copytree(runs / "real-1-s0-f0", runs / name)
    with pytest.raises(StoreError, match=rf"runs/{name}: found .*{told}.* Remove the folder of"):
        sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)


def test_a_sweep_does_not_begin_within_another(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    with pytest.raises(StoreError, match=r"found sweep\.json in .*/out, which it lies in; expect"):
        sweep(sweep_source, tmp_path / "out" / "runs" / "mine", CONFIG, MIXES, num_seeds=1)
