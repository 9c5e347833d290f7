"""What a folder was asked for, as its JSON says."""

import json
from pathlib import Path
from typing import Any

from factory.errors import StoreError


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
