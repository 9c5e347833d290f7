"""Checkpoints are whole or passed over, and the newest and the best are kept."""

import json
from pathlib import Path

import pytest
import torch

from jobs.train.checkpoints import (
    Checkpoint,
    best_step,
    newest_step,
    newest_whole,
    prune,
    write,
)

FILES = ["state.pt", "state.json", "model/weights.bin"]


def save_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"averaged")


def write_step(
    run: Path, step: int, val_loss: float | None = None, probes: str = "2f"
) -> Checkpoint:
    state = {"step": step, "weights": torch.full((3,), float(step))}
    return write(run, step, state, {"val_loss": val_loss, "probes": probes}, save_model)


def steps_of(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_step(tmp_path, 10, 0.5)
    warnings: list[str] = []
    found = newest_whole(tmp_path, warnings.append)
    assert found is not None
    assert (found.step, found.record["val_loss"], warnings) == (10, 0.5, [])
    assert torch.equal(found.state()["weights"], torch.full((3,), 10.0))
    assert (found.model / "weights.bin").read_bytes() == b"averaged"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["half", "gone", "flipped"])
def test_a_checkpoint_with_any_file_damaged_is_passed_over_by_name(
    tmp_path: Path, name: str, damage: str
) -> None:
    write_step(tmp_path, 10)
    file = write_step(tmp_path, 20).folder / name
    whole = file.read_bytes()
    file.unlink()
    if damage == "half":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 64]) + whole[middle + 1 :])
    warnings: list[str] = []
    found = newest_whole(tmp_path, warnings.append)
    assert found is not None
    assert found.step == 10
    (warning,) = warnings
    assert "checkpoints/step_00000020 is torn (" in warning
    # A bit of the record itself shows in the file that it speaks of.
    assert name in warning or (name, damage) == ("state.json", "flipped")
    # It stays where a person can look at it, and is not warned of again.
    assert steps_of(tmp_path) == ["step_00000010", "step_00000020.torn"]
    assert newest_whole(tmp_path, pytest.fail) == found


def test_where_all_are_torn_training_starts_anew_and_says_so(tmp_path: Path) -> None:
    for step in (10, 20):
        (write_step(tmp_path, step).folder / "state.pt").write_bytes(b"")
    warnings: list[str] = []
    assert newest_whole(tmp_path, warnings.append) is None
    assert warnings[-1].endswith(
        "none is whole of 2 checkpoints; training starts from the first step"
    )


def test_a_run_without_checkpoints_starts_without_a_word(tmp_path: Path) -> None:
    assert newest_whole(tmp_path, pytest.fail) is None
    assert newest_step(tmp_path) == 0


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    write_step(tmp_path, 10)

    def no_space(folder: Path) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, 20, {}, {}, no_space)
    assert steps_of(tmp_path) == ["step_00000010"]


def test_one_whose_writer_was_killed_does_not_count_and_goes_with_the_next(tmp_path: Path) -> None:
    write_step(tmp_path, 10)
    half = tmp_path / "checkpoints" / ".step_00000020.unfinished"
    half.mkdir()
    (half / "state.pt").write_bytes(b"half")
    found = newest_whole(tmp_path, pytest.fail)
    assert found is not None
    assert found.step == 10
    write_step(tmp_path, 20)
    assert steps_of(tmp_path) == ["step_00000010", "step_00000020"]


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, val_loss in ((10, 0.5), (20, 0.3), (30, 0.4), (40, None), (50, 0.35)):
        write_step(tmp_path, step, val_loss)
        prune(tmp_path, 2)
    assert best_step(tmp_path) == 20
    assert steps_of(tmp_path) == ["step_00000020", "step_00000040", "step_00000050"]


def test_a_better_one_takes_the_place_of_the_best(tmp_path: Path) -> None:
    for step, val_loss in ((10, 0.5), (20, 0.6), (30, 0.4), (40, 0.45)):
        write_step(tmp_path, step, val_loss)
        prune(tmp_path, 1)
    assert steps_of(tmp_path) == ["step_00000030", "step_00000040"]


def test_losses_of_other_probes_do_not_compare(tmp_path: Path) -> None:
    write_step(tmp_path, 10, 0.1, probes="2e")
    for step, val_loss in ((20, 0.5), (30, 0.6), (40, 0.7)):
        write_step(tmp_path, step, val_loss)
    assert best_step(tmp_path) == 20
    # Those of the newest that has any count, were they ever so few.
    write_step(tmp_path, 50, 0.9, probes="2e")
    assert best_step(tmp_path) == 10
    write_step(tmp_path, 60, 0.8, probes="30")
    write_step(tmp_path, 70, None, probes="31")
    assert best_step(tmp_path) == 60


def test_a_record_says_what_a_file_must_be(tmp_path: Path) -> None:
    record = json.loads((write_step(tmp_path, 10).folder / "state.json").read_text())
    assert sorted(record["sha256"]) == ["model/weights.bin", "state.pt"]
    assert record["step"] == 10
