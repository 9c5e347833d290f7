"""What the flags of `generate` ask of each synthesizer: a model, crops, layouts, or none of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import draw_in_process, random_checkpoint
from typer.testing import CliRunner

from factory.errors import StoreError, UsageError
from factory.lake import MANIFEST
from factory.nodules.crops import NoduleCrops, load_crops
from factory.preprocessing import Preprocessing
from jobs.amount import Amount
from jobs.app import app
from jobs.generate import job
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.generate.nodules import Nodules, check_donors


def test_copy_paste_without_crops_says_what_is_missing(cases_16: Path, tmp_path: Path) -> None:
    config = GenerateConfig(synthesizer="copy-paste")
    with pytest.raises(
        UsageError, match=r"^--nodules: found none, and copy-paste pastes .* Name one"
    ):
        generate(cases_16, None, tmp_path / "lake", Amount(count=1), config)
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["a_0", "b", "c1_2", "d"], "c1_2"),
        (["a_0", "b", "c", "p of c2"], "p of c2"),
        (["c0", "c0_1", "c10", "c11-3"], None),
    ],
    ids=["case", "patient", "training cases and others"],
)
def test_a_nodule_of_a_held_out_patient_is_never_pasted(
    ball_crops: Path, names: list[str], refused: str | None
) -> None:
    found = load_crops(ball_crops)
    renamed = NoduleCrops(found.ct_hu, found.mask_percent, tuple(names), found.spacing_mm)
    rows = [
        {"case_id": case, "patient_id": f"p of {case}", "split": split}
        for case, split in (("c0", "train"), ("c1", "val"), ("c2", "test"))
    ]
    nodules = Nodules(renamed.bank, renamed.digest, renamed)
    if refused is None:
        check_donors(nodules, rows)
        return
    with pytest.raises(UsageError, match=rf"^--nodules: crop {refused} is named after .* held out"):
        check_donors(nodules, rows)


def test_crops_are_held_against_the_store_before_anything_is_planned(
    own_store: Any, ball_crops: Path, tmp_path: Path
) -> None:
    path = tmp_path / "crops.npz"
    with np.load(ball_crops) as arrays:
        np.savez(path, **{**arrays, "names": np.array(["x", "c0_1", "y", "z"])})
    held_out = replace(
        own_store,
        rows=[{**r, "split": "test" if r["case_id"] == "c0" else "train"} for r in own_store.rows],
    )
    config = GenerateConfig(synthesizer="copy-paste")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "open_case_store", lambda cases: held_out)
        with pytest.raises(UsageError, match=r"crop c0_1 is named after c0, which is held out"):
            generate("cases", None, tmp_path / "lake", Amount(count=1), config, nodules=path)
    assert not (tmp_path / "lake").exists()


def test_shapes_without_tissue_are_no_crops(cases_16: Path, tmp_path: Path) -> None:
    path = tmp_path / "shapes.npz"
    np.savez(path, masks=np.ones((1, 4, 4, 4), bool))
    config = GenerateConfig(synthesizer="copy-paste")
    with pytest.raises(
        StoreError, match=r"nodule crops .*shapes\.npz: found keys .*expected `ct_hu`"
    ):
        generate(cases_16, None, tmp_path / "lake", Amount(count=1), config, nodules=path)


def test_a_model_is_asked_for_only_where_one_is_run(
    cases_16: Path, model_16: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"^--model .*: noise runs no network; expected no model\."
    ):
        generate(
            cases_16,
            model_16,
            tmp_path / "lake",
            Amount(count=1),
            GenerateConfig(synthesizer="noise"),
        )
    with pytest.raises(UsageError, match=r"^--model: found none, and med-ddpm runs a network;"):
        generate(
            cases_16,
            None,
            tmp_path / "lake",
            Amount(count=1),
            GenerateConfig(synthesizer="med-ddpm"),
        )


@pytest.mark.parametrize(
    "flags",
    [
        ["--model", "demo"],
        ["--steps", "3"],
        ["--sampler", "ddim"],
        ["--precision", "bfloat16"],
        ["--compiled"],
        ["--device", "cuda"],
    ],
    ids=lambda flags: flags[0],
)
def test_flags_of_a_network_are_refused_where_none_is_run(
    cases_16: Path, tmp_path: Path, flags: list[str]
) -> None:
    place = ["--cases", str(cases_16), "--out", str(tmp_path / "lake"), "--count", "1"]
    told = CliRunner().invoke(app, ["generate", *place, "--recipe", "noise", *flags])
    assert told.exit_code == 2
    name = " ".join(flags) if flags[0] == "--device" else flags[0]
    assert f"{name}: noise runs no network; expected no such flag. Leave it away" in told.stderr


def test_the_command_draws_without_a_model(
    cases_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one looked for: no run, no model that ships."""
    draw_in_process(monkeypatch)
    monkeypatch.setattr("jobs.generate.model.find_model", lambda given: 1 / 0)
    place = ["--cases", str(cases_16), "--out", str(tmp_path / "lake"), "--count", "1"]
    told = CliRunner().invoke(app, ["generate", *place, "--recipe", "noise"])
    assert told.exit_code == 0, told.output
    assert told.stdout.strip().endswith(MANIFEST)


def test_the_published_loop_is_refused_for_a_model_that_it_could_not_draw_with(
    cases_16: Path, tmp_path: Path
) -> None:
    fed = Preprocessing(labels=("nodule",), drawn=("lung", "nodule"))
    model = random_checkpoint(tmp_path / "model", seed=0, preprocessing=fed)
    config = GenerateConfig(variant="authors")
    message = r"it is told of nodule and draws lung and nodule, but variant = 'authors' .*'paper'"
    with pytest.raises(UsageError, match=message):
        generate(cases_16, model, tmp_path / "lake", Amount(count=1), config)


@pytest.mark.parametrize(("setting", "value"), [("variant", "authors"), ("blend", "level")])
def test_med_ddpm_has_no_settings_of_how_the_reference_enters(setting: str, value: str) -> None:
    message = (
        rf"^synthesizer is 'med-ddpm', which sees no reference and has no {setting} = '{value}'"
    )
    with pytest.raises(ValueError, match=message):
        GenerateConfig(synthesizer="med-ddpm", **{setting: value})  # type: ignore[arg-type]


def test_a_synthesizer_that_no_one_knows_is_answered_with_those_that_are() -> None:
    with pytest.raises(
        ValueError,
        match=r"^synthesizer is 'gan'; known are lung-ddpm, med-ddpm, copy-paste, noise$",
    ):
        GenerateConfig(synthesizer="gan")
