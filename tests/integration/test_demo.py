"""`factory demo` from nothing to a picture, with everything made smaller."""

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import image

from manifests.read import mix_of
from models.card import read_model_card
from models.weights import shipped

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FACTORY = Path(sys.executable).with_name("factory")

RECIPE = """
base = "demo"
[train]
batch_size = 1
[generate]
steps = 2
[demo]
num_patients = 3
scan_size = [24, 40, 48]
ratio = 0.5
train_steps = 2
"""


def factory(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(FACTORY), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_demo_makes_a_dataset_and_a_picture_and_can_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    ended = factory("demo", "--recipe", str(tmp_path / "small.toml"), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    made = dict(line.split(" ", 1) for line in ended.stdout.splitlines())

    assert list(made) == ["scans", "cases", "trained", "model", "manifest", "mix", "picture"]
    assert all((tmp_path / path).exists() for path in made.values())
    counts = mix_of(tmp_path / made["manifest"])
    assert (counts.num_real, counts.num_synthetic) == (3, 3)
    assert made["model"] == str(shipped("demo"))
    assert read_model_card(tmp_path / made["trained"]).training["step"] == 2
    picture = image.imread(tmp_path / made["picture"])
    assert picture.shape[0] > 300
    assert picture[..., :3].std() > 0.1  # not one colour

    # The folder is a workspace: its factory.toml names the recipe, and what ships draws.
    verified = factory("verify", folder=tmp_path / "demo")
    assert verified.returncode == 0, verified.stderr
    again = factory("generate", "--ratio", "0.5", folder=tmp_path / "demo")
    assert "no model in run/; taking the one that ships, demo" in again.stderr
    assert "resuming: 3 of 3 items done, 0 to draw" in again.stderr


def test_demo_does_not_write_into_somebody_elses_folder(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    ended = factory("demo", "--out", "demo", folder=tmp_path)

    assert ended.returncode == 2
    assert "found a folder with other things in it; expected none" in ended.stderr
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["thesis.txt"]
