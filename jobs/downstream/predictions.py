"""The predicted nodules of test cases as NIfTI: written by a run, or later by its network.

RUN/predictions/CASE.nii.gz    1 where a nodule was predicted, on the volume's grid
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.digests import digest_json
from factory.nodules.layout_file import write_nifti
from jobs.console import progress
from jobs.downstream.examples import Volumes
from jobs.downstream.plan import RunSpec, resolve
from jobs.downstream.results import read_run
from jobs.downstream.segmenter import MODEL, load_segmenter

PREDICTIONS = "predictions"
"""In a run's folder."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def write_prediction(
    run: Path, case_id: str, predicted: NDArray[np.bool_], affine: NDArray[np.float64]
) -> None:
    """Write what was predicted in a case.

    Args:
        run: Folder of the run.
        case_id: The case; a name that is no file's has digits in its place.
        predicted: (z, y, x), True for nodule.
        affine: 4x4 of the volume, voxel (i, j, k) to RAS mm.
    """
    write_nifti(_path(run, case_id), predicted.astype("uint8"), affine)


def write_missing_predictions(spec: RunSpec, *, device: str) -> int:
    """Predict again what a finished run did not keep; return how many cases that was.

    Args:
        spec: Of the run.
        device: `cpu` or `cuda`.

    Raises:
        FactoryError: The manifest has changed, or the network or a volume cannot be read.
    """
    run = Path(spec.out)
    tested = {case.case_id for case in read_run(run).cases}
    missing = {name for name in tested if not _path(run, name).exists()}
    if not missing:
        return 0
    segmenter, volumes = load_segmenter(run / MODEL, device), Volumes(spec.manifest, 1)
    rows = [row for row in resolve(spec)[1] if row["case_id"] in missing]
    with progress("downstream: predict", len(rows)) as tracker:
        for done, row in enumerate(rows, start=1):
            volume = volumes.read(row)
            write_prediction(run, row["case_id"], segmenter(volume.ct), volume.affine)
            tracker.update(done)
    return len(missing)


def _path(run: Path, case_id: str) -> Path:
    name = case_id if _PLAIN_NAME.fullmatch(case_id) else digest_json(case_id)
    return run / PREDICTIONS / f"{name}.nii.gz"
