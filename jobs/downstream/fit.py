"""One run: a network is trained on a mix, and tested on real cases.

rows --read, checked--> examples --take_step--> network --renew_norms--> Segmenter --> score of each test case
"""

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from factory.axes import spacing_zyx
from factory.counted import counted
from factory.errors import CaseError, FactoryError, PassingError, StoreError
from factory.intensity import HuWindow
from factory.segmentation.score import CaseScore, score_case
from jobs.downstream.case_tables import CASES, NODULES
from jobs.downstream.examples import Example, Examples, Volumes
from jobs.downstream.folds import Row
from jobs.downstream.identity import counts_of, digest_of, identity_of
from jobs.downstream.networks import call_of, try_network
from jobs.downstream.plan import RunSpec
from jobs.downstream.predictions import PREDICTIONS, write_prediction
from jobs.downstream.results import RESULT, write_run
from jobs.downstream.segmenter import MODEL, Grid, Segmenter
from jobs.downstream.training import Training, renew_norms, start_training, take_step
from jobs.downstream.usable import UsableVolumes, usable_volumes
from jobs.downstream.workers import ALONE, Workers
from jobs.train.feed import Feed
from jobs.train.run_folder import METRICS, WARNINGS, warn_in

_NORM_VOLUMES = 64
"""Of the mix, those that batch norm's statistics are taken of."""
_POINTS = 1000
"""Of the loss that a result keeps; `metrics.jsonl` has each step."""

# The result first: without it a run is not finished, whatever else is left.
_OF_A_RUN = (RESULT, CASES, NODULES, MODEL, PREDICTIONS, METRICS, WARNINGS)
_UNFINISHED = "*.unfinished"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fit_and_test(spec: RunSpec, *, device: str, workers: Workers = ALONE) -> None:
    """Train and test one run, and write its folder; `result.json` comes last.

    One process does all of it; of several, which must all call this, the first writes. Everything
    follows from the spec: the same one gives the same numbers, on a CPU bit for bit with as many
    threads.

    Args:
        spec: What trains, what tests, and how.
        device: `cpu` or `cuda`, of this process.
        workers: Who trains together.

    Raises:
        FactoryError: The manifest has changed, too few volumes can be read, the network does not
            take them, the loss was not finite, or there is no room to write to.
    """
    with _room_in(Path(spec.out)):
        _fit_and_test(spec, device, workers)


