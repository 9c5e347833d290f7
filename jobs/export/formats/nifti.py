"""NIfTI: `images/NAME.nii.gz` in HU, `layouts/NAME.nii.gz` beside it, and a list of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jobs.export.formats.format import (
    ENDING,
    LABEL_NAMES,
    About,
    Exported,
    Format,
    Place,
    write_json,
)
from jobs.export.formats.listing import LISTING, write_listing
from jobs.export.given import Item


def _place(item: Item) -> Place:
    return Place(f"images/{item.name}{ENDING}", f"layouts/{item.name}{ENDING}")


def _publish(out: Path, exported: Sequence[Exported], about: About) -> Path:
    write_listing(out, exported)
    counts = Counter((one.row["split"], one.row["kind"]) for one in exported)
    write_json(
        out / "dataset.json",
        {
            "name": about.name,
            "description": about.description,
            "license": about.license,
            "labels": LABEL_NAMES,
            "grid": "the scan's own" if about.native else "the model's",
            "counts": {f"{split} {kind}": count for (split, kind), count in sorted(counts.items())},
            "volumes": LISTING,
            "manifest_sha256": about.manifest_sha256,
            "made_by": about.made_by,
        },
    )
    return out / LISTING


FORMAT = Format(
    name="nifti",
    place=_place,
    publish=_publish,
    next_step=lambda out: "open an image with its layout as overlay, as in ITK-SNAP",
)
