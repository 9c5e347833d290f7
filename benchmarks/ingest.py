"""How fast DICOM series are brought in, and how much memory the driver and its workers take.

python benchmarks/ingest.py --out docs/benchmarks/ingest

Writes synthetic series of phantoms, a file a slice, and takes them through `factory ingest`, then
through the same again, which finds everything there. Each run is a process of its own.
"""

import argparse
import io
import json
import multiprocessing
import os
import platform
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import PeakMemory, command, describe
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from factory.axes import to_orientation
from factory.ingest.prepare import IngestConfig
from factory.phantom import Phantom, draw_phantom

_PATIENTS = 20
"""Phantoms that are drawn; the series take turns with them, each with noise of its own."""

_UID = b"2.25." + b"1" * 34
_HEIGHT = b"+000000.000"
"""Stand in a series' first bytes for what differs from slice to slice; of the same length."""

_SECONDS_BETWEEN_LOOKS = 0.25

Figures = dict[str, float]


def main() -> None:
    """Write the series, bring them in twice, and print the table."""
    arguments = _arguments()
    shape = tuple(arguments.shape)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        written = _apart(_write_all, folder / "scans", arguments.series, shape)
        first = _apart(_ingest, folder, arguments.grid)
        again = _apart(_ingest, folder, arguments.grid)
        few = _apart(_write_all, folder / "few", max(1, arguments.series // 10), shape)
        small = _apart(_ingest, folder, arguments.grid, "few", "few-cases")
    figures = {"written": written, "first": first, "again": again, "few": {**few, **small}}
    page = _page(figures, arguments)
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
        record = {"machine": _machine(), "command": command(), "figures": figures}
        arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--series", type=int, default=1_000)
    add("--shape", type=int, nargs=3, default=(40, 64, 64), help="Slices, rows and columns.")
    add("--grid", type=int, default=32, help="Side of the model grid in voxels.")
    add("--folder", type=Path, help="Where the series are written, and removed again.")
    add("--out", type=Path, help="Where .md and .json go, without a suffix.")
    return parser.parse_args()


def _apart(function: Any, *given: Any) -> Any:
    """Call in a new process: memory that another part has touched would count for this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def _write_all(folder: Path, num_series: int, shape: tuple[int, int, int]) -> Figures:
    phantoms = [draw_phantom(seed, size=shape) for seed in range(min(_PATIENTS, num_series))]
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for index in range(num_series):
        drawn = phantoms[index % len(phantoms)]
        noise = rng.integers(-5, 6, shape, dtype=np.int16)
        _write_series(folder / f"{index:05d}", drawn, drawn.ct + noise, f"patient {index // 2}")
    return {"series": num_series, "seconds": time.perf_counter() - start}


def _write_series(folder: Path, drawn: Phantom, ct: NDArray[np.int16], patient_id: str) -> None:
    """Write a series as scanners do: slices from the feet up, rows from front to back."""
    folder.mkdir(parents=True)
    stored = to_orientation(ct, "SPL")
    z_mm, y_mm, x_mm = drawn.spacing_mm
    right, anterior, superior = (drawn.affine @ [ct.shape[2] - 1, ct.shape[1] - 1, 0, 1])[:3]
    data = _header(patient_id, (y_mm, x_mm), z_mm, stored.shape[1:])
    data.ImagePositionPatient = [f"{-right:.3f}", f"{-anterior:.3f}", _HEIGHT.decode()]
    head = _encoded(data, stored.shape[1:])
    for index, pixels in enumerate(stored):
        uid = _UID[:5] + f"1{random.getrandbits(100):033d}".encode()
        height = f"{superior + index * z_mm:+0{len(_HEIGHT)}.3f}".encode()
        content = (pixels.astype(np.int32) + 1024).astype("<u2").tobytes()
        whole = head.replace(_UID, uid).replace(_HEIGHT, height) + content
        (folder / f"{index:04d}.dcm").write_bytes(whole)


def _encoded(data: Dataset, size: tuple[int, ...]) -> bytes:
    """Return a file up to its pixels: pydicom takes milliseconds for each, and there are many."""
    num_bytes = 2 * size[0] * size[1]
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = _UID.decode()
    data.PixelData = bytes(num_bytes)
    with io.BytesIO() as file:
        data.save_as(file, enforce_file_format=True)
        return file.getvalue()[:-num_bytes]


def _header(
    patient_id: str, pixel_mm: tuple[float, float], slice_mm: float, size: tuple[int, ...]
) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.PatientID, data.PatientName = patient_id, "Phantom^Of Nobody"
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(None), generate_uid(None)
    data.FrameOfReferenceUID = generate_uid(None)
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [f"{edge:.4f}" for edge in pixel_mm]
    data.SliceThickness = f"{slice_mm:.4f}"
    data.Rows, data.Columns = size
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = "1", "-1024"
    return data


def _ingest(folder: Path, grid: int, scans: str = "scans", cases: str = "cases") -> Figures:
    from jobs.ingest.job import ingest

    driver = PeakMemory(torch.device("cpu"))
    driver.start()
    start = time.perf_counter()
    with _worker_peaks() as peaks:
        result = ingest(folder / scans, folder / cases, IngestConfig(grid=grid))
    return {
        "seconds": time.perf_counter() - start,
        "cases": result.num_cases,
        "driver_mib": driver.gib() * 1024,
        "worker_mib": max(peaks.values(), default=0.0),
        "workers": len(peaks),
    }


@contextmanager
def _worker_peaks() -> Iterator[dict[str, float]]:
    """Watch Ray's worker processes; gives the peak of each one's resident memory, in MiB."""
    peaks: dict[str, float] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_SECONDS_BETWEEN_LOOKS):
            peaks.update(_resident_peaks())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()


def _resident_peaks() -> Iterator[tuple[str, float]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            works = (process / "cmdline").read_bytes().startswith(b"ray::")
            found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
        except OSError:
            continue
        if works and found:
            yield process.name, int(found[1]) / 1024


def _page(figures: dict[str, Figures], given: argparse.Namespace) -> str:
    first, again, few = figures["first"], figures["again"], figures["few"]
    slices, rows, columns = given.shape
    grown = first["driver_mib"] - few["driver_mib"]
    return (
        "# Ingest of DICOM series\n\n"
        f"`{command()}`\n\n"
        f"{_machine()}. {given.series:,} series of {columns}x{rows}x{slices}, a file a slice, to a grid of "
        f"{given.grid}^3; lungs segmented; a local disk. Headers are read by the driver, series by one "
        "worker a core. Ray's start is in the seconds.\n\n"
        "| | seconds | series a second | driver's peak MiB | largest worker's peak MiB |\n"
        "|---|---|---|---|---|\n"
        f"{_row('first run', first, given.series)}"
        f"{_row('the same again: all are there', again, given.series)}"
        f"{_row('a tenth of them', few, few['series'])}\n"
        f"The driver's memory grows by {grown / (given.series - few['series']) * 1024:.0f} KiB a series: "
        "the headers, and the names of the files.\n"
    )


def _row(name: str, found: Figures, num_series: float) -> str:
    return (
        f"| {name} | {found['seconds']:.0f} | {num_series / found['seconds']:.1f} | "
        f"{found['driver_mib']:.0f} | {found['worker_mib']:.0f} |\n"
    )


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "pydicom"))
    name = describe(torch.device("cpu")).split(",")[0].split(" of ")[-1]
    return f"{os.cpu_count()} cores of {name}, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
