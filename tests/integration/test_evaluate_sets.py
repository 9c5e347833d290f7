"""Several sets beside one real set: from the folders to the tables."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from evaluations import measure_in_process, real_set, relunged, scan, synthetic_set, with_ct
from typer.testing import CliRunner

from factory.errors import UsageError
from jobs.app import app
from jobs.evaluate import slices
from jobs.evaluate.job import evaluate
from jobs.evaluate.records import figure_row
from jobs.evaluate.result import EvaluateResult

pytestmark = pytest.mark.usefixtures("measured")

SPLITS = ["train"] * 6 + ["test"] * 5


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_set(tmp_path_factory.mktemp("real") / "cases", SPLITS)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """New lungs, and the donors themselves with a little noise; only to be copied."""
    folder, rng = tmp_path_factory.mktemp("lakes"), np.random.default_rng(0)
    fresh = [(donor, relunged(scan(donor), donor)) for donor in range(6)]
    copies = []
    for donor in range(5):
        noise = rng.normal(0, 3, scan(donor).ct.shape)
        copies.append((donor, with_ct(scan(donor), np.rint(scan(donor).ct + noise))))
    sets = {"fresh": fresh, "no-aas": copies}
    return {name: str(synthetic_set(folder / name, drawn)) for name, drawn in sets.items()}


@pytest.fixture(scope="module")
def both(
    real: Path, lakes: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EvaluateResult, list[str]]:
    """Both lakes in one evaluation, and what was measured of them; only to be copied."""
    out = tmp_path_factory.mktemp("both") / "evaluation"
    with pytest.MonkeyPatch.context() as patch:
        measured = measure_in_process(patch)
        return out, evaluate(str(real), lakes, out), measured


def test_each_volume_is_measured_once_for_all_sets(
    both: tuple[Path, EvaluateResult, list[str]],
) -> None:
    _, result, measured = both
    assert len(measured) == len(set(measured)) == 11 + 6 + 5
    assert (result.num_real, result.num_synthetic) == (11, 11)
    assert [(one.name, one.num_volumes) for one in result.sets] == [("fresh", 6), ("no-aas", 5)]


def test_beside_another_a_set_has_the_figures_that_it_has_alone(
    real: Path,
    lakes: dict[str, str],
    both: tuple[Path, EvaluateResult, list[str]],
    tmp_path: Path,
    measured: list[str],
) -> None:
    out = Path(shutil.copytree(both[0], tmp_path / "out"))
    alone = evaluate(str(real), {"fresh": lakes["fresh"]}, out)
    assert measured == []
    # All but the plane of the picture, which is of all sets.
    rows = [figure_row(one) for one in alone.figures if not one.name.startswith("mds")]
    together = [figure_row(one) for one in both[1].figures if not one.name.startswith("mds")]
    assert [row for row in together if row["set"] != "no-aas"] == rows
    assert {row["set"] for row in together} == {"real", "fresh", "no-aas"}


def test_one_kernel_of_the_real_set_judges_all(
    both: tuple[Path, EvaluateResult, list[str]],
) -> None:
    notes = [one.note for one in both[1].figures if one.name == "mmd_squared"]
    sigmas = [note.rpartition("sigma ")[2] for note in notes]
    # Whole volumes and lungs of the first set, then of the second.
    assert sigmas[:2] == sigmas[2:]
    assert sigmas[0] != sigmas[1]


def test_each_set_has_its_own_verdicts_and_rows(
    both: tuple[Path, EvaluateResult, list[str]],
) -> None:
    out, result, _ = both
    fresh, copies = result.sets
    assert (fresh.verdicts["copy"], copies.verdicts["copy"]) == (0, 5)
    assert result.verdicts["copy"] == 5
    rows = pq.read_table(out / "memorisation.parquet").to_pylist()
    assert [row["set"] for row in rows] == ["fresh"] * 6 + ["no-aas"] * 5
    record = json.loads((out / "evaluation.json").read_text())
    assert record["sets"]["no-aas"]["verdicts"]["copy"] == 5
    assert record["given"]["synthetic"] == {one.name: one.place for one in result.sets}


def test_the_table_has_lines_for_each_set_and_the_floor_once(
    both: tuple[Path, EvaluateResult, list[str]],
) -> None:
    lines = Path(both[1].table).read_text().splitlines()
    whole = [line for line in lines if "| whole | " in line and "fid" not in line]
    names = [line.split(" | ")[0] for line in lines if " | whole | " in line]
    assert names[:3] == ["| **fresh**", "| **no-aas**", "| real against real"]
    told = {(one.of, one.name, one.region): one.interval for one in both[1].figures}
    for name, line in zip(("fresh", "no-aas"), whole, strict=False):
        assert str(told[name, "fid", "whole"]) in line
        assert str(told[name, "mse", "whole"]) in line
    assert sum("fid_real_to_real | lungs" in line for line in lines) == 1
    assert str(told["real", "fid_real_to_real", "whole"]) in whole[2]


def test_an_ablation_beside_another_set_makes_table_4(
    real: Path, lakes: dict[str, str], both: tuple[Path, EvaluateResult, list[str]], tmp_path: Path
) -> None:
    page = Path(both[1].ablations).read_text()
    fid = figures_of(both[1], "no-aas")["fid", "lungs"]
    assert f"| without AAS | no-aas | lungs | 5 | {fid} |" in page
    assert "| Lung-DDPM | no set given |" in page
    out = Path(shutil.copytree(both[0], tmp_path / "out"))
    assert evaluate(str(real), {"fresh": lakes["fresh"]}, out).ablations == ""
    assert not (out / "tables" / "table4.md").exists()


def figures_of(result: EvaluateResult, name: str) -> dict[tuple[str, str], Any]:
    return {(one.name, one.region): one.interval for one in result.figures if one.of == name}


def test_pictures_are_of_the_sets_that_were_given_last(
    real: Path, lakes: dict[str, str], both: tuple[Path, EvaluateResult, list[str]], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(both[0], tmp_path / "out"))
    assert sorted(path.name for path in out.glob("*.png")) == [
        "mds.png",
        "worst_pairs-fresh.png",
        "worst_pairs-no-aas.png",
    ]
    drawn = (out / "mds.svg").read_text()
    assert all(f"<!-- {name}, " in drawn for name in ("real", "fresh", "no-aas"))
    evaluate(str(real), lakes["fresh"], out)
    assert sorted(path.name for path in out.glob("*.png")) == ["mds.png", "worst_pairs.png"]


def test_the_same_sets_again_give_the_same_bytes(
    real: Path, lakes: dict[str, str], both: tuple[Path, EvaluateResult, list[str]], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(both[0], tmp_path / "out"))
    evaluate(str(real), lakes, out)
    for name in ("figures.parquet", "memorisation.parquet", "mds.svg", "tables/table4.md"):
        assert (out / name).read_bytes() == (both[0] / name).read_bytes()


def test_a_broken_volume_is_told_with_its_set_and_only_there(
    real: Path, lakes: dict[str, str], tmp_path: Path, measured: list[str]
) -> None:
    broken = Path(shutil.copytree(lakes["fresh"], tmp_path / "lake"))
    chunk = sorted(broken.glob("volumes/*/0/c/0/0/0"))[0]
    chunk.write_bytes(chunk.read_bytes()[:-50])
    work_id = chunk.parents[4].name.partition(".")[0]
    sets = {"torn": str(broken), "no-aas": lakes["no-aas"]}
    result = evaluate(str(real), sets, tmp_path / "out")
    assert [one.num_volumes for one in result.sets] == [5, 5]
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())["left_out"]
    assert list(told) == [f"torn: volume {work_id}"]
    assert len(measured) == 22


def test_a_set_that_is_too_small_is_named_before_anything_is_measured(
    real: Path, lakes: dict[str, str], tmp_path: Path, measured: list[str]
) -> None:
    one = synthetic_set(tmp_path / "one", [(0, relunged(scan(0), 0))])
    with pytest.raises(UsageError, match=r"one: found 1 usable volume; expected 2 or more"):
        evaluate(str(real), lakes | {"one": str(one)}, tmp_path / "out")
    assert measured == []


def test_the_command_takes_several_sets_and_tells_each(
    real: Path, lakes: dict[str, str], both: tuple[Path, EvaluateResult, list[str]], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(both[0], tmp_path / "out"))
    given = ["--synthetic", lakes["fresh"], "--synthetic", f"no-aas={lakes['no-aas']}"]
    result = CliRunner().invoke(app, ["evaluate", "--real", str(real), *given, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}/tables/table2.md\n{out}/tables/table4.md\n"
    told = result.stderr.splitlines()
    assert any(line.startswith("fresh: 6 synthetic against 11 real volumes") for line in told)
    assert any(line.startswith("no-aas: memorisation: 5 copy") for line in told)
    next_lake = f"Next: factory mix {lakes['fresh']} --ratio 0.25 --out mix.parquet"
    assert told[-1] == f"0 left out of all sets. {next_lake}"
    clash = [*given, "--synthetic", f"Fresh={lakes['fresh']}"]
    result = CliRunner().invoke(app, ["evaluate", "--real", str(real), *clash])
    assert result.exit_code == 2
    assert "found two sets named Fresh" in result.stderr


def test_the_option_adds_a_figure_a_set_and_its_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[str]
) -> None:
    def narrow(_: Any, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)

    weights = tmp_path / "weights.pt"
    torch.save(slices.ResNet50(keras=False).state_dict(), weights)
    monkeypatch.setattr(slices.ResNet50, "forward", narrow)
    monkeypatch.setattr(slices, "NUM_FEATURES", 6)
    real = real_set(tmp_path / "cases", ["train"] * 6)
    same = [(seed, scan(seed)) for seed in range(6)]
    new = [(seed, relunged(scan(seed), seed)) for seed in range(4)]
    sets = {
        name: str(synthetic_set(tmp_path / name, drawn))
        for name, drawn in {"same": same, "new": new}.items()
    }
    result = evaluate(str(real), sets, tmp_path / "out", weights_2d=weights, num_folds=3)
    found = {(one.of, one.name): one for one in result.figures if one.name.startswith("fid_2_5d")}
    assert found["same", "fid_2_5d"].interval.value == pytest.approx(0.0, abs=1e-9)
    assert found["new", "fid_2_5d"].interval.value > 1e-6
    assert found["new", "fid_2_5d"].n == 4
    assert found["real", "fid_2_5d_real_to_real"].interval.value > 0.0
    assert "fid_2_5d" in Path(result.table).read_text()
    # Each volume twice: for its features and for its slices.
    assert len(measured) == 2 * (6 + 6 + 4)
    del measured[:]
    evaluate(str(real), sets, tmp_path / "out", weights_2d=weights, num_folds=3)
    assert measured == []
