"""The folder of `factory downstream`: whose it is, and which of its runs are finished.

OUT/downstream.json      what was asked for; a rerun must ask the same
OUT/result.json ...      the run, where the manifest's own split is taken
OUT/runs/fold-N/ ...     a run a fold, with --folds
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.counted import counted
from factory.errors import StoreError
from factory.storage import Storage
from jobs.claims import differences, names_in
from jobs.downstream.claims import (
    CLAIM,
    RUNS,
    SWEEP_FILE,
    read_claim,
    refuse_inside,
)
from jobs.downstream.fit import clear_run
from jobs.downstream.folds import Fold
from jobs.downstream.identity import check_run
from jobs.downstream.plan import RunSpec
from jobs.downstream.results import RESULT, read_run

_OTHERS = ("dataset.json", "run.json", SWEEP_FILE)
"""In the folders of other verbs."""

_WAY_OUT = "Choose another --out, or start anew with --fresh."


def refuse_others(out: Path) -> None:
    """Refuse a folder that no run of this verb made, and one within another's.

    Raises:
        StoreError: It is a file, has files of others, or lies in a sweep or a run.
    """
    if found := [name for name in _OTHERS if (out / name).exists()]:
        raise StoreError(
            f"--out {out}: found {found[0]}, of another verb; expected a run of this one, or a new folder. "
            "Choose another --out."
        )
    refuse_inside(out)
    if out.exists() and not out.is_dir():
        raise StoreError(f"--out {out}: found a file; expected a folder. Choose another --out.")
    names = names_in(out)
    if names and not (out / CLAIM).is_file() and not _results(out):
        raise StoreError(
            f"--out {out}: found {counted(len(names), 'file or folder', 'files or folders')} of no run, as {names[0]}; expected a run, "
            "an empty folder or none. Choose another --out."
        )


def claim(
    out: Path, asked: Mapping[str, Any], specs: Sequence[RunSpec], folds: Sequence[Fold]
) -> None:
    """Make the folder this run's, or refuse with the difference; one without a result is free.

    Args:
        out: The folder; this process holds it.
        asked: What is asked for.
        specs: All runs.
        folds: Of each of them.

    Raises:
        StoreError: It has results that were asked for differently, or results of other runs.
    """
    file, results = out / CLAIM, _results(out)
    if results and file.exists():
        found = read_claim(file, what="run", way_out=_WAY_OUT)
        if changed := differences(found, asked):
            raise StoreError(
                f"run {out}: asked for differently before ({'; '.join(changed)}); expected the same recipe, "
                "manifest, seed and folds. Choose another --out, go back to those of the run, or start anew "
                "with --fresh."
            )
    # --fresh takes no folder without a claim.
    _check_results(specs, folds, _WAY_OUT if file.exists() else "Choose another --out.")
    if strays := sorted({*results} - {Path(spec.out, RESULT) for spec in specs}):
        raise StoreError(
            f"run {out}: found {strays[0].relative_to(out)}, which is not asked for with {_folds(specs)}; expected "
            "the results of its own runs alone. Choose another --out."
        )
    if file.exists() and not results:
        _clear(out)
    if not results or not file.exists():
        Storage(out).write_json(CLAIM, asked)


def is_finished(spec: RunSpec) -> bool:
    """Tell whether a run is there."""
    return Path(spec.out, RESULT).is_file()


def _check_results(specs: Sequence[RunSpec], folds: Sequence[Fold], way_out: str) -> None:
    for spec, fold in zip(specs, folds, strict=True):
        if is_finished(spec):
            train = [*fold.real, *fold.synthetic]
            check_run(read_run(Path(spec.out)), spec, train, fold.test, way_out=way_out)


def _results(out: Path) -> list[Path]:
    found = [out / RESULT, *sorted(out.glob(f"{RUNS}/*/{RESULT}"))]
    return [path for path in found if path.is_file()]


def _folds(specs: Sequence[RunSpec]) -> str:
    return f"--folds {len(specs)}" if len(specs) > 1 else "no --folds"


def _clear(out: Path) -> None:
    """Remove what unfinished runs left: they may have been asked for differently."""
    clear_run(out)
    if (out / RUNS).is_dir():
        shutil.rmtree(out / RUNS)
