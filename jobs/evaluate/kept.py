"""What was measured, kept in `features.parquet`: run again, nothing is measured twice.

It is a cache: what in it is torn, or does not fit the extractor, is measured again.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.counted import counted
from factory.evaluation.histograms import NUM_BINS
from factory.evaluation.lung_box import THUMBNAIL
from jobs.console import say
from jobs.evaluate.measure import VECTORS
from manifests.errors import ManifestError
from manifests.read import read_table
from manifests.write import write_table

FEATURES = "features.parquet"
ASIDE = f"{FEATURES}.torn"
"""Where a file goes that cannot be read, beside the new one."""

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
        folder: Holds `features.parquet`, or will. One that is torn, or of another version, is set aside.
        extractor: Name of the one that rows are of; rows of others stay in the file.
        num_features: Of that extractor. Rows of other lengths, or with numbers that are not finite, go.
    """

    def __init__(self, folder: Path, extractor: str, num_features: int) -> None:
        self._path, self._extractor = folder / FEATURES, extractor
        self._written = time.monotonic()
        found = _rows_or_none(self._path) if self._path.exists() else {}
        self._others = {key: row for key, row in found.items() if row["extractor"] != extractor}
        ours = {key: row for key, row in found.items() if key not in self._others}
        self._rows = {key: row for key, row in ours.items() if _fits(row, num_features)}
        if unfit := len(ours) - len(self._rows):
            say(
                f"{self._path}: found {unfit} of {counted(len(ours), 'volume')} with features that are cut off or not finite; "
                f"expected {num_features} numbers each. Those volumes are measured again"
            )

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
        every = self._others | self._rows
        rows = [every[key] for key in sorted(every)]
        write_table(pa.Table.from_pylist(rows, schema=FEATURES_SCHEMA), self._path)
        self._written = time.monotonic()


def _rows_or_none(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file by their keys; of one that cannot be read none, and it is set aside."""
    try:
        return {row["key"]: row for row in _rows_of(path)}
    except ManifestError as error:
        aside = path.with_name(ASIDE)
        path.replace(aside)
        say(f"set aside as {aside}, and all volumes are measured again: {error}")
        return {}


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    table = read_table(path, FEATURES_SCHEMA)
    texts = table.drop_columns(list(VECTORS)).to_pylist()
    for number, row in enumerate(texts):
        # As arrays: a list of Python's floats takes eight times the memory.
        vectors = {name: table[name][number].values.to_numpy() for name in VECTORS}
        yield row | vectors


def _fits(row: Mapping[str, Any], num_features: int) -> bool:
    lengths = {
        "whole": num_features,
        "lungs": num_features,
        "thumbnail": THUMBNAIL**3,
        "lung_hu": NUM_BINS,
    }
    return _is_pair(row["pair"]) and all(
        len(row[name]) == length and bool(np.isfinite(row[name]).all())
        for name, length in lengths.items()
    )


def _is_pair(text: str) -> bool:
    try:
        values = json.loads(text).values()
        return all(value is None or math.isfinite(value) for value in values)
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        # No JSON, no object of figures, or numbers that no float holds.
        return False
