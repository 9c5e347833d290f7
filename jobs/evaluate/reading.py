"""Read one volume of a set, wherever it comes from."""

from collections.abc import Mapping
from typing import Any

from factory.volumes import Volume
from jobs.evaluate.foreign import read_foreign
from jobs.readers.rows import load_volume

WHERE = "evaluate"
"""What messages of volumes begin with."""


def read_item(row: Mapping[str, Any]) -> Volume:
    """Read the volume of an item's row, and hold it against its digests.

    Raises:
        StoreError: It cannot be read, or has other voxels than its manifest says.
        CaseError: A file of a foreign set is unusable.
    """
    return read_foreign(row) if "source" in row else load_volume(WHERE, row, verify=True)
