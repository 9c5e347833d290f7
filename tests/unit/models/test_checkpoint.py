import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from models.card import read_model_card
from models.checkpoint import load_checkpoint, save_checkpoint
from models.errors import CheckpointError
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

CONFIG = UNet3DConfig(grid=8, base_channels=8, channel_mults=(1, 2), attention_max_size=4)
PREPROCESSING = {"window": {"low_hu": -1024.0, "high_hu": 600.0}, "grid": [8, 8, 8]}


def denoiser() -> UNet3D:
    network = UNet3D(CONFIG).train()
    with torch.no_grad():
        for i, weight in enumerate(network.parameters()):
            # Halves and quarters only, so the digest below is the same everywhere.
            weight.copy_((torch.arange(weight.numel()) % 7 - 3 + i % 2).reshape(weight.shape) / 4)
    return network


def save(path: Path, network: UNet3D | None = None, **changed: object) -> str:
    stored = {
        "schedule": NoiseSchedule(ScheduleConfig(num_steps=10)),
        "preprocessing": PREPROCESSING,
        "training": {"steps": 100},
        **changed,
    }
    return save_checkpoint(path, network or denoiser(), **stored)


def edit_card(path: Path, **changed: object) -> None:
    card = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps({**card, **changed}))


def edit_weights(path: Path, changed: dict[str, torch.Tensor | None]) -> None:
    tensors = {**safetensors.torch.load_file(path / "weights.safetensors"), **changed}
    kept = {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}
    safetensors.torch.save_file(kept, path / "weights.safetensors")


def test_a_loaded_checkpoint_predicts_the_same_noise(tmp_path: Path) -> None:
    digest = save(tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model", expect_digest=digest)
    x, t = torch.linspace(-1, 1, 3 * 512).reshape(1, 3, 8, 8, 8), torch.tensor([3])
    assert torch.equal(loaded.denoiser(x, t), denoiser().eval()(x, t))
    assert not loaded.denoiser.training
    assert torch.equal(loaded.schedule.betas, NoiseSchedule(ScheduleConfig(num_steps=10)).betas)


def test_half_precision_weights_take_half_the_bytes_and_load_as_what_was_stored(
    tmp_path: Path,
) -> None:
    network = denoiser()
    with torch.no_grad():
        network.stem.weight.add_(1e-4)  # Rounds in float16.
    digest = save(tmp_path / "half", network, dtype=torch.float16)
    save(tmp_path / "full", network)
    half, full = ((tmp_path / n / "weights.safetensors").stat().st_size for n in ("half", "full"))
    assert half < 0.6 * full
    loaded = load_checkpoint(tmp_path / "half", expect_digest=digest).denoiser
    assert loaded.stem.weight.dtype == torch.float32
    assert torch.equal(loaded.stem.weight, network.stem.weight.half().float())
    assert not torch.equal(loaded.stem.weight, network.stem.weight)


def test_a_front_end_is_part_of_a_model_and_older_models_keep_their_digest(tmp_path: Path) -> None:
    save(tmp_path / "plain")
    assert "front_end" not in json.loads((tmp_path / "plain" / "model.json").read_text())["unet"]
    assert read_model_card(tmp_path / "plain").unet.front_end == "none"

    config = replace(CONFIG, front_end="haar")
    save(tmp_path / "haar", UNet3D(config))
    assert load_checkpoint(tmp_path / "haar").denoiser.config == config


def test_a_full_disk_is_an_error_of_the_system_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match=r"model/weights.safetensors cannot be written: .*No space"):
        save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_the_card_tells_all_but_the_weights(tmp_path: Path) -> None:
    digest = save(tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").unlink()
    card = read_model_card(tmp_path / "model")
    assert card.digest == digest
    assert card.unet == CONFIG
    assert card.schedule == ScheduleConfig(num_steps=10)
    assert card.preprocessing == PREPROCESSING
    assert card.training == {"steps": 100}


def test_the_digest_of_a_model_never_changes(tmp_path: Path) -> None:
    # Lakes and manifests name models by it: a release that changes it orphans them.
    assert save(tmp_path / "model") == GOLDEN_DIGEST


def test_notes_on_the_training_are_not_part_of_the_digest(tmp_path: Path) -> None:
    assert save(tmp_path / "a") == save(tmp_path / "b", training={"steps": 7, "host": "x"})


def test_everything_that_changes_the_output_changes_the_digest(tmp_path: Path) -> None:
    nudged, other_layout = denoiser(), UNet3DConfig(grid=16, base_channels=8, channel_mults=(1, 2))
    with torch.no_grad():
        nudged.head.bias.add_(1e-7)
    same_weights = UNet3D(other_layout)
    digests = [
        save(tmp_path / "model"),
        save(tmp_path / "weights", nudged),
        save(tmp_path / "schedule", schedule=NoiseSchedule(ScheduleConfig(num_steps=11))),
        save(tmp_path / "window", preprocessing={**PREPROCESSING, "grid": [8, 8, 9]}),
        save(tmp_path / "architecture", same_weights),
    ]
    assert len(set(digests)) == 5


def test_a_checkpoint_replaces_an_earlier_one_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    save(tmp_path / "model")
    digest = save(tmp_path / "model", preprocessing={"grid": 1})
    assert load_checkpoint(tmp_path / "model").card.digest == digest
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("earlier", [True, False])
def test_a_save_that_stops_halfway_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    digest = save(tmp_path / "model") if earlier else None

    def half_a_file(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", half_a_file)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / "model", preprocessing={})
    if earlier:
        assert load_checkpoint(tmp_path / "model", expect_digest=digest)
    assert [entry.name for entry in tmp_path.iterdir()] == (["model"] if earlier else [])


def test_an_earlier_checkpoint_returns_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = save(tmp_path / "model")
    rename = Path.rename

    def rename_but_not_partial(self: Path, target: Path) -> Path:
        if ".tmp-" in self.name:
            raise OSError("disk is gone")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_but_not_partial)
        with pytest.raises(OSError, match="disk is gone"):
            save(tmp_path / "model", preprocessing={})
    assert load_checkpoint(tmp_path / "model").card.digest == digest


def test_an_interrupted_replacement_says_where_the_earlier_checkpoint_is(tmp_path: Path) -> None:
    save(tmp_path / ".model.old-abc")
    with pytest.raises(CheckpointError, match=r"the earlier one is .*\.model\.old-abc, rename"):
        load_checkpoint(tmp_path / "model")


def test_a_folder_that_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"a patient")
    with pytest.raises(CheckpointError, match=r"something else is there already.*another path"):
        save(tmp_path)
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"a patient"


