"""The sets that are compared: rows of manifests or files of a folder, and what of each is measured.

--real       manifest           --> real items, one grid
--synthetic  lake or manifest   --> items, each with its donor
             folder of images   --> items without donors (`foreign`)
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from factory.counted import counted
from factory.digests import digest_json
from factory.errors import UsageError
from factory.lake import Lake
from jobs.evaluate.foreign import find_foreign, ingest_of, is_foreign
from jobs.evaluate.names import REAL
from jobs.lakes import manifest_of
from jobs.readers.rows import name_of, select_rows

FORMAT = 2
"""Of what is measured; raised where the same volume would get other figures."""

_COLUMNS = ("work_id", "case_id", "image_uri", "image_sha256", "layout_sha256", "affine")
_MANIFEST = ".parquet"

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One volume of a set."""

    row: Row
    """Of its manifest, or of a foreign folder: as much as it takes to read it."""
    content: tuple[str, ...]
    """Digests of its voxels, or of the files that they are made from."""
    donor: Row | None
    """Of the scan that it was drawn into, with those very voxels; None for a real one, or where it is
    not there."""
    work_id: str
    """Empty for a real one."""
    case_id: str
    """Of a synthetic one the donor's; empty where nobody was."""
    patient_id: str
    """Of a synthetic one its donor's, by the name that the real set has for it."""
    split: str

    @property
    def name(self) -> str:
        """What a message calls it."""
        return name_of(self.row)

    def key(self, kept_as: str) -> str:
        """Return 32 hex digits over all that changes what is measured of it."""
        donor = self.donor["image_sha256"] if self.donor else None
        return digest_json([FORMAT, kept_as, *self.content, donor])


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenSet:
    """One set, before it is measured."""

    name: str
    place: str
    items: Sequence[Item]
    misfits: Mapping[str, str]
    """Volumes that cannot be measured, and why: on another grid, say. Left out."""
    num_rejected: int = 0
    """Volumes that quality control rejected: no mix takes them, so they are left out."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What its lake's `dataset.json` says; empty where it is no lake."""
    notes: Sequence[str] = ()
    """What a reader of its figures must know of how it came here."""
    is_foreign: bool = False
    """Whether it is a folder of image files."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets that are compared."""

    real: GivenSet
    synthetic: Sequence[GivenSet]
    shape: tuple[int, ...]
    """(z, y, x) of all volumes."""


def find_sets(real: str, synthetic: Mapping[str, str]) -> Sets:
    """Read which volumes are compared.

    Args:
        real: Manifest, or a lake or case store; its real rows count, on the grid that most of them have.
        synthetic: By name, a lake or manifest, whose synthetic rows count, or a folder of image files.
            Donors that `real` has not are looked for in the lake.

    Raises:
        StoreError: A folder is none of these, or is not finished.
        ManifestError: There is no manifest, or it is torn.
        UsageError: A set is empty, or cannot be brought onto the grid.
    """
    rows = _rows(real, REAL)
    shape = _usual_shape(rows)
    items = [_item(row) for row in rows if tuple(row["shape"]) == shape]
    ours = GivenSet(name=REAL, place=real, items=items, misfits=dict(_misfits(rows, shape)))
    sets = [
        _foreign(name, place, rows, shape)
        if is_foreign(place)
        else _drawn(name, place, rows, shape)
        for name, place in synthetic.items()
    ]
    return Sets(ours, sets, shape)


def _drawn(name: str, place: str, real: Sequence[Row], shape: tuple[int, ...]) -> GivenSet:
    others, drawn = _rows(place, REAL, may_be_none=True), _rows(place, "synthetic")
    kept = [row for row in drawn if row["qc_verdict"] != "reject"]
    # By their voxels: another hospital's cases may have the same names.
    scans = {row["image_sha256"]: row for row in [*others, *real] if tuple(row["shape"]) == shape}
    patients = _patients(name, [*others, *drawn], real)
    fitting = [row for row in kept if tuple(row["shape"]) == shape]
    items = [
        _item(row, scans.get(row["reference_sha256"]), patients[row["patient_id"]])
        for row in fitting
    ]
    cases = {row["case_id"] for row in scans.values()}
    return GivenSet(
        name=name,
        place=place,
        items=items,
        misfits=dict(_misfits(kept, shape)),
        num_rejected=len(drawn) - len(kept),
        identity=({} if place.endswith(_MANIFEST) else Lake(place).identity()) or {},
        notes=list(
            _notes(
                sum(item.donor is None and item.case_id in cases for item in items),
                sum(
                    item.patient_id == _other(name, row)
                    for item, row in zip(items, fitting, strict=True)
                ),
            )
        ),
    )


