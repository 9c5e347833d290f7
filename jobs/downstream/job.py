"""A segmentation network trained on a mix, and tested on real cases that it never saw.

manifest --make_plan--> folds --RunSpec each--> Ray Train workers: fit_and_test --> RUN/ --> summary
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from factory.counted import counted
from factory.segmentation.summary import Summary, summarise
from factory.segmentation.trials import ALL
from jobs.cluster import connect
from jobs.console import say
from jobs.downstream.claims import CLAIM, RUNS
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.folder import claim, is_finished, refuse_others
from jobs.downstream.identity import identity_of
from jobs.downstream.loop import fit_on_workers
from jobs.downstream.networks import check_network, try_without_weights
from jobs.downstream.plan import RunSpec, check_seed, make_plan, make_spec
from jobs.downstream.predictions import PREDICTIONS, write_missing_predictions
from jobs.downstream.results import RESULT, Run, read_run
from jobs.downstream.telling import tell_of
from jobs.train.run_folder import alone, set_aside
from jobs.train.workers import NumWorkers, check_volumes
from manifests.read import is_url

_TOLD = ("dice", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class DownstreamResult:
    """What a training and its test left."""

    path: str
    """`result.json` of the run; with folds, the folder of them."""
    runs: Sequence[Run]
    summaries: Sequence[Summary]
    """Over all folds."""
    extra: float
    """Synthetic volumes for each real one that each fold has for training."""

    def summary(self, name: str) -> Summary | None:
        """Return a figure over all test cases; None where no case has it."""
        found = (one for one in self.summaries if (one.name, one.group) == (name, ALL))
        return next(found, None)

    def told(self) -> str:
        """Return the figures in a sentence, with their 95 % intervals."""
        by_fold = len(self.runs) > 1
        found = {name: one for name in _TOLD if (one := self.summary(name))}
        parts = [
            f"{name} {one.over_folds if by_fold else one.over_patients}"
            for name, one in found.items()
        ]
        num_cases = sum(len(run.cases) for run in self.runs)
        mixes = ", ".join(dict.fromkeys(run.label for run in self.runs))
        return f"{mixes}, {counted(num_cases, 'real test case')}: {', '.join(parts) or 'no figure'}"


def downstream(
    manifest: str,
    out: Path,
    config: DownstreamConfig,
    *,
    seed: int = 0,
    num_folds: int = 1,
    num_workers: NumWorkers | None = None,
    device: str = "auto",
    keep_predictions: bool = False,
    fresh: bool = False,
    ray_address: str | None = None,
) -> DownstreamResult:
    """Train and test a segmentation network; run again, it does what is missing.

    A run that was stopped begins anew, for it takes hours and no checkpoint of it is kept; one that
    is finished stays.

    Args:
        manifest: Path or URL of a manifest, or of a lake or case store.
        out: Folder, made or gone on with; all nodes see it.
        config: How.
        seed: Of the initial weights, the order of the volumes, augmentation and dropout; from 0 to
            `MOST_SEED`.
        num_folds: 1 takes the manifest's own split; more are folds of the real patients.
        num_workers: Ray Train workers, or the fewest and the most; None takes one a GPU, or one.
        device: `auto`, `cpu` or `cuda`.
        keep_predictions: Write the predicted nodules of each test case as NIfTI, of finished runs too.
        fresh: Start anew; what is there is set aside.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: It was asked for differently before, there is too little to train or to test
            on, or a run failed.
        ManifestError: There is no manifest, or it is torn.
    """
    place = manifest if is_url(manifest) else os.path.abspath(manifest)
    out = Path(os.path.abspath(out))
    check_seed(seed)
    refuse_others(out)
    check_volumes(num_workers, config.batch_size, "downstream")
    network = check_network(config)
    plan = make_plan(place, num_folds=num_folds, unannotated=config.unannotated)
    try_without_weights(network, plan.grid)
    tell_of(plan, with_synthetic=any(fold.synthetic for fold in plan.folds))
    asked = {
        "manifest": plan.digest,
        "folds": num_folds,
        "seed": seed,
        "downstream": identity_of(config),
    }
    if fresh and (old := set_aside(out, CLAIM)):
        say(f"downstream: the earlier run is now {old}; remove it when nothing of it is needed")
    specs = [
        make_spec(
            plan,
            fold,
            config,
            out=str(out / RUNS / f"fold-{fold.number}" if num_folds > 1 else out),
            seed=seed,
            keep_predictions=keep_predictions,
        )
        for fold in plan.folds
    ]
    with alone(out):
        claim(out, asked, specs, plan.folds)
        _finish(specs, num_workers, device, ray_address)
        if keep_predictions:
            _predict_missing(specs, device)
    runs = [read_run(Path(spec.out)) for spec in specs]
    path = out if num_folds > 1 else out / RESULT
    summaries = summarise([run.trial for run in runs])
    return DownstreamResult(str(path), runs, summaries, plan.extra)


def _finish(
    specs: Sequence[RunSpec], num_workers: NumWorkers | None, device: str, ray_address: str | None
) -> None:
    """Do the runs that are not there, one after the other."""
    todo = [spec for spec in specs if not is_finished(spec)]
    if len(todo) < len(specs):
        say(f"resuming: {len(specs) - len(todo)} of {counted(len(specs), 'run')} finished")
    if not todo:
        return
    with connect(ray_address) as cluster:
        for spec in todo:
            of_fold = f", fold {spec.fold + 1} of {spec.num_folds}" if spec.num_folds > 1 else ""
            say(
                f"downstream: {spec.label} to train on, {counted(len(spec.test_ids), 'real case')} to test on{of_fold}"
            )
            fit_on_workers(cluster, spec, num_workers, device)


def _predict_missing(specs: Sequence[RunSpec], device: str) -> None:
    """Write what runs that were finished before did not keep."""
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    for spec in specs:
        if count := write_missing_predictions(spec, device="cuda" if on_gpu else "cpu"):
            say(
                f"downstream: predicted {counted(count, 'case')} again, into {Path(spec.out, PREDICTIONS)}"
            )
