"""What the network is told of a layout, and what its checkpoint says of that."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from factory.layouts import LABELS
from factory.preprocessing import Preprocessing
from jobs.train.config import TrainConfig


def told(condition: Tensor, labels: Sequence[str]) -> Tensor:
    """Return the channels of a layout that the network is fed.

    Args:
        condition: (B, 2, D, H, W) lung and nodule, -1 or +1: the loss and the sampler know both.
        labels: Those that the network is told of.

    Returns:
        (B, L, D, H, W).
    """
    if tuple(labels) == tuple(LABELS):
        return condition
    return condition[:, [tuple(LABELS).index(label) for label in labels]]


def preprocessing_of(config: TrainConfig, ingest: Mapping[str, Any]) -> Preprocessing:
    """Return how the cases of a run's model are prepared.

    Whatever the network is told of, lungs and nodules are what it draws: the rest is the reference's.
    """
    everything = tuple(LABELS)
    return Preprocessing(
        hu_window=config.hu_window,
        labels=config.labels,
        drawn=() if config.labels == everything else everything,
        ingest=ingest,
    )


def card_of(config: TrainConfig, ingest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of its preprocessing."""
    found = preprocessing_of(config, ingest).as_json()
    if config.labels != tuple(LABELS):
        return found
    # What is usual is left out: digests of models that were trained before there was a choice stay.
    return {key: found[key] for key in ("hu_window", "ingest")}
