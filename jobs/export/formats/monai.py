"""MONAI: NIfTI files, and `datalist.json` as `load_decathlon_datalist` and Auto3DSeg take it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.console import command_line
from jobs.export.formats.format import (
    ENDING,
    LABEL_NAMES,
    About,
    Exported,
    Format,
    Place,
    unfit_to_learn_from,
    write_json,
)
from jobs.export.given import Item
from jobs.readers.datalist import monai_datalist

LIST = "datalist.json"

_READ_IT = (
    "import sys; from monai.data import load_decathlon_datalist as read; "
    "print(read(sys.argv[1], True, 'training')[:1])"
)
"""Shows that MONAI takes the list, which has nothing to train on where only others were asked for."""

_SECTIONS = {"train": "training", "val": "validation", "test": "test"}


def _place(item: Item) -> Place | str:
    if why := unfit_to_learn_from(item):
        return why
    return Place(f"images/{item.name}{ENDING}", f"labels/{item.name}{ENDING}")


def _publish(out: Path, exported: Sequence[Exported], about: About) -> Path:
    listed: dict[str, list[dict[str, Any]]] = {name: [] for name in _SECTIONS.values()}
    known = {_id(item): item for item in monai_datalist(about.manifest)}
    for one in exported:
        listed[_SECTIONS[one.row["split"]]].append(_entry(known[_id(one.row)], one))
    path = out / LIST
    write_json(
        path,
        {
            "name": about.name,
            "description": about.description,
            "licence": about.license,
            "modality": {"0": "CT"},
            "labels": {str(label): name for name, label in LABEL_NAMES.items()},
            "numTraining": len(listed["training"]),
            "numTest": len(listed["test"]),
            # MONAI reads the first item of a test list, and fails on one that has none.
            **{key: items for key, items in listed.items() if items or key == "training"},
        },
    )
    return path


def _entry(item: Mapping[str, Any], one: Exported) -> dict[str, Any]:
    """Return an item of `monai_datalist` with these files: their paths start at the list's folder."""
    affine = one.record["affine"]
    # MONAI takes every text for a path that may be one, and an empty work id for the folder.
    kept = {key: value for key, value in item.items() if key != "work_id"}
    return {
        "name": one.name,
        **kept,
        "image": one.record["image"],
        "label": one.record["layout"],
        "affine": [affine[start : start + 4] for start in range(0, 16, 4)],
        "image_sha256": one.record["image_sha256"],
    }


def _id(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["case_id"], row["work_id"] or ""


FORMAT = Format(
    name="monai",
    place=_place,
    publish=_publish,
    next_step=lambda out: command_line("python -c", _READ_IT, out / LIST),
)