def clear_run(run: Path) -> None:
    """Remove what an earlier run left in its folder, finished or not; what else lies there stays."""
    for path in (*(run / name for name in _OF_A_RUN), *run.glob(_UNFINISHED)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _fit_and_test(spec: RunSpec, device: str, workers: Workers) -> None:
    run, begin = Path(spec.out), time.monotonic()
    tell = _start(run) if workers.rank == 0 else _silent
    config, where = spec.config, torch.device(device)
    call = call_of(config)
    volumes = Volumes(spec.manifest, config.num_cached)
    usable = usable_volumes(spec, volumes, workers, tell)
    training = start_training(call, config, spec.seed, where)
    try_network(training.network, usable.train[0]["shape"])
    training.parallel = workers.prepare(training.network)
    examples = Examples(volumes, usable.train, config, spec.seed)
    losses = _train(spec, training, examples, workers, where)
    if workers.rank:
        return
    num_norms = min(_NORM_VOLUMES, len(usable.train))
    renew_norms(training.network, (examples.plain(number) for number in range(num_norms)))
    segmenter = Segmenter(
        training.network,
        call,
        HuWindow(*config.hu_window),
        Grid.of(usable.train),
        config.precision,
    )
    tell(f"testing on {counted(len(usable.test), 'real case')}")
    scores = [_test(spec, segmenter, volumes, row) for row in usable.test]
    segmenter.save(run / MODEL)
    write_run(
        run,
        scores,
        **_record(spec, usable, training, losses),
        seconds=time.monotonic() - begin,
    )


def _start(run: Path) -> Callable[[str], None]:
    """Make the folder of a run that begins, or begins anew; return what tells the driver."""
    run.mkdir(parents=True, exist_ok=True)
    clear_run(run)
    return lambda text: warn_in(run, text)


def _silent(text: str) -> None:
    """Tell nothing: the first worker does."""


def _train(
    spec: RunSpec,
    training: Training,
    examples: Examples,
    workers: Workers,
    device: torch.device,
) -> list[float]:
    """Take all steps; return the loss of each."""
    config, losses = spec.config, list[float]()
    feed = Feed(
        examples,
        range(workers.rank, config.batch_size, workers.world),
        start=0,
        stop=config.steps,
        num_loaders=config.num_loaders,
        pin=device.type == "cuda",
    )
    with ExitStack() as stack:
        stack.enter_context(feed)
        lines = None
        if workers.rank == 0:
            # Line-buffered: each line is one write.
            path = Path(spec.out, METRICS)
            lines = stack.enter_context(path.open("w", encoding="utf-8", buffering=1))
        while training.step < config.steps:
            begin = time.monotonic()
            try:
                losses.append(take_step(training, config, _next(feed, workers), workers))
            except FloatingPointError as error:
                raise _diverged(spec, examples, training.step, error) from error
            if lines:
                seconds = round(time.monotonic() - begin, 4)
                line = {"step": training.step, "loss": losses[-1], "seconds": seconds}
                lines.write(json.dumps(line) + "\n")
    return losses


def _next(feed: Feed[Example], workers: Workers) -> list[Example]:
    try:
        return feed.next()
    except FactoryError as error:
        if workers.world == 1:
            raise
        # No error that all workers have alike: the others wait for this one, and have to be ended.
        raise RuntimeError(str(error)) from error


def _diverged(spec: RunSpec, examples: Examples, step: int, error: Exception) -> FactoryError:
    rows = [examples.row(step, slot) for slot in range(spec.config.batch_size)]
    return FactoryError(
        f"run {spec.out}: training stopped at step {step + 1}: {error}. The cases of its batch: "
        f"{', '.join(row['case_id'] for row in rows)}. Lower [downstream] learning_rate, set max_grad_norm, "
        "or look at those cases, and run it again."
    )


def _test(spec: RunSpec, segmenter: Segmenter, volumes: Volumes, row: Row) -> CaseScore:
    volume = volumes.read(row)
    try:
        predicted = segmenter(volume.ct)
    except ValueError as error:
        raise CaseError(row["case_id"], f"cannot be tested: {error}.") from error
    if spec.keep_predictions:
        write_prediction(Path(spec.out), row["case_id"], predicted, volume.affine)
    try:
        return score_case(
            predicted,
            volume.layout,
            spacing_zyx(volume.affine),
            case_id=row["case_id"],
            patient_id=row["patient_id"],
        )
    except ValueError as error:
        raise CaseError(row["case_id"], f"cannot be scored: {error}.") from error


@contextmanager
def _room_in(run: Path) -> Iterator[None]:
    """Tell a full disk from what else may fail: training again would not help."""
    try:
        yield
    except PassingError:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StoreError(
            f"run {run}: found no room to write to ({error.strerror}); expected some for its network and "
            "tables. Free some, and run the same command again: it begins anew."
        ) from error


def _record(
    spec: RunSpec, usable: UsableVolumes, training: Training, losses: list[float]
) -> dict[str, Any]:
    """Return what `result.json` says of a run."""
    return {
        "config": identity_of(spec.config),
        "digest": digest_of(spec, usable.train, usable.test),
        "seed": spec.seed,
        "fold": spec.fold,
        "manifest": spec.manifest,
        "label": spec.label,
        "mix": counts_of(usable.train),
        "network": spec.config.network,
        "num_parameters": sum(one.numel() for one in training.network.parameters()),
        "steps": training.step,
        "loss": _thinned(losses),
        "left_out": usable.left_out,
    }


def _thinned(losses: list[float]) -> list[float]:
    """Return the means over equal stretches of the steps, as many as a picture shows."""
    stretch = -(-len(losses) // _POINTS)
    parts = [losses[first : first + stretch] for first in range(0, len(losses), stretch)]
    return [sum(part) / len(part) for part in parts]
