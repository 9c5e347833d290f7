"""The training loop, as each Ray Train worker runs it.

newest whole checkpoint, or the first step -> take_step, again and again -> rank 0 keeps the records
"""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from factory.errors import StoreError
from jobs.train.checkpoints import Checkpoint, newest_whole, read_checkpoint
from jobs.train.examples import Examples, examples_of
from jobs.train.feed import feed_of
from jobs.train.outputs import Outputs
from jobs.train.preemption import PreemptionNotice
from jobs.train.run_folder import check_checkpoint, only_writer, warn_in
from jobs.train.settings import LoopSettings
from jobs.train.steps import Training, ddp_options, settle, start_training, take_step
from models.schedule import NoiseSchedule


def train_loop(loop_config: dict[str, LoopSettings]) -> str | None:
    """Train from the newest whole checkpoint, or from the start, to the last step.

    Ray Train starts it again after a worker died, perhaps on another number of workers; a rerun of
    the command does the same.

    Returns:
        None, or why the run cannot go on. It is no error to Ray Train, which would try again what
        can only end alike.
    """
    import ray.train
    import ray.train.torch

    settings = loop_config["settings"]
    context = ray.train.get_context()
    world, rank = context.get_world_size(), context.get_world_rank()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(settings.num_threads)
    with ExitStack() as stack:
        if rank == 0:
            stack.enter_context(only_writer(Path(settings.run_dir)))
        try:
            checkpoint = _newest_for_all(settings, rank)
        except StoreError as error:
            return str(error)
        training = start_training(settings.config, device)
        if checkpoint:
            training.load_state_dict(checkpoint.state())
        training.parallel = ray.train.torch.prepare_model(
            training.model, parallel_strategy_kwargs=ddp_options(settings.config, world)
        )
        try:
            _train(
                settings, training, device, range(rank, settings.config.batch_size, world), world
            )
        except FloatingPointError as error:
            return str(error)
    return None


def _newest_for_all(settings: LoopSettings, rank: int) -> Checkpoint | None:
    """Return the checkpoint that rank 0 found whole, for another might see the folder earlier.

    Raises:
        StoreError: It is not this run's; on all workers alike, for none may wait for one that ended.
    """
    from ray.train.collective import broadcast_from_rank_zero

    run = Path(settings.run_dir)
    found, refusal = _newest(settings) if rank == 0 else (None, None)
    step, refusal = broadcast_from_rank_zero((found.step if found else None, refusal))
    if refusal:
        raise StoreError(refusal)
    return found if rank == 0 or step is None else read_checkpoint(run, step)


def _newest(settings: LoopSettings) -> tuple[Checkpoint | None, str | None]:
    """Return the newest whole checkpoint, and why the run must not go on from it."""
    run = Path(settings.run_dir)
    found = newest_whole(run, partial(warn_in, run))
    try:
        if found:
            check_checkpoint(found, settings.asked)
    except StoreError as error:
        return found, str(error)
    return found, None


def _train(
    settings: LoopSettings, training: Training, device: torch.device, slots: range, world: int
) -> None:
    config = settings.config
    schedule = NoiseSchedule(config.schedule)
    examples = examples_of(settings)
    notice, is_settled = PreemptionNotice(), False
    with ExitStack() as stack:
        feed = stack.enter_context(
            feed_of(config, examples, slots, start=training.step, device=device)
        )
        outputs = None
        if slots.start == 0:
            outputs = stack.enter_context(Outputs(settings, training, schedule, world=world))
        while training.step < config.steps:
            start = time.monotonic()
            batch = feed.next()
            if not is_settled:
                settle(training, config, schedule, batch, world=world)
                is_settled = True
            try:
                taken = take_step(
                    training, config, schedule, batch, world=world, flag=notice.is_due()
                )
            except FloatingPointError as error:
                raise FloatingPointError(_diverged(error, settings, examples, training)) from error
            is_leaving = taken.flagged and notice.is_new()
            if outputs:
                seconds = time.monotonic() - start
                outputs.after_step(taken, seconds=seconds, wait=feed.waited, in_haste=is_leaving)


def _diverged(
    error: FloatingPointError, settings: LoopSettings, examples: Examples, training: Training
) -> str:
    slots = range(settings.config.batch_size)
    indices = [examples.case_index(training.step, slot) for slot in slots]
    cases = ", ".join(settings.training_cases[index].case_id for index in indices)
    return (
        f"run {settings.run_dir}: training stopped at step {training.step + 1}: {error}. The cases of "
        f"its batch: {cases}. Nothing of that step was kept. Lower learning_rate, set max_grad_norm, "
        "or look at those cases, and train under another --out or with --fresh."
    )
