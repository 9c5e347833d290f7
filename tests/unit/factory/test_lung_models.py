import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from factory.errors import FactoryError
from factory.ingest.lung_models import LUNG_MODELS, find_program
from factory.ingest.lungs import segment_lungs
from factory.ingest.sources.total_segmentator import LOBES

CT = np.full((4, 5, 6), -1000, np.int16)
CT[1:3, 1:4, 2:5] = -850
CT[3, 4, 5] = 40
SPACING_MM = (3.0, 2.0, 1.5)

READ = """
import os, sys
import nibabel as nib, numpy as np
assert os.environ["HTTPS_PROXY"] == os.environ["https_proxy"] == "http://127.0.0.1:9"
"""
LUNGMASK = f"""{READ}
assert sys.argv[3:] == ["--modelname", "R231"], sys.argv
image = nib.load(sys.argv[1])
assert np.allclose(image.header.get_zooms(), (1.5, 2.0, 3.0))
mask = (np.asarray(image.dataobj) == -850) * np.uint8(2)
nib.save(nib.Nifti1Image(mask, image.affine), sys.argv[2])
"""
TOTAL_SEGMENTATOR = f"""{READ}
image = nib.load(sys.argv[sys.argv.index("-i") + 1])
out = sys.argv[sys.argv.index("-o") + 1]
os.mkdir(out)
lung = np.asarray(image.dataobj) == -850
for k, lobe in enumerate({LOBES!r}):
    mask = np.zeros(lung.shape, np.uint8)
    mask[k] = lung[k]
    nib.save(nib.Nifti1Image(mask, image.affine), f"{{out}}/{{lobe}}.nii.gz")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put a program that stands for a model on the path, with weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "total"))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def install(method: str, program: str, *, weights: bool = True) -> None:
        path = tmp_path / "bin" / LUNG_MODELS[method].program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{program}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        if weights:
            for name in (
                "torch/hub/checkpoints/unet_r231-d5.pth",
                "total/nnunet/results/Dataset297_x",
            ):
                (tmp_path / name).mkdir(parents=True)

    return install


def test_lungmask_runs_as_a_program_of_its_own(installed):
    installed("lungmask", LUNGMASK)
    lungs = segment_lungs(CT, SPACING_MM, method="lungmask")
    np.testing.assert_array_equal(lungs, (CT == -850).astype(np.uint8))
    assert lungs.dtype == np.uint8


def test_the_lobes_of_total_segmentator_are_united(installed):
    installed("totalsegmentator", TOTAL_SEGMENTATOR)
    lungs = segment_lungs(CT, SPACING_MM, method="totalsegmentator")
    np.testing.assert_array_equal(lungs, (CT == -850).astype(np.uint8))


@pytest.mark.parametrize("method", LUNG_MODELS)
def test_a_program_that_is_not_there_says_how_to_get_it(method, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    model = LUNG_MODELS[method]
    with pytest.raises(FactoryError, match=rf"found no program {model.program}; .*pip install"):
        find_program(method)


@pytest.mark.parametrize("method", LUNG_MODELS)
def test_weights_that_are_not_there_are_not_fetched_in_passing(method, installed):
    installed(method, "raise SystemExit('ran')", weights=False)
    with pytest.raises(
        FactoryError, match=rf"found no weights .* in {Path('/')}.*nothing is downl"
    ):
        segment_lungs(CT, SPACING_MM, method=method)


def test_a_method_nobody_knows_lists_those_there_are():
    expected = r"found method 'unet'; expected threshold, lungmask, totalsegmentator\."
    with pytest.raises(FactoryError, match=expected):
        segment_lungs(CT, SPACING_MM, method="unet")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('no room on the GPU')", "ended with status 1: no room on the GPU"),
        ("", r"lungmask wrote no out\.nii\.gz"),
        (LUNGMASK.replace("== -850", "== 9999"), "found no lung by lungmask"),
        (LUNGMASK.replace("(mask,", "(mask[1:],"), r"of shape \(4, 5, 5\), expected \(4, 5, 6\)"),
    ],
)
def test_a_model_that_fails_says_why(installed, program, words):
    installed("lungmask", program)
    with pytest.raises(ValueError, match=words):
        segment_lungs(CT, SPACING_MM, method="lungmask")
