"""What a folder was asked for, as its JSON says."""

import json
import os
from pathlib import Path
from typing import Any

from factory.errors import StoreError

CLAIM, SWEEP_FILE, RUNS = "downstream.json", "sweep.json", "runs"
"""In the folder of a run, in that of a sweep, and in either."""


def read_claim(file: Path, *, what: str, way_out: str) -> dict[str, Any]:
    """Return what a folder was asked for.

    Args:
        file: In the folder.
        what: `run`, or `sweep`.
        way_out: What to do where the file is torn.

    Raises:
        StoreError: It is no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        found = str(error)
    if not isinstance(found, dict):
        raise StoreError(
            f"{what} {file.parent}: found a {file.name} that is no JSON object ({str(found)[:100]}); expected "
            f"what a {what} wrote. {way_out}"
        )
    return found


def refuse_inside(out: Path) -> None:
    """Refuse a folder within that of a run or of a sweep, whose runs are its own.

    Raises:
        StoreError: It lies in one.
    """
    for above in Path(os.path.realpath(out)).parents:
        for name in (SWEEP_FILE, CLAIM):
            if (above / name).is_file():
                raise StoreError(
                    f"--out {out}: found {name} in {above}, which it lies in; expected a folder of its own. Choose "
                    "another --out."
                )
