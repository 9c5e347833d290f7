"""What trains and what tests: real volumes test, and nothing that shares a scan with them trains.

manifest --split, or K folds of patients--> Fold --mix--> RunSpec --resolve, where it runs--> rows
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from factory.errors import StoreError, UsageError
from jobs.downstream.config import DownstreamConfig
from jobs.lakes import manifest_of
from jobs.readers.rows import name_of, select_rows
from manifests.mix.order import in_mix_order
from manifests.mix.usable import usable_rows
from manifests.write import content_digest

_ORDER_SALT = "ct-factory downstream v1"
"""Hashed before what is put in order; changing it would change every fold."""

_COLUMNS = (
    *("kind", "work_id", "split", "patient_id", "case_id", "image_uri", "image_sha256"),
    *("layout_sha256", "reference_sha256", "shape", "spacing_mm"),
)

Row = Mapping[str, Any]
"""Of a manifest, as much as it takes to read and to tell of it, with an absolute `image_uri`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One way to part a manifest into what may train and what tests."""

    number: int
    count: int
    """Folds there are; 1 where the manifest's own split is taken."""
    real: tuple[Row, ...]
    """Real volumes that may train. The first n of them are a fair sample of n, and those of n + 1
    hold them: patients follow each other by a hash."""
    synthetic: tuple[Row, ...]
    """Synthetic volumes that may train, in the order in which `factory mix` takes them."""
    test: tuple[Row, ...]
    """Real volumes that test, by case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a manifest has for training and test."""

    manifest: str
    """Path or URL of the manifest."""
    digest: str
    """Of what it says, wherever it lies."""
    folds: tuple[Fold, ...]
    left_out: Mapping[str, str]
    """Volumes that neither train nor test though their split would have them, and why."""
    barred: Mapping[str, int]
    """Synthetic volumes that may not train, over all folds, by the rule that bars them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """One training and its test; small and plain, for Ray carries it."""

    manifest: str
    """Path or URL, as every node sees it."""
    manifest_digest: str
    """As in `Plan`: another manifest of that name is refused."""
    out: str
    """Folder of the run."""
    config: DownstreamConfig
    seed: int
    """Of the initial weights, the order of the volumes, augmentation and dropout."""
    train_ids: tuple[str, ...]
    """`image_uri` of the volumes that train."""
    test_ids: tuple[str, ...]
    """`image_uri` of the real volumes that test."""
    fold: int = 0
    num_folds: int = 1
    """1 where the manifest's own split is taken."""
    label: str = ""
    """What tables call the mix."""
    keep_predictions: bool = False
    """Write the predicted nodules of each test case as NIfTI."""


def make_plan(manifest: str, *, num_folds: int = 1) -> Plan:
    """Read what a manifest has for training and test.

    Volumes have one grid, the one that most real ones have. A synthetic volume may train where
    `factory mix` would take it, and its donor, as a patient, a case or a scan, is not held out.

    Args:
        manifest: Path or URL of a manifest, or of a lake or case store.
        num_folds: 1 takes the manifest's own split: `train` trains, and `test` tests, or `val` where
            there is no `test`. More are folds of the real patients: each tests once, whatever the
            manifest's split, and the others train.

    Raises:
        StoreError: A folder is neither a lake nor a case store, or a scan is in two places that
            may not share it.
        ManifestError: There is no manifest, or it is torn.
        UsageError: Nothing trains or nothing tests.
    """
    place = manifest if manifest.endswith(".parquet") else manifest_of(manifest)
    table = select_rows(place)
    digest = content_digest(table)
    _refuse_twice(place, table)
    misfits = _misfits(_rows(table))
    folds, barred = [], Counter[str]()
    for number, parted in enumerate(_parted(place, table, num_folds)):
        # Before misfits are left out: the children of one that is held out are too.
        usable, rules = usable_rows(parted, "review")
        synthetic = in_mix_order(usable, by_diameter=False)
        sides = (
            [row for row in _rows(side) if row["image_uri"] not in misfits]
            for side in (parted, synthetic)
        )
        folds.append(_fold(*sides, number=number, count=num_folds))
        _check_fold(place, folds[-1])
        barred.update(rules)
    return Plan(
        manifest=place,
        digest=digest,
        folds=tuple(folds),
        left_out=dict(misfits.values()),
        barred={rule: count for rule, count in barred.items() if count},
    )


