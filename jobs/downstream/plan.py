"""What trains and what tests: real volumes test, and nothing that shares a scan with them trains.

manifest --split, or K folds of patients--> Fold --mix--> RunSpec --resolve, where it runs--> rows
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from factory.errors import StoreError, UsageError
from jobs.downstream.config import HEALTHY, LEFT_OUT, DownstreamConfig
from jobs.downstream.folds import (
    Fold,
    Row,
    fold_of,
    is_unannotated,
    misfits,
    parted,
    rows_of,
    too_few_patients,
)
from jobs.downstream.leaks import refuse_leak, refuse_long_names, refuse_twice
from jobs.lakes import manifest_of
from jobs.readers.rows import select_rows
from manifests.digest import content_digest
from manifests.mix.order import in_mix_order
from manifests.mix.usable import usable_rows

_HELD_OUT = ("in val or test", "of a donor in val or test")
"""Rules of `usable_rows` that are one with folds, which have a split of their own."""

MOST_SEED = 2**63 - 1
"""What a table of whole numbers holds."""


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
    barred: Mapping[str, tuple[int, ...]]
    """Synthetic volumes that may not train, in each fold, by the rule that bars them."""
    num_real: int = 0
    """Of the manifest."""
    num_synthetic: int = 0
    num_unannotated: int = 0
    """Real scans that nobody looked for nodules in."""
    unannotated: str = LEFT_OUT
    """What becomes of them; as in `DownstreamConfig`."""

    @property
    def extra(self) -> float:
        """Synthetic volumes for each real one that every fold has."""
        return min(len(fold.synthetic) / len(fold.real) for fold in self.folds)

    @property
    def grid(self) -> tuple[int, ...]:
        """(z, y, x) voxels of every volume."""
        return tuple(self.folds[0].real[0]["shape"])


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


def make_plan(manifest: str, *, num_folds: int = 1, unannotated: str = LEFT_OUT) -> Plan:
    """Read what a manifest has for training and test.

    Volumes have one grid, the one that most real ones have. A synthetic volume may train where
    `factory mix` would take it, and its donor, as a patient, a case or a scan, is not held out.

    Args:
        manifest: Path or URL of a manifest, or of a lake or case store.
        num_folds: 1 takes the manifest's own split: `train` trains, and `test` tests, or `val` where
            there is no `test`. More are folds of the real patients: each tests once, whatever the
            manifest's split, and the others train.
        unannotated: As in `DownstreamConfig`.

    Raises:
        StoreError: A folder is neither a lake nor a case store, or a scan is in two places that
            may not share it, or has a name that no table of scores holds.
        ManifestError: There is no manifest, or it is torn.
        UsageError: Nothing trains or nothing tests.
    """
    place = manifest if manifest.endswith(".parquet") else manifest_of(manifest)
    table = select_rows(place)
    refuse_twice(place, table)
    every = rows_of(table)
    refuse_long_names(place, every)
    misfit = misfits(every)
    unread = [row for row in every if is_unannotated(row) and row["image_uri"] not in misfit]
    dropped = {*misfit, *(row["image_uri"] for row in unread if unannotated != HEALTHY)}
    which = "with a real scan" if unannotated == HEALTHY else "with an annotated scan"
    on_grid = " on the grid that most scans have" if misfit else ""
    _check_patients(place, every, dropped, num_folds, which + on_grid)
    folds, barred = [], dict[str, list[int]]()
    for number, part in enumerate(parted(place, table, num_folds)):
        # Before any is left out: the children of one that is held out are too.
        usable, rules = usable_rows(part, "review")
        sides = (
            [row for row in rows_of(side) if row["image_uri"] not in dropped]
            for side in (part, in_mix_order(usable, by_diameter=False))
        )
        folds.append(fold_of(*sides, number=number, count=num_folds))
        for rule, count in _as_told(rules, num_folds).items():
            barred.setdefault(rule, []).append(count)
    plan = Plan(
        manifest=place,
        digest=content_digest(table),
        folds=tuple(folds),
        left_out=dict(misfit.values()),
        barred={rule: tuple(counts) for rule, counts in barred.items() if any(counts)},
        num_real=sum(row["kind"] == "real" for row in every),
        num_synthetic=sum(row["kind"] != "real" for row in every),
        num_unannotated=len(unread),
        unannotated=unannotated,
    )
    for fold in folds:
        _check_fold(plan, fold)
    return plan


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

    Raises:
        UsageError: The seed is out of range.
    """
    check_seed(seed)
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


def check_seed(seed: int) -> None:
    """Refuse a seed that no table could hold, before anything is trained.

    Raises:
        UsageError: It is below 0, or above `MOST_SEED`.
    """
    if not 0 <= seed <= MOST_SEED:
        raise UsageError(
            f"seed {seed}: expected a whole number from 0 to {MOST_SEED}. Choose another."
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
    known = {row["image_uri"]: row for row in rows_of(table)}
    if missing := [uri for uri in (*spec.train_ids, *spec.test_ids) if uri not in known]:
        raise StoreError(
            f"{spec.manifest}: found no row of {missing[0]}; expected one, as the run was planned. Run the "
            "command again."
        )
    train, test = ([known[uri] for uri in ids] for ids in (spec.train_ids, spec.test_ids))
    refuse_leak(spec.manifest, train, test)
    return train, test


def _as_told(rules: Mapping[str, int], num_folds: int) -> dict[str, int]:
    """Return how many each rule bars, in words that hold for the folds."""
    if num_folds == 1:
        return dict(rules)
    others = {rule: count for rule, count in rules.items() if rule not in _HELD_OUT}
    return {"whose donor tests": sum(rules.get(rule, 0) for rule in _HELD_OUT)} | others


def _check_patients(
    manifest: str, rows: Iterable[Row], dropped: Collection[str], num_folds: int, which: str
) -> None:
    """Refuse more folds than there are patients with a scan that can test."""
    can_test = {
        row["patient_id"]
        for row in rows
        if row["kind"] == "real" and row["image_uri"] not in dropped
    }
    if num_folds > 1 and len(can_test) < num_folds:
        raise too_few_patients(manifest, num_folds, len(can_test), which)


def _check_fold(plan: Plan, fold: Fold) -> None:
    way_out = "With few patients all of them train: part them with --folds, or ingest more."
    if fold.count > 1:
        way_out = f"Fold {fold.number + 1} of {fold.count} has none: ask for fewer --folds, or ingest more."
    for rows, found in ((fold.real, "training"), (fold.test, "test or validation")):
        if not rows:
            raise UsageError(
                f"{plan.manifest}: found no real {found} volume with a layout{_unread(plan)}; expected one or more. "
                f"{way_out}"
            )
    refuse_leak(plan.manifest, [*fold.real, *fold.synthetic], fold.test)


def _unread(plan: Plan) -> str:
    if not plan.num_unannotated or plan.unannotated == HEALTHY:
        return ""
    return (
        f" ({plan.num_unannotated} of {plan.num_real} real scans are left out, for nobody annotated them; "
        f'[downstream] unannotated = "{HEALTHY}" takes them as free of nodules)'
    )
