"""Which volumes `factory evaluate` found to be copies, as a mix reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.digests import sha256_of_file
from factory.errors import StoreError

COPY = "copy"

_COLUMNS = ["work_id", "verdict"]
_FOUND_AT_MOST = 200


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts of memorisation, of one evaluation or of several."""

    copies: frozenset[str]
    """Work ids of volumes that are copies by any of them."""
    known: frozenset[str]
    """Work ids of volumes that any of them judged; `unknown` is no judgement."""
    digests: dict[str, str]
    """SHA-256 of the files, by their paths."""


def read_judged(files: Sequence[Path]) -> Judged:
    """Read what evaluations say of copies.

    Args:
        files: Each the `memorisation.parquet` of an evaluation, of one set or of several.

    Raises:
        StoreError: A file cannot be read, or is another table.
    """
    verdicts = [row for file in files for row in _rows(file) if None not in row]
    return Judged(
        frozenset(name for name, word in verdicts if word == COPY),
        frozenset(name for name, word in verdicts if word != "unknown"),
        {str(file.absolute()): sha256_of_file(file) for file in files},
    )


def _rows(file: Path) -> list[tuple[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(file)
        fits = all(pa.types.is_string(found.field(name).type) for name in _COLUMNS)
        table = pq.read_table(file, columns=_COLUMNS) if fits else None
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:_FOUND_AT_MOST]
        raise _other(file, reason) from error
    if table is None:
        raise _other(file, "columns of other types")
    return list(zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True))


def _other(file: Path, found: str) -> StoreError:
    return StoreError(
        f"{file}: found {found}; expected the memorisation.parquet of `factory evaluate`, with "
        f"{' and '.join(_COLUMNS)} of each volume. Name that file, or evaluate the lake again."
    )