def make_spec(
    plan: Plan,
    fold: Fold,
    config: DownstreamConfig,
    *,
    out: str,
    seed: int,
    label: str = "",
    train: Iterable[Row] | None = None,
    keep_predictions: bool = False,
) -> RunSpec:
    """Return a run on a fold.

    Args:
        plan: Where the fold is from.
        fold: What may train, and what tests.
        config: How.
        out: Folder of the run.
        seed: Runs of one seed start from the same weights, whatever they train on.
        label: What tables call the mix; empty names it by its counts.
        train: Volumes of the fold that train; None takes all.
        keep_predictions: As in `RunSpec`.
    """
    rows = [*fold.real, *fold.synthetic] if train is None else list(train)
    return RunSpec(
        manifest=plan.manifest,
        manifest_digest=plan.digest,
        out=out,
        config=config,
        seed=seed,
        train_ids=tuple(row["image_uri"] for row in rows),
        test_ids=tuple(row["image_uri"] for row in fold.test),
        fold=fold.number,
        num_folds=fold.count,
        label=label or mix_label(rows),
        keep_predictions=keep_predictions,
    )


def mix_label(rows: Collection[Row]) -> str:
    """Return what tables call a mix: `800R`, or `800R+200S`."""
    num_real = sum(row["kind"] == "real" for row in rows)
    num_synthetic = len(rows) - num_real
    return f"{num_real}R+{num_synthetic}S" if num_synthetic else f"{num_real}R"


def resolve(spec: RunSpec) -> tuple[list[Row], list[Row]]:
    """Return the rows that train and those that test, in the order of the spec.

    Raises:
        StoreError: The manifest is another than the run was planned on, a synthetic volume would
            test, or a volume that trains shares patient, case or scan with one that tests.
        ManifestError: There is no manifest, or it is torn.
    """
    table = select_rows(spec.manifest)
    if content_digest(table) != spec.manifest_digest:
        raise StoreError(
            f"{spec.manifest}: found another manifest than the run was planned on; expected the same. Run "
            "the command again."
        )
    known = {row["image_uri"]: row for row in _rows(table)}
    if missing := [uri for uri in (*spec.train_ids, *spec.test_ids) if uri not in known]:
        raise StoreError(
            f"{spec.manifest}: found no row of {missing[0]}; expected one, as the run was planned. Run the "
            "command again."
        )
    train, test = ([known[uri] for uri in ids] for ids in (spec.train_ids, spec.test_ids))
    _refuse_leak(spec.manifest, train, test)
    return train, test


def _rows(table: pa.Table) -> list[Row]:
    rows: list[Row] = table.select(_COLUMNS).to_pylist()
    return rows


def _refuse_twice(manifest: str, table: pa.Table) -> None:
    """Refuse a volume that has two rows: which of them it is could not be told."""
    real = table.filter(pc.equal(table["kind"], "real"))
    for rows, column in ((table, "image_uri"), (real, "case_id")):
        value, count = next(iter(Counter(rows[column].to_pylist()).most_common(1)), ("", 0))
        if count > 1:
            raise StoreError(
                f"{manifest}: found {column} {value} in {count} rows; expected one. Make the manifest again "
                "with `factory mix`."
            )


