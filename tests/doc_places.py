"""What the pages of the docs take for granted: scans, stores, lakes and models, all of them small."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from dicom_scans import DicomScan, write_dicom_scan
from doc_rehearsal import GRID, compute_in_process, small_config
from lidc_xml import ring, write_lidc_xml
from nodule_crops import write_crops
from published_weights import published_state, random_unet, schedule_buffers, write_published
from support import ingest_in_process, random_checkpoint, write_scan

from factory.ingest.prepare import IngestConfig
from factory.lidc.reads import Contour, LidcReads, Ratings, Reader, ReadNodule
from jobs.amount import Amount
from jobs.downstream.config import DownstreamConfig
from jobs.generate.config import GenerateConfig
from models.unet3d_config import UNet3DConfig

NUM_PATIENTS = 12
"""Of whom two are held out to test, and two more in the validation split."""


class Places:
    """What pages name, made when it is first asked for, and copied into the folder of a page."""

    def __init__(self, made: Path) -> None:
        self._made = made
        made.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, target: Path) -> None:
        """Copy a place under the name that a page has for it.

        Args:
            name: Of one of `BUILDERS`.
            target: Where the page takes it from.
        """
        source = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)

    def path(self, name: str) -> Path:
        """Return a place, made if it is not there yet."""
        path = self._made / name
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch:
                compute_in_process(patch)
                BUILDERS[name](self, path)
        return path


def _scans(_: Places, path: Path) -> None:
    for number in range(NUM_PATIENTS):
        # From 36 on the split's hash holds two out, and 42 is a case that a page names.
        write_scan(path, f"LIDC-IDRI-{number + 36:04d}", number)


def _few_scans(_: Places, path: Path) -> None:
    for number in range(6):
        write_scan(path, f"p{number}", seed=number)


def _cases(places: Places, path: Path) -> None:
    ingest_in_process(places.path("scans"), path, IngestConfig(grid=GRID))


def _model(_: Places, path: Path) -> None:
    random_checkpoint(path, seed=0, grid=GRID)


def _run(places: Places, path: Path) -> None:
    places.put("model", path / "model")


def _lake(places: Places, path: Path) -> None:
    from jobs.generate.job import generate

    config = small_config("generate", GenerateConfig)
    generate(places.path("cases"), places.path("model"), path, Amount(extra=1.0), config)


def _mix(places: Places, path: Path) -> None:
    from jobs.mix import write_mix

    write_mix([places.path("lake")], path, Amount(ratio=0.25))


def _evaluation(places: Places, path: Path) -> None:
    from jobs.evaluate.job import evaluate

    evaluate(str(places.path("cases")), str(places.path("lake")), path)


def _sweep(places: Places, path: Path) -> None:
    from jobs.downstream.sweep.job import sweep
    from jobs.downstream.sweep.mixes import parse_mixes

    mixes = parse_mixes("1", None, extra=True)
    config = small_config("downstream", DownstreamConfig)
    sweep(str(places.path("lake")), path, config, mixes, num_seeds=2, device="cpu")


def _crops(_: Places, path: Path) -> None:
    write_crops(path)


def _published(_: Places, path: Path) -> None:
    config = UNet3DConfig(grid=GRID, base_channels=4, channel_mults=(1, 2))
    write_published(path, published_state(random_unet(config)) | schedule_buffers(4))


def _lidc(_: Places, path: Path) -> None:
    (path / "LIDC-XML-only").mkdir(parents=True)
    for number in range(NUM_PATIENTS):
        name = f"LIDC-IDRI-{number:04d}"
        scan = write_dicom_scan(path / name / "ct", number, patient_id=name)
        write_lidc_xml(path / "LIDC-XML-only" / f"{number}.xml", _read_by_four(scan))


def _read_by_four(scan: DicomScan) -> LidcReads:
    """Return what four readers marked who agree: the largest nodule, as suspicious as can be."""
    labels = scan.stored(scan.drawn.nodule)
    mask = labels == np.bincount(labels[labels > 0]).argmax()
    contours = tuple(
        Contour(
            z_mm=float((scan.stack.affine @ [0, 0, k, 1])[2]),
            sop_uid=scan.files.sop_uids[k],
            inclusion=True,
            edge=ring(rows.min(), columns.min(), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1),
        )
        for k in np.flatnonzero(mask.any(axis=(1, 2)))
        for rows, columns in [np.nonzero(mask[k])]
    )
    read = ReadNodule(nodule_id="n", ratings=Ratings(malignancy=5, texture=5), contours=contours)
    return LidcReads(
        case_id="",
        series_uid=scan.files.series_uid,
        study_uid=scan.files.study_uid,
        readers=(Reader(nodules=(read,)),) * 4,
    )


def _hospital(_: Places, path: Path) -> None:
    for number in range(3):
        write_dicom_scan(path / f"study{number}", number, patient_id=f"MRN{number}")


def _luna(_: Places, path: Path) -> None:
    write_scan(path, _SERIES, _SEED, nodule=False)


def _annotations(_: Places, path: Path) -> None:
    from factory.phantom import draw_phantom

    drawn = draw_phantom(_SEED, size=(30, 48, 64))
    z, y, x = np.argwhere(drawn.nodule > 0).mean(axis=0)
    right, anterior, superior, _one = drawn.affine @ [x, y, z, 1.0]
    path.write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
        f"{_SERIES},{-right},{-anterior},{superior},18.0\n"
    )


_SERIES, _SEED = "1.3.6.1.4.1.14519.5.2.1", 5


def _masks(_: Places, path: Path) -> None:
    with np.load(write_crops(path)) as crops:
        masks, names = crops["mask_percent"] > 50, crops["names"]
    np.savez(path, masks=masks, names=names, spacing_mm=2.0)


def _empty(_: Places, path: Path) -> None:
    path.mkdir()


BUILDERS: Mapping[str, Callable[[Places, Path], None]] = {
    "scans": _scans,
    "few-scans": _few_scans,
    "cases": _cases,
    "model": _model,
    "run": _run,
    "lake": _lake,
    "mix.parquet": _mix,
    "evaluation": _evaluation,
    "sweep": _sweep,
    "crops.npz": _crops,
    "masks.npz": _masks,
    "model.pt": _published,
    "LIDC": _lidc,
    "hospital": _hospital,
    "subset0": _luna,
    "annotations.csv": _annotations,
    "empty": _empty,
}
"""What there is, by name; the rest of a page's names are these under another one."""
