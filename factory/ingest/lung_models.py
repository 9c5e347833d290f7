"""Lungs by networks that others have trained: lungmask and TotalSegmentator, where they are installed.

Each runs as a program of its own, on a scan without identity in a folder that is deleted again:
so no network framework is loaded here, and theirs may be another version. Nothing is downloaded:
weights must be there, and the programs are cut off from the network, for one of them reports
its use.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from factory.axes import affine_from_zyx, ijk_from_zyx, zyx_from_ijk
from factory.errors import FactoryError
from factory.ingest.sources.total_segmentator import LOBES

_LONGEST_S = 3600
_NO_NETWORK = {
    name: "http://127.0.0.1:9"
    for proxy in ("http_proxy", "https_proxy", "all_proxy")
    for name in (proxy, proxy.upper())
}

Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class LungModel:
    """A program that finds lungs, and what it needs."""

    program: str
    package: str
    """What pip installs it from."""
    weights: Callable[[], tuple[Path, str]]
    """Folder in which its weights lie, and the pattern of their name."""
    fetch: str
    """What fetches them, once, where there is a network."""
    arguments: Callable[[Path, Path], list[str]]
    """Of the CT and of what is to be written."""
    outputs: tuple[str, ...]
    """Files or, for several, files in a folder, that are united; relative to what is written."""


def segment_by_model(
    method: str, ct_hu: NDArray[np.int16], spacing_mm: Spacing
) -> NDArray[np.uint8]:
    """Return the lungs that a model of `LUNG_MODELS` finds.

    Args:
        method: Its name.
        ct_hu: (z, y, x) HU in RAS orientation.
        spacing_mm: Voxel spacing (z, y, x) in mm.

    Returns:
        (z, y, x) uint8, 1 inside the lungs.

    Raises:
        FactoryError: The program or its weights are not there.
        ValueError: It failed, or found no lung.
    """
    program = find_program(method)
    model = LUNG_MODELS[method]
    with tempfile.TemporaryDirectory(prefix="lungs-") as folder:
        ct, out = Path(folder) / "ct.nii.gz", Path(folder) / "out"
        _write(ct, ct_hu, spacing_mm)
        _run(method, [program, *model.arguments(ct, out)])
        lungs = _united(method, [out.parent / name for name in model.outputs], ct_hu.shape)
    if not lungs.any():
        raise ValueError(f"found no lung by {method}. Check that the scan shows the chest.")
    return lungs


def find_program(method: str) -> str:
    """Return the program of a model, once it and its weights are there.

    Raises:
        FactoryError: There is no such model, or it or its weights are missing.
    """
    if method not in LUNG_MODELS:
        raise FactoryError(
            f"lungs: found method {method!r}; expected threshold, {', '.join(LUNG_MODELS)}. Correct it."
        )
    model = LUNG_MODELS[method]
    beside = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent)])
    program = shutil.which(model.program) or shutil.which(model.program, path=beside)
    if not program:
        raise FactoryError(
            f"lungs by {method}: found no program {model.program}; expected it on the path. Run `pip "
            f"install {model.package}`, then `{model.fetch}`, or take the method threshold."
        )
    folder, pattern = model.weights()
    if not any(folder.glob(pattern)):
        raise FactoryError(
            f"lungs by {method}: found no weights {pattern} in {folder}; expected them there, for "
            f"nothing is downloaded in passing. Run `{model.fetch}`, or take the method threshold."
        )
    return program


def _write(path: Path, ct_hu: NDArray[np.int16], spacing_mm: Spacing) -> None:
    import nibabel as nib

    affine = affine_from_zyx(spacing_mm, (0.0, 0.0, 0.0))
    image = nib.Nifti1Image(ijk_from_zyx(ct_hu), affine)  # type: ignore[no-untyped-call]
    nib.save(image, path)


def _run(method: str, command: list[str]) -> None:
    environment = {**os.environ, **_NO_NETWORK}
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, timeout=_LONGEST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{method} did not run to its end ({type(error).__name__})") from error
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if line.strip()), "no reason given")
        raise ValueError(f"{method} ended with status {ended.returncode}: {reason.strip()[:200]}")


def _united(method: str, files: list[Path], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    import nibabel as nib
    from nibabel.spatialimages import SpatialImage

    lungs = np.zeros(shape, dtype=np.uint8)
    for file in files:
        if not file.is_file():
            raise ValueError(f"{method} wrote no {file.name}")
        mask = zyx_from_ijk(np.asanyarray(cast(SpatialImage, nib.load(file)).dataobj))
        if mask.shape != shape:
            raise ValueError(f"{method} wrote {file.name} of shape {mask.shape}, expected {shape}")
        lungs[mask != 0] = 1
    return lungs


def _torch_hub() -> tuple[Path, str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    home = Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser()
    return home / "hub" / "checkpoints", "unet_r231-*.pth"


def _total_segmentator_results() -> tuple[Path, str]:
    home = Path(os.environ.get("TOTALSEG_HOME_DIR", "~/.totalsegmentator")).expanduser()
    folder = Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", home / "nnunet" / "results"))
    return folder.expanduser(), "Dataset297_*"


LUNG_MODELS: Mapping[str, LungModel] = {
    "lungmask": LungModel(
        program="lungmask",
        package="lungmask",
        weights=_torch_hub,
        fetch="lungmask SCAN.nii.gz LUNGS.nii.gz",
        arguments=lambda ct, out: [str(ct), f"{out}.nii.gz", "--modelname", "R231"],
        outputs=("out.nii.gz",),
    ),
    "totalsegmentator": LungModel(
        program="TotalSegmentator",
        package="TotalSegmentator",
        weights=_total_segmentator_results,
        fetch="totalseg_download_weights -t total_fast",
        arguments=lambda ct, out: ["-i", str(ct), "-o", str(out), "--fast"],
        outputs=tuple(f"out/{lobe}.nii.gz" for lobe in LOBES),
    ),
}
"""Networks by the name of their method."""
