"""One volume to its files, as a Ray task runs it.

row --load_volume, checked--> volume --put_back, where native--> .nii.gz, .nii.gz, record
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.axes import spacing_zyx
from factory.digests import digest_json, sha256_of_file, sha256_of_voxels
from factory.errors import CaseError, FactoryError
from factory.layouts import BACKGROUND, LABELS
from factory.native import drawn_labels, grid_in_scan, put_back
from factory.storage import Storage
from factory.volumes import Volume
from jobs.export.nifti_file import write_nifti
from jobs.export.scan import find_scan, refuse_other_voxels
from jobs.readers.rows import load_volume

STATE = ".export"
"""Folder of what the export keeps for itself."""

RECORDS = f"{STATE}/volumes"
"""A record a volume: where its files go, before there are any, and what they are, once they are whole."""

FORMAT = 1
"""Of the files; raised where the same volume would get others."""

WRITTEN, KEPT, LEFT_OUT = "written", "kept", "left out"

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a task is told of a volume."""

    name: str
    row: Row
    donor: Row
    image: str
    """Path of its CT below the folder."""
    layout: str
    """Path of its layout, likewise."""
    source: str = ""
    """File or folder of the scan that it comes from, where it is to be put back."""
    native: bool = False

    @property
    def key(self) -> str:
        """32 hex digits over all that changes a byte of the files."""
        of = [self.row[name] for name in ("image_sha256", "layout_sha256", "affine")]
        back = [self.donor.get(name) for name in ("image_sha256", "source_sha256")]
        return digest_json([FORMAT, self.image, self.layout, *of, back if self.native else None])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a volume ended."""

    state: str
    problem: str = ""
    """Why it was left out."""


def export_volume(work: Work, manifest: str, out: str) -> Outcome:
    """Write the files of one volume, unless they are there; it never raises for a volume."""
    try:
        if finished(work, Path(out)):
            return Outcome(KEPT)
        _export(work, manifest, Path(out))
    except (FactoryError, OSError) as error:
        return Outcome(LEFT_OUT, str(error))
    except Exception as error:
        return Outcome(
            LEFT_OUT,
            f"found {type(error).__name__}; expected a volume that can be written. Check it with factory "
            "verify.",
        )
    return Outcome(WRITTEN)


def finished(work: Work, out: Path) -> dict[str, Any] | None:
    """Return the record of a volume whose files are there as they should be, else None."""
    try:
        record = Storage(out).read_json(record_of(work.name))
        sizes = {path: (out / path).stat().st_size for path in (work.image, work.layout)}
        is_whole = record["key"] == work.key and record["sizes"] == sizes
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(record) if is_whole else None


def record_of(name: str) -> str:
    """Return the path of a volume's record below the folder."""
    return f"{RECORDS}/{name}.json"


def _export(work: Work, manifest: str, out: Path) -> None:
    volume = load_volume(manifest, work.row, verify=True)
    _refuse_strange(work.row, volume)
    if work.native:
        volume = _native(work, manifest, volume)
    storage, paths = Storage(out), {"image": work.image, "layout": work.layout}
    # First where they go: of an export that is killed here no file is left that nobody knows of.
    storage.write_json(record_of(work.name), paths)
    for path, voxels in ((work.image, volume.ct), (work.layout, volume.layout)):
        write_nifti(out / path, voxels, volume.affine, aside=out / STATE)
    record = {
        **paths,
        "key": work.key,
        "sizes": {path: (out / path).stat().st_size for path in (work.image, work.layout)},
        "sha256": {path: sha256_of_file(out / path) for path in (work.image, work.layout)},
        "shape": list(volume.ct.shape),
        "spacing_mm": list(spacing_zyx(volume.affine)),
        "affine": volume.affine.ravel().tolist(),
        "image_sha256": sha256_of_voxels(volume.ct),
        "layout_sha256": sha256_of_voxels(volume.layout),
    }
    storage.write_json(record_of(work.name), record)


def _native(work: Work, manifest: str, volume: Volume) -> Volume:
    """Return a volume in the grid of its scan, of which a real one is the scan itself."""
    case_id, is_real = work.row["case_id"], work.row["kind"] == "real"
    if not work.donor:
        raise CaseError(
            case_id,
            "found no row of the scan in the manifest; expected one that leads to it. Export the lake, or a "
            "mix that has the case.",
        )
    donor = volume if is_real else _donor(work, manifest, volume)
    found = find_scan(work.donor, work.source)
    try:
        grid = grid_in_scan(volume.affine, found.scan.affine, volume.ct.shape)
    except ValueError as error:
        raise CaseError(case_id, f"{error}. Ingest the case again, and draw it again.") from error
    refuse_other_voxels(work.donor, donor.ct, found.scan, grid)
    labels = () if is_real else drawn_labels(volume.ct, donor.ct, volume.layout)
    back = found.as_stored(put_back(found.scan.ct, volume.ct, volume.layout, labels, grid))
    return Volume(ct=back.ct, layout=back.layout, affine=found.affine)


def _donor(work: Work, manifest: str, volume: Volume) -> Volume:
    donor = load_volume(manifest, work.donor, verify=True)
    expected = work.row["reference_sha256"]
    if donor.ct.shape != volume.ct.shape or work.donor["image_sha256"] != expected:
        raise CaseError(
            work.row["case_id"],
            "found a scan other than the one that the volume was drawn into; expected image_sha256 "
            f"{expected}. Export the lake that it was drawn for.",
        )
    return donor


def _refuse_strange(row: Row, volume: Volume) -> None:
    """Refuse what no digest of the row vouches for: labels of nonsense are not passed on."""
    if volume.layout.shape != volume.ct.shape:
        raise CaseError(
            row["case_id"],
            f"found a CT of {volume.ct.shape} voxels with a layout of {volume.layout.shape}; expected both on "
            "one grid. Make the volume again.",
        )
    if (highest := int(volume.layout.max(initial=BACKGROUND))) > max(LABELS.values()):
        raise CaseError(
            row["case_id"],
            f"found label {highest} in the layout; expected 0 to {max(LABELS.values())}. Make the volume again.",
        )
