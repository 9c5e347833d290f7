"""What a lake says of the synthesizer that drew it, and who may go on with it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import draw_in_process
from typer.testing import CliRunner

from factory.errors import StoreError
from factory.lake import IDENTITY, MANIFEST, PLAN, Lake
from factory.layouts import LUNG
from factory.volumes import Volume, read_volume, write_volume
from jobs import verify
from jobs.amount import Amount
from jobs.app import app
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.generate.plan import PlanSettings, plan_items
from jobs.generate.regenerate import regenerate
from jobs.generate.synthesizers.traits import KNOWN, synthesizer_of
from manifests.read import read_manifest

ALL = tuple(KNOWN)
ROW = {
    "case_id": "a",
    "patient_id": "a",
    "layout_id": "layout of a",
    "nodules": [{"diameter_mm": 9.0}],
    "image_sha256": "image",
    "layout_sha256": "labels",
    "affine": [2.0, 0, 0, 0, 0, 2.0, 0, 0, 0, 0, 2.5, 0, 0, 0, 0, 1.0],
}
SHARED = PlanSettings(
    model_digest="a" * 64, steps=25, config=GenerateConfig(), bank_digest="b" * 64, seed=0
)


def draw(cases: Path, model: Path, crops: Path, lake: Path, name: str, count: int = 3) -> Any:
    """Draw with only what the synthesizer needs."""
    traits = KNOWN[name]
    return generate(
        cases,
        model if traits.needs_model else None,
        lake,
        Amount(count=count),
        GenerateConfig(synthesizer=name, steps=2),
        nodules=crops if traits.needs_crops else None,
    )


@pytest.fixture(scope="module")
def lakes(
    cases_16: Path, model_16: Path, ball_crops: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished lake of each synthesizer, under its name."""
    folder = tmp_path_factory.mktemp("lakes")
    with pytest.MonkeyPatch.context() as patch:
        draw_in_process(patch)
        for name in ALL:
            draw(cases_16, model_16, ball_crops, folder / name, name)
    return folder


def work_id(synthesizer: str, **changes: Any) -> str:
    config = GenerateConfig(synthesizer=synthesizer, **changes.pop("config", {}))
    (item,) = plan_items([ROW], replace(SHARED, config=config, **changes), 1)
    return item.work_id


def test_each_synthesizer_draws_volumes_of_its_own() -> None:
    assert len({work_id(name) for name in ALL}) == len(ALL)


@pytest.mark.parametrize("name", ["copy-paste", "noise"])
def test_what_a_network_would_do_changes_no_id_where_none_is_run(name: str) -> None:
    same = {
        work_id(name),
        work_id(name, model_digest="c" * 64),
        work_id(name, steps=7),
        work_id(name, config={"sampler": "ddim", "precision": "bfloat16", "compiled": True}),
    }
    assert len(same) == 1
    assert work_id(name, seed=1) not in same
    assert work_id(name, config={"max_redraws": 1}) not in same


def test_other_crops_paste_other_volumes_also_into_annotated_nodules() -> None:
    assert work_id("copy-paste", bank_digest="c" * 64) != work_id("copy-paste")
    assert work_id("noise", bank_digest="c" * 64) == work_id("noise")


def test_how_med_ddpm_samples_is_part_of_its_ids() -> None:
    ids = {work_id("med-ddpm"), work_id("med-ddpm", steps=7), work_id("med-ddpm", seed=1)}
    ids |= {work_id("med-ddpm", config={"sampler": "ddim"}), work_id("med-ddpm", model_digest="c")}
    assert len(ids) == 5


@pytest.mark.parametrize("name", ALL)
def test_a_lake_says_who_drew_it_and_verifies(lakes: Path, name: str) -> None:
    lake = Lake(lakes / name)
    identity = json.loads((lakes / name / IDENTITY).read_text())
    assert identity["config"]["synthesizer"] == name
    assert identity["settings"].get("synthesizer", "lung-ddpm") == name
    # What earlier lakes do not say, those of the usual way do not say either.
    assert ("synthesizer" in identity["settings"]) is (name != "lung-ddpm")
    assert bool(identity["model"]) is KNOWN[name].needs_model
    assert verify.problems(lake) == []
    rows = [r for r in read_manifest(lakes / name / MANIFEST).to_pylist() if r["work_id"]]
    assert len(rows) == 3
    assert {row["sampler"].split()[0] for row in rows} == {"ddpm" if name == "lung-ddpm" else name}


