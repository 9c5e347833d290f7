"""What a training worker is told."""

from dataclasses import dataclass
from typing import Any

from jobs.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class StoredCase:
    """Where a case lies."""

    case_id: str
    image_path: str
    """Of its volume, inside the store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopSettings:
    """What a worker needs to know; small and plain, for Ray carries it."""

    config: TrainConfig
    cases_url: str
    training_cases: list[StoredCase]
    validation_cases: list[StoredCase]
    crops_path: str | None
    """Nodules to graft."""
    ingest: dict[str, Any]
    """How the cases were brought to the grid; kept in the checkpoint."""
    asked: dict[str, Any]
    """What `run.json` says; kept in the checkpoint."""
    run_dir: str
    """Where rank 0 writes."""
    notes: dict[str, Any]
    """For the model card."""
    num_threads: int = 1
    """CPU threads of a worker that has no GPU."""
