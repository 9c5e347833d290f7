"""One run among broken volumes, losses without end and full disks: what it leaves out, and where it stops."""

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from downstream_sets import AFFINE, SIZE, fit_of, make_set, row_of, scan, spec_of, write_rows

from factory.errors import CaseError, FactoryError, ModelError, PassingError, StoreError, UsageError
from factory.volumes import Volume
from jobs.downstream import fit as fit_module
from jobs.downstream.examples import Volumes
from jobs.downstream.segmenter import load_segmenter
from jobs.downstream.usable import usable_volumes
from jobs.downstream.workers import ALONE
from jobs.readers import rows


def test_volumes_that_are_broken_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(4)]
    rows += [row_of(folder, f"t{n}", scan(50 + n), split="test") for n in range(2)]
    rows[0]["image_sha256"] = "0" * 64
    lake = write_rows(folder, rows)
    (folder / "volumes" / "c1.ome.zarr" / "0" / "zarr.json").unlink()
    (folder / "volumes" / "t0.ome.zarr" / "0" / "c" / "0" / "0" / "0").write_bytes(b"torn")
    run = fit_of(lake, tmp_path / "run")
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
            fit_of(lake, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    assert fit_of(lake, tmp_path / "run").mix["num_real"] == 3


def test_a_row_that_says_another_grid_than_its_volume_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(2)]
    rows += [row_of(folder, "t", scan(50), split="test")]
    whole = scan(3)
    cut = replace(whole, ct=whole.ct[:8], layout=whole.layout[:8])
    rows += [row_of(folder, "c3", cut, shape=list(SIZE))]
    run = fit_of(write_rows(folder, rows), tmp_path / "run")
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
        fit_of(lake, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_mix_without_a_nodule_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n, nodules=0)) for n in range(2)]
    rows += [row_of(folder, "t", scan(50), split="test")]
    with pytest.raises(
        UsageError, match=r"found no nodule in 2 training volumes; expected some to l"
    ):
        fit_of(write_rows(folder, rows), tmp_path / "run")


def test_a_loss_that_is_not_finite_names_the_step_its_cases_and_the_way_out(
    scored_lake: Path, tmp_path: Path
) -> None:
    message = (
        r"stopped at step \d+: the loss is .* of its batch: c\d, c\d\. Lower \[downstream\] lea"
    )
    with pytest.raises(FactoryError, match=message):
        fit_of(scored_lake, tmp_path / "run", config={"learning_rate": 1e38, "steps": 9})
    assert not (tmp_path / "run" / "result.json").exists()


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
    scored_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **given: Any) -> None:
        raise ValueError("found a spacing of 0 mm; expected one above")

    monkeypatch.setattr(fit_module, "score_case", fail)
    with pytest.raises(CaseError, match=r"case t0: cannot be scored: found a spacing of 0 mm; exp"):
        fit_of(scored_lake, tmp_path / "run")


def test_a_full_disk_is_told_as_such_and_leaves_nothing_half_written(
    scored_lake: Path, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The lines of two steps fit, and the network does not.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, hard))
    try:
        with pytest.raises(
            StoreError, match=r"run .*/run: found no room to write to \(File too large\); expected"
        ):
            fit_of(scored_lake, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {one.name for one in (tmp_path / "run").iterdir()} == {"metrics.jsonl", "warnings.log"}


def test_what_else_the_system_refuses_is_not_taken_for_a_full_disk(
    scored_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Path, *args: Any, **given: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fit_module, "write_run", fail)
    with pytest.raises(PermissionError, match="Permission denied"):
        fit_of(scored_lake, tmp_path / "run")
