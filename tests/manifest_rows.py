"""Rows of a manifest, as tests need them."""

import hashlib


def sha(text: str) -> str:
    """Return 64 hex digits that stand for some voxels."""
    return hashlib.sha256(text.encode()).hexdigest()


def real(case_id: str, **changes: object) -> dict[str, object]:
    """Return the row of a real training case, each of its own patient."""
    row: dict[str, object] = {
        "kind": "real",
        "split": "train",
        "patient_id": f"patient of {case_id}",
        "case_id": case_id,
        "layout_origin": "none",
        "image_uri": f"volumes/{case_id}.ome.zarr",
        "shape": (8, 8, 8),
        "spacing_mm": [2.5, 2.0, 2.0],
        "affine": [-2.0, 0, 0, 90, 0, -2.0, 0, 80, 0, 0, 2.5, -300, 0, 0, 0, 1],
        "image_sha256": sha(case_id),
    }
    return row | changes