@pytest.mark.parametrize("name", ALL)
def test_each_draws_the_same_again(lakes: Path, name: str) -> None:
    found = list(regenerate(Lake(lakes / name), 3))
    assert [(one.same_environment, one.same_voxels, one.error) for one in found] == [
        (True, True, "")
    ] * 3


def test_status_tells_who_draws_where_it_is_not_the_usual(lakes: Path) -> None:
    told = {
        name: CliRunner().invoke(app, ["status", str(lakes / name)]).stdout.splitlines()[-1]
        for name in ALL
    }
    assert told == {
        "lung-ddpm": "published yes",
        **{name: f"synthesizer {name}" for name in ALL[1:]},
    }


def spoil(lake: Path, where: str) -> None:
    """Change one voxel of a finished volume, and all that its lake says of its voxels."""
    from factory.digests import sha256_of_voxels
    from manifests.write import write_manifest

    rows = read_manifest(lake / MANIFEST).to_pylist()
    row = next(row for row in rows if row["kind"] == "synthetic")
    storage = Lake(lake).storage
    volume = read_volume(storage, row["image_uri"])
    ct = volume.ct.copy()
    label = {"lung": LUNG, "background": 0}[where]
    ct[tuple(np.argwhere(volume.layout == label)[0])] += 7
    shutil.rmtree(lake / row["image_uri"])
    spoilt = Volume(ct=ct, layout=volume.layout, affine=volume.affine)
    write_volume(storage, row["image_uri"], spoilt, kind="synthetic", work_id=row["work_id"])
    row["image_sha256"] = sha256_of_voxels(ct)
    marker = lake / "commits" / f"{row['work_id']}.json"
    commit = json.loads(marker.read_text())
    target = commit if "image_sha256" in commit else commit["row"]
    target["image_sha256"] = row["image_sha256"]
    marker.write_text(json.dumps(commit))
    write_manifest(rows, str(lake / MANIFEST))


@pytest.mark.parametrize(
    ("name", "where", "num_problems"),
    [
        ("lung-ddpm", "background", 1),
        ("lung-ddpm", "lung", 0),
        ("med-ddpm", "background", 0),
        ("copy-paste", "background", 1),
        ("copy-paste", "lung", 1),
        ("noise", "background", 1),
        ("noise", "lung", 0),
    ],
)
def test_verify_holds_each_to_what_it_was_to_keep(
    lakes: Path, tmp_path: Path, name: str, where: str, num_problems: int
) -> None:
    lake = Path(shutil.copytree(lakes / name, tmp_path / "lake"))
    spoil(lake, where)
    found = verify.problems(Lake(lake))
    assert len(found) == num_problems
    drawn = "nodules" if name == "copy-paste" else "layout"
    assert all(f"1 voxel outside the {drawn} differs from the reference" in text for text in found)


def test_a_lake_is_not_gone_on_with_by_another_synthesizer(
    lakes: Path, cases_16: Path, model_16: Path, ball_crops: Path, tmp_path: Path
) -> None:
    lake = Path(shutil.copytree(lakes / "noise", tmp_path / "lake"))
    before = (lake / IDENTITY).read_text(), (lake / PLAN).read_bytes()
    with pytest.raises(
        StoreError, match=r"another plan \(.*settings\.synthesizer was noise, is copy"
    ):
        draw(cases_16, model_16, ball_crops, lake, "copy-paste")
    assert ((lake / IDENTITY).read_text(), (lake / PLAN).read_bytes()) == before


def test_a_lake_without_a_model_is_extended_as_any(
    lakes: Path,
    cases_16: Path,
    model_16: Path,
    ball_crops: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lake = Path(shutil.copytree(lakes / "copy-paste", tmp_path / "lake"))
    draw_in_process(monkeypatch)
    result = draw(cases_16, model_16, ball_crops, lake, "copy-paste", count=5)
    assert result.num_synthetic == 5
    assert "resuming: 3 of 5 items done" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [None, [], {"synthesizer": "gan"}, {"synthesizer": ["noise"]}])
def test_a_lake_of_another_release_is_not_taken_for_one_of_ours(settings: Any) -> None:
    identity = {"settings": settings}
    if not isinstance(settings, dict):
        assert synthesizer_of(identity, where="lake x") == "lung-ddpm"
        return
    with pytest.raises(
        StoreError, match=r"^lake x: drawn by the synthesizer .*; expected one of lung"
    ):
        synthesizer_of(identity, where="lake x")