def _misfits(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Return, by `image_uri`, what can be used for nothing, by name, and why."""
    grids = Counter(tuple(row["shape"]) for row in rows if row["kind"] == "real")
    grid = grids.most_common(1)[0][0] if grids else ()
    found = {row["image_uri"]: (name_of(row), _misfit(row, grid)) for row in rows}
    return {uri: (name, why) for uri, (name, why) in found.items() if why}


def _misfit(row: Row, grid: tuple[int, ...]) -> str:
    if not row["layout_sha256"]:
        return "it has no layout, which would say where its nodules are"
    if tuple(row["shape"]) != grid:
        return f"its grid is {tuple(row['shape'])} voxels; expected {grid}, as most real ones have"
    return ""


def _parted(manifest: str, table: pa.Table, num_folds: int) -> Iterator[pa.Table]:
    """Yield the table with `train` for what may train and `test` for what tests, fold by fold."""
    splits = table["split"].to_pylist()
    if num_folds == 1:
        held_out = "test" if "test" in _of_real(table, splits) else "val"
        yield _with_split(table, ["test" if one == held_out else one for one in splits])
        return
    patients = table["patient_id"].to_pylist()
    ranked = _in_order(set(_of_real(table, patients)))
    if not 2 <= num_folds <= len(ranked):
        raise UsageError(
            f"--folds {num_folds}: {manifest} has {len(ranked)} patients with real volumes; expected from 2 "
            "to as many folds as patients. Ask for fewer."
        )
    fold_of = {patient: rank % num_folds for rank, patient in enumerate(ranked)}
    for number in range(num_folds):
        tests = [fold_of.get(patient) == number for patient in patients]
        yield _with_split(table, ["test" if one else "train" for one in tests])


def _of_real(table: pa.Table, values: Sequence[str]) -> list[str]:
    kinds = table["kind"].to_pylist()
    return [value for kind, value in zip(kinds, values, strict=True) if kind == "real"]


def _with_split(table: pa.Table, splits: list[str]) -> pa.Table:
    index = table.schema.get_field_index("split")
    return table.set_column(index, table.schema.field("split"), pa.array(splits, pa.string()))


def _fold(rows: Sequence[Row], synthetic: Sequence[Row], *, number: int, count: int) -> Fold:
    real = [row for row in rows if row["kind"] == "real"]
    train, test = ([row for row in real if row["split"] == side] for side in ("train", "test"))
    ranked = _in_order({row["patient_id"] for row in train})
    rank = {patient: place for place, patient in enumerate(ranked)}
    return Fold(
        number=number,
        count=count,
        real=tuple(sorted(train, key=lambda row: (rank[row["patient_id"]], row["case_id"]))),
        synthetic=tuple(synthetic),
        test=tuple(sorted(test, key=lambda row: str(row["case_id"]))),
    )


def _check_fold(manifest: str, fold: Fold) -> None:
    for rows, found in ((fold.real, "training"), (fold.test, "test or validation")):
        if not rows:
            raise UsageError(
                f"{manifest}: found no real {found} volume with a layout; expected one or more. With few "
                "patients all of them train: part them with --folds, or ingest more."
            )
    _refuse_leak(manifest, [*fold.real, *fold.synthetic], fold.test)


def _refuse_leak(manifest: str, train: Sequence[Row], test: Sequence[Row]) -> None:
    if synthetic := [row for row in test if row["kind"] != "real"]:
        raise StoreError(
            f"{manifest}: found {name_of(synthetic[0])}, which is synthetic, among those that test; expected "
            "real ones alone. Make the manifest again."
        )
    for column, what in (("patient_id", "patient"), ("case_id", "case"), ("image_sha256", "scan")):
        held_out = {row[column] for row in test}
        for row in train:
            if row[column] in held_out or (what == "scan" and row["reference_sha256"] in held_out):
                raise StoreError(
                    f"{manifest}: found {name_of(row)} in training, of a {what} that tests; expected none: "
                    "what is trained on can't be tested on. Ingest both scans under one patient "
                    "(--patients), and make the manifest again."
                )


def _in_order(names: Collection[str]) -> list[str]:
    """Return names by a hash: an order that says nothing of them, the same for everyone."""
    return sorted(
        names, key=lambda name: hashlib.sha256(f"{_ORDER_SALT}\0{name}".encode()).digest()
    )
