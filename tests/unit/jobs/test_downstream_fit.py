"""One run: it learns, a spec has one result, and the kept network predicts what was scored."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from downstream_sets import AFFINE, CONFIG, SIZE, fit_of, row_of, scan, spec_of, write_rows

from factory.augment import AugmentConfig
from factory.axes import zyx_from_ijk
from factory.layouts import NODULE
from factory.segmentation.score import score_case
from jobs.downstream.examples import Examples, Volumes
from jobs.downstream.fit import fit_and_test
from jobs.downstream.plan import resolve
from jobs.downstream.results import Run
from jobs.downstream.segmenter import Grid, load_segmenter


def mean_dice(run: Run) -> float:
    return float(np.mean([case.dice for case in run.cases]))


def test_a_run_learns_to_find_nodules_that_it_never_saw(scored_lake: Path, tmp_path: Path) -> None:
    barely = fit_of(scored_lake, tmp_path / "barely", config={"steps": 1, "learning_rate": 1e-6})
    trained = fit_of(scored_lake, tmp_path / "trained", config={"steps": 60})
    assert mean_dice(barely) < 0.15
    assert mean_dice(trained) > 0.5
    assert trained.loss[-1] < 0.7 * trained.loss[0]
    assert [case.case_id for case in trained.cases] == ["t0", "t1", "t2"]
    assert trained.mix == {"num_real": 6, "num_synthetic": 2}


def test_a_spec_has_one_result_and_another_seed_another(scored_lake: Path, tmp_path: Path) -> None:
    augment = AugmentConfig(rotation_deg=10.0, flip_left_right=True)
    config = {"steps": 3, "augment": augment, "num_loaders": 2}
    first = fit_of(scored_lake, tmp_path / "a", config=config)
    again = fit_of(scored_lake, tmp_path / "b", config=config | {"num_loaders": 0, "num_cached": 1})
    other = fit_of(scored_lake, tmp_path / "c", config=config, seed=1)
    assert (again.cases, again.loss, again.digest) == (first.cases, first.loss, first.digest)
    assert other.loss[0] != first.loss[0]
    assert other.digest != first.digest


def test_runs_of_one_seed_start_from_the_same_weights_whatever_they_train_on(
    scored_lake: Path, tmp_path: Path
) -> None:
    # A step of 1e-12 leaves the weights as they were drawn.
    still = {"steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    states = []
    for name, count in (("two", 2), ("six", 6)):
        spec = spec_of(scored_lake, tmp_path / name, replace(CONFIG, **still))
        fit_and_test(replace(spec, train_ids=spec.train_ids[:count]), device="cpu")
        network = load_segmenter(tmp_path / name / "model.pt").network
        states.append(dict(network.named_parameters()))
    assert all(torch.allclose(one, states[1][name], atol=1e-9) for name, one in states[0].items())


def test_every_volume_of_a_mix_trains_before_any_trains_again(scored_lake: Path) -> None:
    spec = spec_of(scored_lake, Path("run"))
    rows, _ = resolve(spec)
    examples = Examples(Volumes(spec.manifest, 8), rows, replace(CONFIG, batch_size=4), seed=3)
    shown = [examples.row(step, slot)["image_uri"] for step in range(2) for slot in range(4)]
    assert sorted(shown) == sorted(spec.train_ids)


def test_an_example_is_the_volume_in_window_units_and_its_nodules(scored_lake: Path) -> None:
    spec = spec_of(scored_lake, Path("run"))
    rows, _ = resolve(spec)
    volumes = Volumes(spec.manifest, 8)
    example = Examples(volumes, rows[:1], CONFIG, seed=0).example(0, 0)
    volume = volumes.read(rows[0])
    units = (volume.ct.astype(np.float64) + 1024.0) / 812.0 - 1.0
    assert np.abs(example.units[0, 0].numpy() - np.clip(units, -1, 1)).max() < 1e-6
    assert np.array_equal(example.nodule[0, 0].numpy() == 1, volume.layout == NODULE)


def test_the_kept_network_predicts_what_was_scored_and_predictions_lie_on_the_scan(
    scored_lake: Path, tmp_path: Path
) -> None:
    run = fit_of(scored_lake, tmp_path / "run", config={"steps": 20}, keep_predictions=True)
    segmenter = load_segmenter(tmp_path / "run" / "model.pt")
    for number, case in enumerate(run.cases):
        volume = scan(1000 + number)
        predicted = segmenter(volume.ct)
        told = score_case(
            predicted,
            volume.layout,
            (2.5, 2.0, 2.0),
            case_id=case.case_id,
            patient_id=case.patient_id,
        )
        assert told == case
        image = nib.load(tmp_path / "run" / "predictions" / f"{case.case_id}.nii.gz")
        assert np.array_equal(zyx_from_ijk(np.asarray(image.dataobj)) == 1, predicted)
        assert np.allclose(image.affine, AFFINE)
    assert any(case.predicted_ml for case in run.cases)


def test_a_kept_network_knows_its_grid_and_refuses_a_scan_of_another(
    scored_lake: Path, tmp_path: Path
) -> None:
    fit_of(scored_lake, tmp_path / "run")
    segmenter = load_segmenter(tmp_path / "run" / "model.pt")
    assert segmenter.grid == Grid(shape=SIZE, least_mm=(2.5, 2.0, 2.0), most_mm=(2.5, 2.0, 2.0))
    with pytest.raises(
        ValueError,
        match=r"found a CT of \(30, 64, 64\) voxels; expected \(12, 16, 16\), as the network",
    ):
        segmenter(np.zeros((30, 64, 64), np.int16))


def test_the_grid_of_a_network_spans_the_spacings_of_its_volumes() -> None:
    rows = [
        {"shape": [4, 5, 6], "spacing_mm": [2.0, 0.7, 0.7]},
        {"shape": [4, 5, 6], "spacing_mm": [1.5, 0.9, 0.8]},
    ]
    assert Grid.of(rows) == Grid(shape=(4, 5, 6), least_mm=(1.5, 0.7, 0.7), most_mm=(2.0, 0.9, 0.8))


@pytest.mark.parametrize("name", ["../../evil", "evil" * 70])
def test_a_case_whose_name_no_file_can_bear_leaves_none_elsewhere(
    tmp_path: Path, name: str
) -> None:
    rows = [row_of(tmp_path / "lake", f"c{n}", scan(n)) for n in range(2)]
    evil = row_of(tmp_path / "lake", "t", scan(9), split="test") | {"case_id": name}
    lake = write_rows(tmp_path / "lake", [*rows, evil])
    fit_of(lake, tmp_path / "runs" / "run", keep_predictions=True)
    assert len(list((tmp_path / "runs" / "run" / "predictions").iterdir())) == 1
    assert not list(tmp_path.rglob("evil*"))


def test_a_run_that_begins_anew_drops_the_lines_of_the_one_before(
    scored_lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for name in ("metrics.jsonl", "warnings.log"):
        (tmp_path / "run" / name).write_text("of a run that was stopped\n")
    (tmp_path / "run" / "predictions").mkdir()
    (tmp_path / "run" / "predictions" / "t0.nii.gz").write_bytes(b"of another network")
    run = fit_of(scored_lake, tmp_path / "run")
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, run.loss[0]), (2, run.loss[1])]
    assert not (tmp_path / "run" / "predictions").exists()
    assert "of a run that was stopped" not in (tmp_path / "run" / "warnings.log").read_text()