def test_preprocessing_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path / "model", preprocessing={"low_hu": float("nan")})
    assert not (tmp_path / "model").exists()


def test_preprocessing_with_numbers_as_keys_can_be_read_back(tmp_path: Path) -> None:
    save(tmp_path / "model", preprocessing={"labels": {9: "lung", 10: "nodule"}})
    assert load_checkpoint(tmp_path / "model").card.preprocessing == {
        "labels": {"9": "lung", "10": "nodule"}
    }


def test_a_missing_checkpoint_says_what_a_checkpoint_is(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"nowhere: there is no such directory; .* Give a directory"
    ):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"model: {name} is missing; expected .*Copy"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("kept_bytes", [0, 5, 200])
def test_a_torn_file_is_named_with_its_size(tmp_path: Path, name: str, kept_bytes: int) -> None:
    save(tmp_path / "model")
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes()[:kept_bytes])
    with pytest.raises(
        CheckpointError, match=rf"model: {name} \({kept_bytes} bytes\) is torn .*Copy the"
    ):
        load_checkpoint(tmp_path / "model")


def test_another_model_than_the_planned_one_is_refused_before_its_weights_are_read(
    tmp_path: Path,
) -> None:
    digest = save(tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=rf"is {digest} but 123 was expected\. Give"):
        load_checkpoint(tmp_path / "model", expect_digest="123")


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    digest = save(tmp_path / "model")
    edit_weights(tmp_path / "model", {"head.bias": torch.tensor([9.0])})
    with pytest.raises(CheckpointError, match=rf"digest \w+ but model.json says {digest}"):
        load_checkpoint(tmp_path / "model")


def test_a_changed_window_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "model")
    edit_card(tmp_path / "model", preprocessing={"window": {"low_hu": -1000.0}})
    with pytest.raises(CheckpointError, match=r"altered after it was written"):
        load_checkpoint(tmp_path / "model")


def test_weights_of_another_network_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "model")
    edit_weights(
        tmp_path / "model",
        {"head.bias": None, "tail.bias": torch.zeros(1), "stem.bias": torch.zeros(3)},
    )
    with pytest.raises(
        CheckpointError,
        match=r"1 missing \(head.bias\); 1 unexpected \(tail.bias\); "
        r"1 of another shape \(stem.bias \(3,\) instead of \(8,\)\)\. Copy",
    ):
        load_checkpoint(tmp_path / "model")


def test_a_format_from_the_future_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "model")
    edit_card(tmp_path / "model", format_version=2)
    with pytest.raises(CheckpointError, match=r"format version 2; this release reads version 1"):
        read_model_card(tmp_path / "model")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unet": {"grid": 9, "channel_mults": [1, 2]}}, "grid is 9 voxels"),
        ({"unet": {"colour": 1, "channel_mults": [1]}}, "unexpected keyword argument 'colour'"),
        ({"schedule": None}, "schedule is None, expected a JSON dict"),
        ({"digest": 5}, "digest is 5, expected a JSON str"),
    ],
)
def test_a_card_that_describes_no_model_says_why(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    save(tmp_path / "model")
    edit_card(tmp_path / "model", **changed)
    with pytest.raises(CheckpointError, match=rf"model.json does not describe .*{message}"):
        read_model_card(tmp_path / "model")


GOLDEN_DIGEST = "cf74addd7a1750556cefc62c76e01dbedd512b8ffa201d29d96a07e252d904d3"
