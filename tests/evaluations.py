"""Small real and synthetic sets of phantoms, on disk, and `evaluate` without a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from manifest_rows import real, sha
from numpy.typing import NDArray
from scipy import ndimage
from support import connect_alone
from written_volumes import written

from factory.digests import sha256_of_voxels
from factory.lake import MANIFEST, Lake
from factory.layouts import LUNG, compose_layout
from factory.phantom import draw_phantom
from factory.volumes import Volume
from jobs.evaluate.records import figure_row
from jobs.evaluate.result import EvaluateResult
from manifests.write import write_manifest

SIZE = (24, 32, 32)
DONORS = [0, 1, 2, 3, 4, 5, 6, 7]


@cache
def scan(seed: int) -> Volume:
    """Return a phantom with its layout; the same object for a seed."""
    drawn = draw_phantom(seed, size=SIZE)
    layout = compose_layout(drawn.lung, drawn.nodule > 0)
    return Volume(ct=drawn.ct, layout=layout, affine=drawn.affine)


def relunged(volume: Volume, seed: int) -> Volume:
    """Return a scan with new lungs: mottled, of its lungs' mean and spread, with none of its vessels."""
    lung = volume.layout == LUNG
    noise = np.random.default_rng(seed).normal(size=lung.shape)
    noise = ndimage.gaussian_filter(noise, 0.6)
    values = volume.ct[lung]
    drawn = values.mean() + values.std() * noise / noise.std()
    ct = np.where(lung, np.clip(drawn, -1024, 600), volume.ct).astype(np.int16)
    return with_ct(volume, ct)


def with_ct(volume: Volume, ct: NDArray[Any]) -> Volume:
    """Return a volume with other HU."""
    return Volume(ct=ct.astype(np.int16), layout=volume.layout, affine=volume.affine)


def real_set(folder: Path, splits: Sequence[str]) -> Path:
    """Write a case store of phantoms 0, 1, ... with these splits; return its folder."""
    rows = [_row(folder, f"c{seed}", scan(seed), split=split) for seed, split in enumerate(splits)]
    return _written(folder, "cases", rows)


def synthetic_set(
    folder: Path, volumes: Sequence[tuple[int, Volume]], changes: Mapping[int, Any] | None = None
) -> Path:
    """Write a lake of volumes, each with the number of its donor; return its folder.

    Args:
        folder: To be made.
        volumes: Donors and volumes.
        changes: Columns that differ, by the place of the volume.
    """
    rows = []
    for index, (donor, volume) in enumerate(volumes):
        work_id = sha(f"{folder} {index}")[:32]
        made = {"kind": "synthetic", "work_id": work_id, "plan_index": index}
        made |= {"reference_sha256": sha256_of_voxels(scan(donor).ct)}
        row = _row(folder, f"c{donor}", volume, stem=work_id) | made
        rows.append(row | (changes or {}).get(index, {}))
    return _written(folder, "lake", rows)


def measure_in_process(patch: Any) -> list[str]:
    """Make `evaluate` measure in this process, without MONAI; return the keys as they are measured."""
    from jobs.evaluate import sides, similarity
    from jobs.evaluate.measure import Measurer
    from jobs.evaluate.stream import content_of

    keys: list[str] = []

    def stream(
        items: Any, settings: Any, _: Any, measurer: Any = Measurer
    ) -> Iterator[dict[str, Any]]:
        measuring = measurer(settings)
        for item in items:
            content = content_of(item, settings.kept_as)
            keys.append(content["key"])
            yield measuring.measure(content)

    patch.setattr(sides, "connect", connect_alone)
    patch.setattr(sides, "stream", stream)
    patch.setattr(similarity, "is_available", lambda: False)
    return keys


def values(result: EvaluateResult) -> dict[tuple[str, str], Any]:
    """Return the interval of each figure, by its name and region."""
    return {(one.name, one.region): one.interval for one in result.figures}


def rows_of(result: EvaluateResult) -> list[dict[str, Any]]:
    """Return the figures as they are written."""
    return [figure_row(figure) for figure in result.figures]


def interval_of(result: EvaluateResult, name: str, extractor: str) -> Any:
    """Return the interval of the one figure of this name and extractor."""
    (found,) = (
        one.interval
        for one in result.figures
        if one.name == name and one.extractor.startswith(extractor)
    )
    return found


def _row(
    folder: Path, case_id: str, volume: Volume, *, split: str = "train", stem: str = ""
) -> dict[str, Any]:
    return real(case_id) | {"split": split} | written(folder, stem or case_id, volume)


def _written(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    lake = Lake(folder)
    lake.claim({"kind": kind})
    write_manifest(rows, lake.storage.child(MANIFEST))
    return folder
