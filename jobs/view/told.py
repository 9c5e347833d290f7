"""What a page tells of a row: plain JSON, its texts without what would read as another."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from jobs.report.markup import printable
from manifests.schema import DESCRIPTION, MANIFEST_SCHEMA

Row = Mapping[str, Any]

_FACTS = (
    ("kind", "kind"),
    ("split", "split"),
    ("case", "case_id"),
    ("patient", "patient_id"),
    ("work id", "work_id"),
    ("layout", "layout_origin"),
    ("seed", "seed"),
    ("sampler", "sampler"),
    ("steps", "steps"),
    ("made", "created_at"),
)


def listed(row: Row) -> dict[str, Any]:
    """Return what a list shows of a row."""
    sizes = [one["diameter_mm"] for one in row["nodules"] or ()]
    nodules = f"{len(sizes)} nodule{'s' * (len(sizes) != 1)}" if row["nodules"] is not None else ""
    largest = f", to {max(sizes):.1f} mm" if sizes else ""
    return {
        "index": row["index"],
        "title": title(row),
        "kind": row["kind"],
        "verdict": row["qc_verdict"],
        "more": f"{row['split']}{', ' if nodules else ''}{nodules}{largest}",
    }


def title(row: Row) -> str:
    """Return what people call a volume."""
    draw = f", draw {row['seed_index']}" if row["kind"] == "synthetic" else ""
    return printable(f"{row['case_id']}{draw}")


def told(row: Row, index: int, donor: int | None) -> dict[str, Any]:
    """Return all that a page shows of a row beside its voxels.

    Args:
        row: Whole.
        index: Its number.
        donor: The number of its donor's row.
    """
    return {
        "index": index,
        "title": title(row),
        "kind": row["kind"],
        "verdict": row["qc_verdict"],
        "donor": donor,
        "reasons": [printable(one) for one in row["qc_reasons"] or ()],
        "notes": [printable(one) for one in row["notes"] or ()],
        "facts": list(_facts(row)),
        "figures": list(_figures(row)),
        "nodules": None if row["nodules"] is None else [_nodule(one) for one in row["nodules"]],
    }


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    for name, column in _FACTS:
        if row[column] is not None:
            yield name, _text(row[column])
    yield "grid", f"{_times(row['shape'])} voxels of {_times(row['spacing_mm'])} mm (z, y, x)"


def _figures(row: Row) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the value and the meaning of each figure of quality control."""
    for field in MANIFEST_SCHEMA:
        value = row[field.name]
        is_figure = field.name.startswith("qc_") and isinstance(value, (bool, int, float))
        if is_figure:
            yield field.name, _text(value), field.metadata[DESCRIPTION].decode()


def _nodule(nodule: Mapping[str, Any]) -> dict[str, Any]:
    center = [float(one) for one in nodule["center_ras_mm"]]
    is_place = len(center) == 3 and all(map(math.isfinite, center))
    known = {
        "readers": nodule["num_readers"],
        "malignancy": nodule["malignancy"],
        "texture": nodule["texture"],
    }
    return {
        "label": nodule["label"],
        "size": f"{nodule['diameter_mm']:.1f} mm",
        "volume": f"{nodule['volume_mm3']:,.0f} mm\u00b3",
        "center": center if is_place else None,
        "read": ", ".join(f"{name} {_text(one)}" for name, one in known.items() if one is not None),
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def _times(values: list[float]) -> str:
    return " \u00d7 ".join(f"{value:.4g}" for value in values)
