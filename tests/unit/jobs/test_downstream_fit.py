"""One run: it learns, tells what it left out, and a spec has one result."""

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from downstream_sets import AFFINE, CONFIG, SIZE, make_set, row_of, scan, spec_of, write_rows

from factory.augment import AugmentConfig
from factory.axes import zyx_from_ijk
from factory.errors import (
    CaseError,
    FactoryError,
    ModelError,
    PassingError,
    StoreError,
    UsageError,
)
from factory.layouts import NODULE
from factory.segmentation.score import score_case
from factory.volumes import Volume
from jobs.downstream import fit as fit_module
from jobs.downstream.examples import Examples, Volumes
from jobs.downstream.fit import fit_and_test
from jobs.downstream.plan import resolve
from jobs.downstream.results import Run, read_run
from jobs.downstream.segmenter import Grid, load_segmenter
from jobs.downstream.usable import usable_volumes
from jobs.downstream.workers import ALONE
from jobs.readers import rows


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans that train, three that test, and two drawn ones."""
    return make_set(tmp_path_factory.mktemp("set") / "lake", 6, 3, synthetic=2)


def fit(lake: Path, out: Path, **changes: Any) -> Run:
    config = replace(CONFIG, **changes.pop("config", {}))
    fit_and_test(spec_of(lake, out, config, **changes), device="cpu")
    return read_run(out)


def mean_dice(run: Run) -> float:
    return float(np.mean([case.dice for case in run.cases]))


def test_a_run_learns_to_find_nodules_that_it_never_saw(lake: Path, tmp_path: Path) -> None:
    barely = fit(lake, tmp_path / "barely", config={"steps": 1, "learning_rate": 1e-6})
    trained = fit(lake, tmp_path / "trained", config={"steps": 60})
    assert mean_dice(barely) < 0.15
    assert mean_dice(trained) > 0.5
    assert trained.loss[-1] < 0.7 * trained.loss[0]
    assert [case.case_id for case in trained.cases] == ["t0", "t1", "t2"]
    assert trained.mix == {"num_real": 6, "num_synthetic": 2}


def test_a_spec_has_one_result_and_another_seed_another(lake: Path, tmp_path: Path) -> None:
    augment = AugmentConfig(rotation_deg=10.0, flip_left_right=True)
    config = {"steps": 3, "augment": augment, "num_loaders": 2}
    first = fit(lake, tmp_path / "a", config=config)
    again = fit(lake, tmp_path / "b", config=config | {"num_loaders": 0, "num_cached": 1})
    other = fit(lake, tmp_path / "c", config=config, seed=1)
    assert (again.cases, again.loss, again.digest) == (first.cases, first.loss, first.digest)
    assert other.loss[0] != first.loss[0]
    assert other.digest != first.digest


def test_runs_of_one_seed_start_from_the_same_weights_whatever_they_train_on(
    lake: Path, tmp_path: Path
) -> None:
    # A step of 1e-12 leaves the weights as they were drawn.
    still = {"steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    states = []
    for name, count in (("two", 2), ("six", 6)):
        spec = spec_of(lake, tmp_path / name, replace(CONFIG, **still))
        fit_and_test(replace(spec, train_ids=spec.train_ids[:count]), device="cpu")
        network = load_segmenter(tmp_path / name / "model.pt").network
        states.append(dict(network.named_parameters()))
    assert all(torch.allclose(one, states[1][name], atol=1e-9) for name, one in states[0].items())


def test_every_volume_of_a_mix_trains_before_any_trains_again(lake: Path) -> None:
    spec = spec_of(lake, Path("run"))
    rows, _ = resolve(spec)
    examples = Examples(Volumes(spec.manifest, 8), rows, replace(CONFIG, batch_size=4), seed=3)
    shown = [examples.row(step, slot)["image_uri"] for step in range(2) for slot in range(4)]
    assert sorted(shown) == sorted(spec.train_ids)


def test_an_example_is_the_volume_in_window_units_and_its_nodules(lake: Path) -> None:
    spec = spec_of(lake, Path("run"))
    rows, _ = resolve(spec)
    volumes = Volumes(spec.manifest, 8)
    example = Examples(volumes, rows[:1], CONFIG, seed=0).example(0, 0)
    volume = volumes.read(rows[0])
    units = (volume.ct.astype(np.float64) + 1024.0) / 812.0 - 1.0
    assert np.abs(example.units[0, 0].numpy() - np.clip(units, -1, 1)).max() < 1e-6
    assert np.array_equal(example.nodule[0, 0].numpy() == 1, volume.layout == NODULE)


def test_the_kept_network_predicts_what_was_scored_and_predictions_lie_on_the_scan(
    lake: Path, tmp_path: Path
) -> None:
    run = fit(lake, tmp_path / "run", config={"steps": 20}, keep_predictions=True)
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
    lake: Path, tmp_path: Path
) -> None:
    fit(lake, tmp_path / "run")
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


def test_a_case_whose_name_is_a_path_leaves_no_file_elsewhere(tmp_path: Path) -> None:
    rows = [row_of(tmp_path / "lake", f"c{n}", scan(n)) for n in range(2)]
    evil = row_of(tmp_path / "lake", "t", scan(9), split="test") | {"case_id": "../../evil"}
    lake = write_rows(tmp_path / "lake", [*rows, evil])
    fit(lake, tmp_path / "runs" / "run", keep_predictions=True)
    assert len(list((tmp_path / "runs" / "run" / "predictions").iterdir())) == 1
    assert not list(tmp_path.rglob("evil*"))


def test_volumes_that_are_broken_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(4)]
    rows += [row_of(folder, f"t{n}", scan(50 + n), split="test") for n in range(2)]
    rows[0]["image_sha256"] = "0" * 64
    lake = write_rows(folder, rows)
    (folder / "volumes" / "c1.ome.zarr" / "0" / "zarr.json").unlink()
    (folder / "volumes" / "t0.ome.zarr" / "0" / "c" / "0" / "0" / "0").write_bytes(b"torn")
    run = fit(lake, tmp_path / "run")
    told = (tmp_path / "run" / "warnings.log").read_text().splitlines()
    names = [line.split(": ")[1] for line in told if line.startswith("left out: ")]
    assert sorted(names) == ["case c0", "case c1", "case t0"]
    assert any("expected 0000" in line for line in told)
    assert run.mix["num_real"] == 2
    assert [case.case_id for case in run.cases] == ["t1"]
    assert sorted(run.left_out) == ["case c0", "case c1", "case t0"]
    assert "expected 0000" in run.left_out["case c0"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        PermissionError(13, "Permission denied"),
        PassingError("s3://lake: out of reach"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("name", ["c1", "t0"])
def test_a_volume_that_may_be_read_later_fails_the_run_instead_of_being_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, name: str
) -> None:
    lake = make_set(tmp_path / "lake", 3, 2)
    whole = rows.read_uri

    def read(uri: str) -> Volume:
        if uri.endswith(f"/{name}.ome.zarr"):
            raise error
        return whole(uri)

    with monkeypatch.context() as patch:
        patch.setattr(rows, "read_uri", read)
        with pytest.raises(
            FactoryError, match=rf"case {name}: .*; expected a volume that can be read\. Mend"
        ):
            fit(lake, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    assert fit(lake, tmp_path / "run").mix["num_real"] == 3


def test_a_row_that_says_another_grid_than_its_volume_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(2)]
    rows += [row_of(folder, "t", scan(50), split="test")]
    whole = scan(3)
    cut = replace(whole, ct=whole.ct[:8], layout=whole.layout[:8])
    rows += [row_of(folder, "c3", cut, shape=list(SIZE))]
    run = fit(write_rows(folder, rows), tmp_path / "run")
    told = (tmp_path / "run" / "warnings.log").read_text()
    assert (
        "left out: case c3: found grids ((8, 16, 16), (8, 16, 16)); expected (12, 16, 16)" in told
    )
    assert run.mix["num_real"] == 2


def test_nothing_left_to_train_on_is_an_error_that_says_what_was_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, "c", scan(0)), row_of(folder, "t", scan(50), split="test")]
    lake = write_rows(folder, rows)
    (folder / "volumes" / "c.ome.zarr" / "zarr.json").unlink()
    with pytest.raises(
        UsageError, match=r"no usable training volume; left out: case c: .*Mend them"
    ):
        fit(lake, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_mix_without_a_nodule_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n, nodules=0)) for n in range(2)]
    rows += [row_of(folder, "t", scan(50), split="test")]
    with pytest.raises(
        UsageError, match=r"found no nodule in 2 training volumes; expected some to l"
    ):
        fit(write_rows(folder, rows), tmp_path / "run")


def test_a_loss_that_is_not_finite_names_the_step_its_cases_and_the_way_out(
    lake: Path, tmp_path: Path
) -> None:
    message = (
        r"stopped at step \d+: the loss is .* of its batch: c\d, c\d\. Lower \[downstream\] lea"
    )
    with pytest.raises(FactoryError, match=message):
        fit(lake, tmp_path / "run", config={"learning_rate": 1e38, "steps": 9})
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_run_that_begins_anew_drops_the_lines_of_the_one_before(
    lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for name in ("metrics.jsonl", "warnings.log"):
        (tmp_path / "run" / name).write_text("of a run that was stopped\n")
    (tmp_path / "run" / "predictions").mkdir()
    (tmp_path / "run" / "predictions" / "t0.nii.gz").write_bytes(b"of another network")
    run = fit(lake, tmp_path / "run")
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, run.loss[0]), (2, run.loss[1])]
    assert not (tmp_path / "run" / "predictions").exists()
    assert "of a run that was stopped" not in (tmp_path / "run" / "warnings.log").read_text()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_that_is_no_network_of_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(
        ModelError, match=r"model\.pt: found .*; expected model\.pt of a `factory do"
    ):
        load_segmenter(tmp_path / "model.pt")


def spoil(folder: Path, name: str, affine: list[list[float]]) -> None:
    """Write another affine into a volume whose voxels stay as they are."""
    file = folder / "volumes" / f"{name}.ome.zarr" / "zarr.json"
    told = json.loads(file.read_text())
    told["attributes"]["ct_factory"]["affine_ras"] = affine
    file.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("affine", "why"),
    [
        (np.full((4, 4), np.nan).tolist(), "found an affine of [nan, "),
        (np.full((4, 4), np.inf).tolist(), "found an affine of [inf, "),
        (AFFINE[:2].tolist(), "expected 4 x 4 finite numbers that can be inverted"),
        ((AFFINE / 2).tolist(), "as its row says. The volume was changed after it was written"),
    ],
    ids=["nan", "infinite", "cut off", "of half the size"],
)
def test_a_volume_whose_affine_is_broken_or_not_its_rows_neither_trains_nor_tests(
    tmp_path: Path, affine: list[list[float]], why: str
) -> None:
    lake = make_set(tmp_path / "lake", 3, 2)
    for name in ("c1", "t0"):
        spoil(lake, name, affine)
    spec, told = spec_of(lake, tmp_path / "run"), list[str]()
    usable = usable_volumes(spec, Volumes(spec.manifest, 8), ALONE, told.append)
    assert [row["case_id"] for row in usable.test] == ["t1"]
    assert sorted(row["case_id"] for row in usable.train) == ["c0", "c2"]
    assert sorted(usable.left_out) == ["case c1", "case t0"]
    assert all(why in one for one in usable.left_out.values())
    assert all("Make the volume again" in one or "make it again" in one for one in told)


def test_an_error_while_a_case_is_scored_names_it(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **given: Any) -> None:
        raise ValueError("found a spacing of 0 mm; expected one above")

    monkeypatch.setattr(fit_module, "score_case", fail)
    with pytest.raises(CaseError, match=r"case t0: cannot be scored: found a spacing of 0 mm; exp"):
        fit(lake, tmp_path / "run")


def test_a_full_disk_is_told_as_such_and_leaves_nothing_half_written(
    lake: Path, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The lines of two steps fit, and the network does not.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, hard))
    try:
        with pytest.raises(
            StoreError, match=r"run .*/run: found no room to write to \(File too large\); expected"
        ):
            fit(lake, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {one.name for one in (tmp_path / "run").iterdir()} == {"metrics.jsonl", "warnings.log"}


def test_what_else_the_system_refuses_is_not_taken_for_a_full_disk(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Path, *args: Any, **given: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fit_module, "write_run", fail)
    with pytest.raises(PermissionError, match="Permission denied"):
        fit(lake, tmp_path / "run")
