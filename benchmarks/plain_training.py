"""The steps of jobs/train/loop.py without Ray, on processes of one machine."""

import time
from contextlib import ExitStack
from pathlib import Path

import torch
from machine import PeakMemory
from torch.nn.parallel import DistributedDataParallel

from jobs.train.examples import examples_of
from jobs.train.feed import feed_of
from jobs.train.outputs import Outputs
from jobs.train.settings import LoopSettings
from jobs.train.steps import ddp_options, settle, start_training, take_step
from models.schedule import NoiseSchedule


def plain_worker(rank: int, world: int, settings: LoopSettings, device_type: str) -> None:
    """Train as one of `world` processes that torch.multiprocessing has spawned.

    Args:
        rank: Which of them.
        world: How many.
        settings: The run; rank 0 keeps its records, and each leaves its `peak-RANK`.
        device_type: `cpu` or `cuda`.
    """
    device = torch.device(device_type, rank) if device_type == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(settings.num_threads)
    watch = PeakMemory(device)
    watch.start()
    if world > 1:
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{settings.run_dir}/rendezvous",
            rank=rank,
            world_size=world,
        )
    try:
        _train(settings, device, rank, world)
        write_peak(settings, rank, watch)
    finally:
        if world > 1:
            torch.distributed.destroy_process_group()


def write_peak(settings: LoopSettings, rank: int, watch: PeakMemory) -> None:
    """Leave the most memory that a worker had, in GiB, in its run's folder."""
    Path(settings.run_dir, f"peak-{rank}").write_text(str(watch.gib()))


def _train(settings: LoopSettings, device: torch.device, rank: int, world: int) -> None:
    """Take the steps of jobs/train/loop.py, without Ray and without a way back."""
    config, schedule = settings.config, NoiseSchedule(settings.config.schedule)
    training = start_training(config, device)
    if world > 1:
        training.parallel = DistributedDataParallel(
            training.model,
            device_ids=[rank] if device.type == "cuda" else None,
            **ddp_options(config, world),
        )
    examples, slots = examples_of(settings), range(rank, config.batch_size, world)
    with ExitStack() as stack:
        outputs = None
        if rank == 0:
            outputs = stack.enter_context(Outputs(settings, training, schedule, world=world))
        feed = stack.enter_context(feed_of(config, examples, slots, start=0, device=device))
        while training.step < config.steps:
            start = time.monotonic()
            batch = feed.next()
            if training.step == 0:
                settle(training, config, schedule, batch, world=world)
            taken = take_step(training, config, schedule, batch, world=world)
            seconds = time.monotonic() - start
            if outputs:
                outputs.after_step(taken, seconds=seconds, wait=feed.waited, in_haste=False)