def _patients(name: str, rows: Sequence[Row], real: Sequence[Row]) -> dict[str, str]:
    """Return what the patients of a lake are called among the real ones, by their names in the lake.

    Whoever shares a scan is one of them. Whoever shares the name alone may be another hospital's patient,
    and gets another name: a copy of the real one is not to be taken for a child of its own donor.
    """
    owners = {digest: row["patient_id"] for row in real for digest in _digests(row)}
    found = {
        row["patient_id"]: owners[digest]
        for row in rows
        for digest in _digests(row)
        if digest in owners
    }
    taken = set(owners.values())
    return {
        row["patient_id"]: _other(name, row) if row["patient_id"] in taken else row["patient_id"]
        for row in rows
    } | found


def _other(name: str, row: Row) -> str:
    """Return what a patient of a set is called who is not the real one of that name."""
    return f"{name}: {row['patient_id']}"


def _digests(row: Row) -> set[str]:
    """Return what the scan of a row, or the one that it was drawn into, is known by."""
    scan = row["reference_sha256"] if row["work_id"] else row["image_sha256"]
    return {scan, row["source_sha256"]} - {None, ""}


def _notes(num_cases: int, num_patients: int) -> Iterator[str]:
    if num_cases:
        yield (
            f"without a donor here: {counted(num_cases, 'volume')}; cases of the donors' names are there, but with "
            "other voxels than those drawn into"
        )
    if num_patients:
        yield (
            f"the patients of {counted(num_patients, 'volume')} are called as real ones are, but share no scan with them: "
            "they count as other patients"
        )


def _foreign(name: str, place: str, real: Sequence[Row], shape: tuple[int, ...]) -> GivenSet:
    config = ingest_of((row["image_uri"] for row in real if tuple(row["shape"]) == shape), place)
    if (config.grid,) * 3 != shape:
        raise UsageError(
            f"--synthetic {place}: found a real set of {shape} voxels whose case store says {config.grid}^3; "
            "expected one grid, which image files are brought onto. Give the case store itself as --real."
        )
    found = find_foreign(place, config)
    return GivenSet(
        name=name,
        place=place,
        items=[
            Item(
                row=one.row,
                content=one.content,
                donor=None,
                work_id=one.row["work_id"],
                case_id="",
                # Nobody's scan: of a patient of its own, whatever real ones are called.
                patient_id=f"{name}: {one.row['work_id']}",
                split="",
            )
            for one in found.volumes
        ],
        misfits=found.problems,
        notes=found.notes,
        is_foreign=True,
    )


def _rows(place: str, kind: str, *, may_be_none: bool = False) -> list[dict[str, Any]]:
    manifest = place if place.endswith(_MANIFEST) else manifest_of(place)
    rows: list[dict[str, Any]] = select_rows(manifest, kinds=kind).to_pylist()
    if not rows and not may_be_none:
        raise UsageError(
            f"--{kind} {place}: found no {kind} volume; expected some. Give the "
            + ("case store or a manifest of it." if kind == REAL else "lake that was generated.")
        )
    return rows


def _usual_shape(rows: Sequence[Row]) -> tuple[int, ...]:
    ((shape, _),) = Counter(tuple(row["shape"]) for row in rows).most_common(1)
    return shape


def _misfits(rows: Sequence[Row], shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if tuple(row["shape"]) != shape:
            yield (
                name_of(row),
                f"its grid is {tuple(row['shape'])} voxels; expected {shape}, as most real ones have",
            )


def _item(row: Row, donor: Row | None = None, patient_id: str = "") -> Item:
    return Item(
        row={name: row[name] for name in _COLUMNS},
        content=(row["image_sha256"], row["layout_sha256"]),
        donor={name: donor[name] for name in _COLUMNS} if donor else None,
        work_id=row["work_id"] or "",
        case_id=row["case_id"],
        patient_id=patient_id or row["patient_id"],
        split=row["split"],
    )
