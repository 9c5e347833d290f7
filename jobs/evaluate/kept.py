"""What was measured, kept in `features.parquet`: run again, nothing is measured twice."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.evaluate.measure import VECTORS
from manifests.errors import ManifestError
from manifests.read import read_table
from manifests.write import write_table

FEATURES = "features.parquet"

_SECONDS_BETWEEN_WRITES = 60.0
_VECTOR = pa.list_(pa.field("element", pa.float32(), nullable=False))

FEATURES_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("volume", pa.string(), nullable=False),
        pa.field("extractor", pa.string(), nullable=False),
        *(pa.field(name, _VECTOR, nullable=False) for name in VECTORS),
        pa.field("pair", pa.string(), nullable=False),
    ]
)
"""One row a volume and extractor: features of the whole volume and of the lungs alone, the small image
and the histogram of the lungs, and JSON of the figures beside the donor."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of one volume."""

    whole: NDArray[np.float32]
    """(F,) features of the whole volume."""
    lungs: NDArray[np.float32]
    """(F,) features of the lungs alone."""
    thumbnail: NDArray[np.float32]
    """(T,) small image of the lungs."""
    lung_hu: NDArray[np.float32]
    """(B,) shares of `lung_histogram`."""
    pair: Mapping[str, float | None]
    """Figures beside the donor; empty without one."""


class Kept:
    """The measured volumes of a folder.

    Args:
        folder: Holds `features.parquet`, or will.
        extractor: Name of the one that new rows are of.

    Raises:
        ManifestError: The file is torn, or of another version.
    """

    def __init__(self, folder: Path, extractor: str) -> None:
        self._path, self._extractor = folder / FEATURES, extractor
        self._rows: dict[str, dict[str, Any]] = {}
        self._written = time.monotonic()
        if self._path.exists():
            self._rows = {row["key"]: row for row in _rows_of(self._path)}

    def __contains__(self, key: str) -> bool:
        """Tell whether a volume was measured."""
        return key in self._rows

    def __getitem__(self, key: str) -> Measured:
        """Return what was measured of a volume.

        Raises:
            KeyError: Nothing was.
        """
        row = self._rows[key]
        return Measured(**{name: row[name] for name in VECTORS}, pair=json.loads(row["pair"]))

    def add(self, row: Mapping[str, Any], volume: str) -> None:
        """Keep a row of `Measurer.measure`; a file is written once a minute."""
        vectors = {name: np.frombuffer(row[name], np.float32) for name in VECTORS}
        told = {"key": row["key"], "volume": volume, "extractor": self._extractor}
        self._rows[row["key"]] = {**told, **vectors, "pair": row["pair"]}
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the file anew, whole or not at all."""
        rows = [self._rows[key] for key in sorted(self._rows)]
        write_table(pa.Table.from_pylist(rows, schema=FEATURES_SCHEMA), self._path)
        self._written = time.monotonic()


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    try:
        table = read_table(path, FEATURES_SCHEMA)
    except ManifestError as error:
        raise ManifestError(f"{error} Or remove it: all volumes are measured again.") from error
    texts = table.drop_columns(list(VECTORS)).to_pylist()
    for number, row in enumerate(texts):
        # As arrays: a list of Python's floats takes eight times the memory.
        vectors = {name: table[name][number].values.to_numpy() for name in VECTORS}
        yield row | vectors
