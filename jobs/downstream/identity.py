"""What the figures of a run follow from, and whether a finished run is the one that is asked for."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from factory.digests import digest_json
from factory.errors import StoreError
from jobs.claims import differences
from jobs.downstream.config import NOT_IDENTITY, DownstreamConfig
from jobs.downstream.folds import Row
from jobs.downstream.plan import RunSpec
from jobs.downstream.results import Run
from jobs.readers.rows import name_of


def identity_of(config: DownstreamConfig) -> dict[str, Any]:
    """Return the settings that figures depend on, as plain JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return {key: value for key, value in plain.items() if key not in NOT_IDENTITY}


def digest_of(spec: RunSpec, train: Sequence[Row], test: Sequence[Row]) -> str:
    """Return the digest of all that the figures of a run depend on.

    Args:
        spec: The run.
        train: What trains, without what is left out.
        test: What tests, likewise.
    """
    return digest_json(
        {
            "config": identity_of(spec.config),
            "seed": spec.seed,
            "fold": spec.fold,
            "num_folds": spec.num_folds,
            "manifest": spec.manifest_digest,
            "train": [[row["image_sha256"], row["layout_sha256"]] for row in train],
            "test": [[row["image_sha256"], row["layout_sha256"]] for row in test],
        }
    )


def counts_of(train: Sequence[Row]) -> dict[str, int]:
    """Return how many real and synthetic volumes train."""
    num_real = sum(row["kind"] == "real" for row in train)
    return {"num_real": num_real, "num_synthetic": len(train) - num_real}


def check_run(
    run: Run, spec: RunSpec, train: Sequence[Row], test: Sequence[Row], *, way_out: str
) -> None:
    """Refuse a finished run that is not the one that is asked for, with the difference.

    Args:
        run: As its folder has it.
        spec: As it is asked for.
        train: Rows that it was to train on; those that it tells to have left out may be missing.
        test: Rows that it was to test on, likewise.
        way_out: What to do.

    Raises:
        StoreError: It is of other settings, another seed, fold or mix, or other volumes.
    """
    used, tested = (
        [row for row in rows if name_of(row) not in run.left_out] for rows in (train, test)
    )
    changed = differences(_told(run), _asked(spec, used))
    expected = digest_of(spec, used, tested)
    if not changed and run.digest != expected:
        changed = [f"digest of manifest and volumes was {run.digest[:64]}, is {expected}"]
    others = {case.case_id for case in run.cases} ^ {row["case_id"] for row in tested}
    if not changed and others:
        changed = [f"test cases are others, by {len(others)}, as {min(others)[:64]}"]
    if changed:
        raise StoreError(
            f"run {run.folder}: found the result of another run ({'; '.join(changed)[:1000]}); expected the same "
            f"manifest, settings, mix, seed and fold. {way_out}"
        )


def _told(run: Run) -> dict[str, Any]:
    return {
        "config": run.config,
        "label": run.label,
        "seed": run.seed,
        "fold": run.fold,
        "network": run.network,
        "steps": run.steps,
        "mix": run.mix,
    }


def _asked(spec: RunSpec, train: Sequence[Row]) -> dict[str, Any]:
    return {
        "config": identity_of(spec.config),
        "label": spec.label,
        "seed": spec.seed,
        "fold": spec.fold,
        "network": spec.config.network,
        "steps": spec.config.steps,
        "mix": counts_of(train),
    }
