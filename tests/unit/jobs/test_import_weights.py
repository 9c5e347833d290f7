"""`factory import-weights`: a published file in, a checkpoint to generate with out."""

import hashlib
from pathlib import Path

import pytest
import torch
from click.testing import Result
from published_weights import published_state, random_unet, schedule_buffers, write_published
from torch import Tensor
from typer.testing import CliRunner

from factory.preprocessing import Preprocessing, published
from jobs.app import app
from models.checkpoint import load_checkpoint, save_checkpoint
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig


def config(in_channels: int = 3) -> UNet3DConfig:
    return UNet3DConfig(grid=32, in_channels=in_channels, base_channels=4, channel_mults=(1, 2))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A published file whose two sets of weights differ."""
    ema, model = (published_state(random_unet(config(), seed)) for seed in (0, 1))
    return write_published(tmp_path / "model-250.pt", ema, model=model, step=250_000)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import-weights", *map(str, arguments)])


def predicted(denoiser: UNet3D) -> Tensor:
    x, t = torch.linspace(-1, 1, 3 * 512).reshape(1, 3, 8, 8, 8), torch.tensor([3])
    with torch.inference_mode():
        return denoiser(x, t)


def test_the_checkpoint_predicts_what_the_published_network_does(
    file: Path, tmp_path: Path
) -> None:
    result = run(file, "--out", tmp_path / "model")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'model'}\n")
    loaded = load_checkpoint(tmp_path / "model")
    assert torch.equal(predicted(loaded.denoiser), predicted(random_unet(config())))
    assert loaded.card.unet == config()
    assert loaded.schedule.num_steps == 250


@pytest.mark.parametrize(("in_channels", "labels"), [(3, ("lung", "nodule")), (2, ("nodule",))])
def test_the_checkpoint_says_how_published_weights_want_their_cases(
    tmp_path: Path, in_channels: int, labels: tuple[str, ...]
) -> None:
    state = published_state(random_unet(config(in_channels)))
    run(write_published(tmp_path / "p.pt", state), "--out", tmp_path / "model")
    preprocessing = load_checkpoint(tmp_path / "model").card.preprocessing
    assert Preprocessing.from_json(preprocessing) == published(labels, 32)


def test_the_checkpoint_has_the_weights_asked_for_and_says_where_they_came_from(
    file: Path, tmp_path: Path
) -> None:
    run(file, "--out", tmp_path / "model", "--use", "model")
    loaded = load_checkpoint(tmp_path / "model")
    assert torch.equal(predicted(loaded.denoiser), predicted(random_unet(config(), seed=1)))
    assert loaded.card.training == {
        "imported_from": "model-250.pt",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "use": "model",
        "step": 250_000,
        "num_steps": 250,
    }


def test_the_closing_line_tells_what_came_out_and_what_to_run_next(
    tmp_path: Path, file: Path
) -> None:
    out, parameters = tmp_path / "model", sum(p.numel() for p in random_unet(config()).parameters())
    assert run(file, "--out", out).stderr == (
        f"{parameters:,} parameters (ema, step 250,000), 3 channels (volume, lung, nodule), "
        "T = 250 (assumed, see --timesteps), grid 32^3. Next: factory ingest SCANS --recipe published "
        "--grid 32 --out CASES, then factory generate --cases CASES "
        f"--model {out} --recipe published --ratio 0.25 --out LAKE\n"
    )


def test_weights_of_the_published_grid_need_no_other_flag(tmp_path: Path) -> None:
    network = random_unet(UNet3DConfig(in_channels=2, base_channels=2))
    file = write_published(tmp_path / "p.pt", published_state(network) | schedule_buffers(9))
    assert (
        "2 channels (volume, nodule), T = 9, grid 128^3. "
        "Next: factory ingest SCANS --recipe published --out CASES, then factory generate"
    ) in run(file, "--out", tmp_path / "model").stderr


def test_a_checkpoint_named_like_a_model_that_ships_is_typed_so_that_it_is_meant(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert " --model ./demo --recipe published " in run(file, "--out", "demo").stderr


def test_timesteps_are_taken_where_the_file_has_none(tmp_path: Path, file: Path) -> None:
    result = run(file, "--out", tmp_path / "model", "--timesteps", 40)
    assert "T = 40," in result.stderr
    assert load_checkpoint(tmp_path / "model").schedule.num_steps == 40


# What is at --out already.


def test_the_same_import_again_replaces_its_own_checkpoint_and_says_so(
    tmp_path: Path, file: Path
) -> None:
    out = tmp_path / "model"
    assert "replaced" not in run(file, "--out", out).stderr
    digest = load_checkpoint(out).card.digest
    again = run(file.rename(tmp_path / "renamed.pt"), "--out", out)
    assert "grid 32^3; replaced what was imported from this file before. Next" in again.stderr
    assert again.stdout == f"{out}\n"
    assert load_checkpoint(out).card.digest == digest


def test_the_other_weights_of_a_file_never_replace_a_checkpoint(tmp_path: Path, file: Path) -> None:
    out = tmp_path / "model"
    run(file, "--out", out)
    digest = load_checkpoint(out).card.digest
    result = run(file, "--out", out, "--use", "model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: --out {out}: found a checkpoint there already, one imported from model-250.pt "
        "(ema, T = 250); expected nothing, or what was imported from this very file (model, T = 250) "
        "to replace. "
        "Choose another path, or delete it.\n"
    )
    assert load_checkpoint(out).card.digest == digest


def test_another_number_of_timesteps_never_replaces_a_checkpoint(
    tmp_path: Path, file: Path
) -> None:
    run(file, "--out", tmp_path / "model", "--timesteps", "8")
    result = run(file, "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "(ema, T = 8); expected nothing" in result.stderr
    assert load_checkpoint(tmp_path / "model").schedule.num_steps == 8


def test_another_file_never_replaces_a_checkpoint(tmp_path: Path, file: Path) -> None:
    run(file, "--out", tmp_path / "model")
    state = published_state(random_unet(config(), seed=2))
    result = run(write_published(file, state), "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "one imported from model-250.pt (ema, T = 250); expected nothing" in result.stderr


def test_a_trained_model_is_never_replaced(tmp_path: Path, file: Path) -> None:
    out = tmp_path / "model"
    save_checkpoint(
        out,
        random_unet(config()),
        schedule=NoiseSchedule(ScheduleConfig()),
        preprocessing={},
        training={"step": 9},
    )
    result = run(file, "--out", out)
    assert result.exit_code == 2
    assert "found a checkpoint there already, one that was trained; expected" in result.stderr


def test_a_checkpoint_that_cannot_be_read_is_not_replaced(tmp_path: Path, file: Path) -> None:
    out = tmp_path / "model"
    run(file, "--out", out)
    (out / "model.json").write_text("{")
    result = run(file, "--out", out)
    assert result.exit_code == 2
    assert "one that cannot be read; expected nothing" in result.stderr
    assert (out / "model.json").read_text() == "{"


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, file: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "ct.nii.gz").write_bytes(b"a patient")
    result = run(file, "--out", tmp_path / "scans")
    assert result.exit_code == 1
    assert "something else is there already" in result.stderr
    assert (tmp_path / "scans" / "ct.nii.gz").read_bytes() == b"a patient"


# What cannot be imported.


@pytest.mark.parametrize("in_channels", [1, 4])
def test_a_network_of_unknown_labels_is_refused(tmp_path: Path, in_channels: int) -> None:
    file = write_published(tmp_path / "p.pt", published_state(random_unet(config(in_channels))))
    result = run(file, "--out", tmp_path / "model")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {file}: found a network of {in_channels} input channels; expected 3 (volume, "
        "lung, nodule) or 2 (volume, nodule). Import weights of Lung-DDPM or Lung-DDPM+.\n"
    )
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_no_checkpoint_is_one_line_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "p.pt").write_bytes(b"torn")
    result = run(tmp_path / "p.pt", "--out", tmp_path / "model")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: published checkpoint {tmp_path / 'p.pt'}: found 4 ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_a_bucket_is_not_taken_for_a_folder(file: Path) -> None:
    result = run(file, "--out", "s3://bucket/model")
    assert result.exit_code == 2
    assert "checkpoint s3:/bucket/model: found a URL; expected a path" in result.stderr


@pytest.mark.parametrize(
    ("flag", "value"), [("--use", "average"), ("--timesteps", "0"), ("--timesteps", "many")]
)
def test_flags_that_cannot_be_meant_are_refused(file: Path, flag: str, value: str) -> None:
    result = run(file, "--out", "model", flag, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{flag}'" in result.stderr
