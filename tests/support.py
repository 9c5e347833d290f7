"""What tests build: NIfTI files, phantom scans, checkpoints of random weights, stores and lakes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from factory.axes import ijk_from_zyx
from factory.phantom import Phantom, draw_phantom

if TYPE_CHECKING:
    from factory.case import Case
    from factory.ingest.prepare import IngestConfig
    from factory.preprocessing import Preprocessing
    from jobs.cluster import Cluster

SCAN_SIZE = (30, 48, 64)

WriteScan = Callable[..., Phantom]


def save_nifti(path: Path, volume: np.ndarray, affine: np.ndarray) -> Path:
    """Write a (z, y, x) volume as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(ijk_from_zyx(volume), affine), path)
    return path


def write_scan(folder: Path, name: str, seed: int, *, nodule: bool = True) -> Phantom:
    """Write one phantom as NAME_ct, NAME_lung and NAME_nodule."""
    drawn = draw_phantom(seed, size=SCAN_SIZE)
    save_nifti(folder / f"{name}_ct.nii.gz", drawn.ct, drawn.affine)
    save_nifti(folder / f"{name}_lung.nii.gz", drawn.lung.astype(np.uint8), drawn.affine)
    if nodule:
        save_nifti(folder / f"{name}_nodule.nii.gz", drawn.nodule, drawn.affine)
    return drawn


def random_checkpoint(
    path: Path,
    *,
    seed: int,
    grid: int = 16,
    base_channels: int = 16,
    num_steps: int = 20,
    preprocessing: "Preprocessing | None" = None,
) -> Path:
    """Write a checkpoint of a narrow network with random weights, so that every layer counts.

    Args:
        path: Folder to make.
        seed: Of the weights.
        grid: Voxels along each edge.
        base_channels: Of the network.
        num_steps: T of the schedule.
        preprocessing: How it is fed; None writes what checkpoints of the first release say.
    """
    import torch

    from factory.ingest.prepare import IngestConfig
    from models.checkpoint import save_checkpoint
    from models.schedule import NoiseSchedule, ScheduleConfig
    from models.unet3d import UNet3D
    from models.unet3d_config import UNet3DConfig

    torch.manual_seed(seed)
    num_labels = len(preprocessing.labels) if preprocessing else 2
    denoiser = UNet3D(
        UNet3DConfig(
            grid=grid,
            in_channels=1 + num_labels,
            base_channels=base_channels,
            attention_max_size=8,
        )
    )
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    save_checkpoint(
        path,
        denoiser,
        schedule=NoiseSchedule(ScheduleConfig(num_steps=num_steps)),
        preprocessing=preprocessing.as_json()
        if preprocessing
        else {"hu_window": [-1024.0, 600.0], "ingest": asdict(IngestConfig(grid=grid))},
        training={"step": 0},
    )
    return path


def make_case_store(path: Path, num_cases: int, *, grid: int = 16, bare: int = 0) -> Path:
    """Make a case store of phantoms without Ray; the last `bare` cases have no nodule."""
    from factory.ingest.prepare import IngestConfig

    scans = path.with_name(f"{path.name}-scans")
    for seed in range(num_cases):
        write_scan(scans, f"c{seed}", seed, nodule=seed < num_cases - bare)
    return ingest_in_process(scans, path, IngestConfig(grid=grid))


def ingest_in_process(scans: Path, path: Path, config: "IngestConfig") -> Path:
    """Make a case store of a folder of scans without Ray."""
    from factory.ingest.sources import find_cases
    from factory.lake import Lake
    from jobs.ingest import job, task
    from jobs.ingest.publish import publish

    lake = Lake(path)
    split = job._claim(lake, config, None)
    for case in find_cases(scans, None).cases:
        assert task.ingest_case(case, lake.url, config, "made").problem == ""
    publish(lake, split)
    return path


def patient_1011(ct_dir: Path, config: "IngestConfig") -> "Case":
    """Return LIDC-IDRI-1011, who has nodules of 5 to 23 mm, as `ingest` prepares the scan."""
    from factory.ingest.prepare import prepare_case
    from factory.ingest.sources import SourceCase

    scan = f"{ct_dir}/thorax/lidc_1011"
    source = SourceCase(
        case_id="lidc_1011",
        patient_id="lidc_1011",
        ct=f"{scan}_ct.nii.gz",
        lung=(f"{scan}_lung-auto.nii.gz",),
        nodule=(f"{scan}_nodule.nii.gz",),
    )
    return prepare_case(source, config).case


@contextmanager
def connect_alone(address: str | None = None) -> "Iterator[Cluster]":
    """Stand in for `jobs.cluster.connect`: one CPU, and no Ray."""
    from jobs.cluster import Cluster

    yield Cluster(num_cpus=1, num_gpus=0, is_local=True)


def draw_in_process(patch: Any) -> None:
    """Make `generate` draw in this process, one item after the other, with no cluster.

    Args:
        patch: pytest's `monkeypatch`, or a `pytest.MonkeyPatch` of another scope.
    """
    from jobs.generate import job, pool
    from jobs.generate.actor import Sampler

    def stream(settings: Any, todo: list[Any], store: Any, _: Any) -> Iterator[dict[str, Any]]:
        sampler = Sampler(settings)
        for content in pool.contents(todo, store):
            yield sampler.draw(content)

    patch.setattr(job, "connect", connect_alone)
    patch.setattr(pool, "stream", stream)
