"""The volumes of a run that can be read: what is broken is told, and left out on all workers alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from factory.counted import counted
from factory.errors import PassingError, UsageError
from jobs.downstream.examples import Volumes
from jobs.downstream.folds import Row
from jobs.downstream.plan import RunSpec, resolve
from jobs.downstream.workers import Workers
from jobs.readers.rows import name_of


@dataclass(frozen=True, slots=True)
class UsableVolumes:
    """What trains and what tests."""

    train: Sequence[Row]
    test: Sequence[Row]
    left_out: dict[str, str]
    """Volumes that were planned and cannot be used, by name, and why."""


def usable_volumes(
    spec: RunSpec, volumes: Volumes, workers: Workers, tell: Callable[[str], None]
) -> UsableVolumes:
    """Read each volume of a run once; return those that are what the manifest says.

    Args:
        spec: The run.
        volumes: Where they are read, and kept as far as there is room.
        workers: Each of them reads its share; all must call this.
        tell: Is told of each volume that is left out.

    Raises:
        StoreError: The manifest is not what the run was planned on.
        PassingError: A volume can't be read now, and may be later: a run without it would stand for
            good.
        UsageError: Nothing is left to train on or to test on, or nothing that trains has a nodule.
    """
    train, test = resolve(spec)
    share = [*train, *test][workers.rank :: workers.world]
    found = volumes.states_of(share, spec.config.num_loaders)
    states = workers.united(
        {row["image_uri"]: state for row, state in zip(share, found, strict=True)}
    )
    left_out = {}
    for row in (*train, *test):
        state = states[row["image_uri"]]
        if state.may_pass:
            # By all workers alike: they wait for each other.
            raise PassingError(
                f"{spec.manifest}: {name_of(row)}: {state.problem.rstrip('.')}; expected a volume that can be "
                "read. Mend the cause and run the same command again."
            )
        if why := state.problem:
            left_out[name_of(row)] = why
            tell(f"left out: {name_of(row)}: {why}")
    sides = [
        [row for row in rows if not states[row["image_uri"]].problem] for rows in (train, test)
    ]
    first = next((f"; left out: {name}: {why}" for name, why in left_out.items()), "")
    for rows, side in zip(sides, ("training", "test"), strict=True):
        if not rows:
            raise UsageError(
                f"{spec.manifest}: found no usable {side} volume{first}; expected one or more. Mend them, or "
                "give a larger set."
            )
    if not any(states[row["image_uri"]].has_nodule for row in sides[0]):
        raise UsageError(
            f"{spec.manifest}: found no nodule in {counted(len(sides[0]), 'training volume')}{first}; expected some to "
            "learn from. Ingest scans with annotated nodules."
        )
    return UsableVolumes(sides[0], sides[1], left_out)
