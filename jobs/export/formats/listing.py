"""`volumes.csv`: which file is what, for people and spreadsheets."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from jobs.export.formats.format import Exported, write_bytes

LISTING = "volumes.csv"

_COLUMNS = ("kind", "split", "patient_id", "case_id", "work_id", "layout_origin", "qc_verdict")
_MADE = ("sampler", "steps", "seed", "model_digest")
_DIGITS = 6


def write_listing(out: Path, exported: Sequence[Exported]) -> None:
    """Write a line a volume."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    found = ("num_nodules", "largest_nodule_mm")
    files = ("shape_zyx", "spacing_zyx_mm", "image_sha256")
    writer.writerow(("name", "image", "layout", *_COLUMNS, *found, *_MADE, *files))
    for one in exported:
        nodules = one.row["nodules"]
        largest = max((nodule["diameter_mm"] for nodule in nodules or ()), default=0.0)
        writer.writerow(
            (
                one.name,
                one.record["image"],
                one.record["layout"],
                *(one.row[name] for name in _COLUMNS),
                "" if nodules is None else len(nodules),
                round(largest, _DIGITS) if nodules else "",
                *(one.row[name] for name in _MADE),
                " ".join(map(str, one.record["shape"])),
                " ".join(str(round(mm, _DIGITS)) for mm in one.record["spacing_mm"]),
                one.record["image_sha256"],
            )
        )
    write_bytes(out / LISTING, text.getvalue().encode())
