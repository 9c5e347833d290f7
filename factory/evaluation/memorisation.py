"""Whether a generator copies: distances of its volumes to those that it was trained on.

synthetic -> nearest training, nearest held-out     shares that lie closer to training
real      -> nearest synthetic                      who would guess from it what was trained on
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist

from factory.evaluation.intervals import Interval

_ROWS = 256
_DRAWN_AT_MOST = 2000

Features = NDArray[np.floating]
Names = Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest of a set, for each of some vectors."""

    index: NDArray[np.intp]
    """(n,) which one; of no meaning where the distance is infinite."""

    distance: NDArray[np.float64]
    """(n,) Euclidean; infinite where all references are of the query's own name."""

    ratio: NDArray[np.float64]
    """(n,) over the distance to the second nearest: near 0 for a copy, near 1 in a crowd. NaN
    where there is no second one, or it is a copy too."""


def nearest(
    queries: Features, references: Features, *, apart: tuple[Names, Names] | None = None
) -> Neighbours:
    """Return the nearest reference of each query.

    Args:
        queries: (n, d).
        references: (m, d), one or more.
        apart: Names of the queries and of the references: those of one name are not compared, as
            a volume and the patient that it was drawn into.

    Raises:
        ValueError: There is no reference, or the two are of other features.
    """
    if not len(references) or queries.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"features have shapes {queries.shape} and {references.shape}, expected one or more references, "
            "of as many features"
        )
    index, first, second = [], [], []
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        distances = _distances(queries[rows], references, apart and (apart[0][rows], apart[1]))
        index.append(distances.argmin(axis=1))
        ordered = np.partition(distances, min(1, len(references) - 1), axis=1)
        first.append(ordered[:, 0])
        second.append(ordered[:, 1] if len(references) > 1 else np.zeros(len(ordered)))
    distance, beyond = np.concatenate(first), np.concatenate(second)
    has_second = (beyond > 0) & np.isfinite(beyond)
    ratio = np.divide(distance, beyond, out=np.full_like(distance, np.nan), where=has_second)
    return Neighbours(np.concatenate(index), distance, ratio)


def share_closer_to_training(
    synthetic: Features,
    training: Features,
    held_out: Features,
    *,
    apart: tuple[Names, Names] | None = None,
    seed: int = 0,
) -> Interval:
    """Return the share of synthetic volumes whose nearest real one is a training one (DCR share).

    Half of them where nothing is copied. Of the larger real set as many are drawn as the smaller
    one has, for with more of them one is nearer by chance; of any set at most 2,000.

    Args:
        synthetic: (n, d), one or more.
        training: (m, d) of what the generator was trained on, one or more.
        held_out: (k, d) of what it was not, one or more.
        apart: Names of the synthetic and of the training volumes: those of one name are not
            compared, and of the held-out ones as many are left out, at random.
        seed: Of the draw.

    Returns:
        The share, with an interval that is Agresti and Coull's for the synthetic volumes, widened by
        the jackknife over the real ones: the same few of those decide about all the others. A
        bootstrap would not do, for it leaves out the very volume that was copied.

    Raises:
        ValueError: A set is empty.
    """
    if not min(len(synthetic), len(training), len(held_out)):
        raise ValueError(
            f"{len(synthetic)} synthetic, {len(training)} training and {len(held_out)} held-out volumes, "
            "expected one or more of each"
        )
    rng = np.random.default_rng(seed)
    count = min(len(training), len(held_out), _DRAWN_AT_MOST)
    inside, outside = (rng.permutation(len(side))[:count] for side in (training, held_out))
    asked = rng.permutation(len(synthetic))[:_DRAWN_AT_MOST]
    queries = synthetic[asked]
    names = apart and ([apart[0][i] for i in asked], [apart[1][i] for i in inside])
    ours, others = _distances(queries, training[inside], names), cdist(queries, held_out[outside])
    _hide_as_many(ours, others, rng)
    share = _share_closer(ours.min(axis=1), others.min(axis=1))
    eased = (share * len(queries) + 2.0) / (len(queries) + 4.0)
    variance = eased * (1.0 - eased) / (len(queries) + 4.0)
    variance += _jackknife(ours, others.min(axis=1)) + _jackknife(others, ours.min(axis=1))
    half = 1.96 * float(np.sqrt(variance))
    return Interval(share, max(min(eased, share) - half, 0.0), min(max(eased, share) + half, 1.0))


def membership_auc(training_distances: Features, held_out_distances: Features) -> Interval:
    """Return how well nearness to the synthetic set tells training volumes from held-out ones.

    The area under the curve of an attacker who calls those members that have a synthetic volume
    close by: 0.5 is a guess, 1 certainty.

    Args:
        training_distances: (m,) of each training volume to its nearest synthetic one.
        held_out_distances: (k,) of each held-out one.

    Returns:
        The area, with the interval of Hanley and McNeil (Radiology 1982).

    Raises:
        ValueError: A set is empty.
    """
    num_in, num_out = len(training_distances), len(held_out_distances)
    if not num_in or not num_out:
        raise ValueError(
            f"{num_in} training and {num_out} held-out volumes, expected one or more of each"
        )
    ranks = stats.rankdata(-np.concatenate([training_distances, held_out_distances]))
    area = float((ranks[:num_in].sum() - num_in * (num_in + 1) / 2) / (num_in * num_out))
    both_in, both_out = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (num_in - 1) * (both_in - area**2) + (num_out - 1) * (both_out - area**2)
    half = 1.96 * float(np.sqrt(max(variance, 0.0) / (num_in * num_out)))
    return Interval(area, max(area - half, 0.0), min(area + half, 1.0))


def _distances(
    queries: Features, references: Features, apart: tuple[Names, Names] | None
) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = cdist(queries, references)
    if apart:
        distances[np.asarray(apart[0])[:, None] == np.asarray(apart[1])[None]] = np.inf
    return distances


def _hide_as_many(
    ours: NDArray[np.float64], others: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Leave out as many of the others for each query as it is not compared with of ours; in place."""
    for row, num_hidden in zip(others, np.isinf(ours).sum(axis=1), strict=True):
        row[rng.permutation(len(row))[:num_hidden]] = np.inf


def _share_closer(ours: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    # A tie speaks for neither.
    return float((ours < others).mean() + 0.5 * (ours == others).mean())


def _jackknife(distances: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the variance of the share by leaving out one real volume of a side after the other.

    Args:
        distances: (n, m) from each synthetic volume to each of the side.
        others: (n,) to the nearest of the other side.
    """
    count = distances.shape[1]
    if count < 2:
        return 0.25
    owner, (first, second) = distances.argmin(axis=1), np.partition(distances, 1, axis=1)[:, :2].T
    without = [
        _share_closer(np.where(owner == left_out, second, first), others)
        for left_out in range(count)
    ]
    return float((count - 1) * np.var(without))
