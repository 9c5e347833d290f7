"""The two sets that are compared: rows of manifests, and what of each is to be measured."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.digests import digest_json
from factory.errors import UsageError
from jobs.lakes import manifest_of
from jobs.readers.rows import name_of, select_rows

FORMAT = 1
"""Of what is measured; raised where the same volume would get other figures."""

_COLUMNS = ("work_id", "case_id", "image_uri", "image_sha256", "layout_sha256")

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One volume of a set."""

    row: Row
    """Of its manifest, as much as it takes to read it."""
    donor: Row | None
    """Of the scan that it was drawn into; None for a real one, or where it is not there."""
    work_id: str
    """Empty for a real one."""
    case_id: str
    patient_id: str
    split: str

    @property
    def name(self) -> str:
        """What a message calls it."""
        return name_of(self.row)

    def key(self, kept_as: str) -> str:
        """Return 32 hex digits over all that changes what is measured of it."""
        told = [self.row["image_sha256"], self.row["layout_sha256"]]
        donor = self.donor["image_sha256"] if self.donor else None
        return digest_json([FORMAT, kept_as, *told, donor])


@dataclass(frozen=True, slots=True)
class Sets:
    """The volumes that are compared."""

    real: Sequence[Item]
    synthetic: Sequence[Item]
    shape: tuple[int, ...]
    """(z, y, x) of all of them."""
    misfits: Mapping[str, str]
    """Volumes on another grid, and which; left out."""
    num_rejected: int
    """Synthetic volumes that quality control rejected: no mix takes them, so they are left out."""


def find_sets(real: str, synthetic: str) -> Sets:
    """Read which volumes are compared.

    Args:
        real: Manifest, or a lake or case store; its real rows count.
        synthetic: Manifest or lake; its synthetic rows count. Donors that `real` has not are
            looked for here.

    Raises:
        StoreError: A folder is neither a lake nor a case store, or is not finished.
        ManifestError: There is no manifest, or it is torn.
        UsageError: A set is empty.
    """
    real_rows, others = _rows(real, "real"), _rows(synthetic, "real", may_be_none=True)
    drawn = _rows(synthetic, "synthetic")
    kept = [row for row in drawn if row["qc_verdict"] != "reject"]
    donors = {row["case_id"]: row for row in [*others, *real_rows]}
    shape, _ = Counter(tuple(row["shape"]) for row in [*real_rows, *kept]).most_common(1)[0]
    misfits = dict(_misfits([*real_rows, *kept], shape))
    fitting = {case: row for case, row in donors.items() if tuple(row["shape"]) == shape}
    items = [
        [_item(row, fitting) for row in rows if tuple(row["shape"]) == shape]
        for rows in (real_rows, kept)
    ]
    return Sets(items[0], items[1], shape, misfits, len(drawn) - len(kept))


def _rows(place: str, kind: str, *, may_be_none: bool = False) -> list[dict[str, Any]]:
    manifest = place if place.endswith(".parquet") else manifest_of(place)
    rows: list[dict[str, Any]] = select_rows(manifest, kinds=kind).to_pylist()
    if not rows and not may_be_none:
        raise UsageError(
            f"--{kind} {place}: found no {kind} volume; expected some. Give the "
            + ("case store or a manifest of it." if kind == "real" else "lake that was generated.")
        )
    return rows


def _misfits(rows: Sequence[Row], shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if tuple(row["shape"]) != shape:
            yield (
                name_of(row),
                f"its grid is {tuple(row['shape'])} voxels; expected {shape}, as most have",
            )


def _item(row: Row, donors: Mapping[str, Row]) -> Item:
    donor = donors.get(row["case_id"]) if row["work_id"] else None
    return Item(
        row={name: row[name] for name in _COLUMNS},
        donor={name: donor[name] for name in _COLUMNS} if donor else None,
        work_id=row["work_id"] or "",
        case_id=row["case_id"],
        patient_id=row["patient_id"],
        split=row["split"],
    )
