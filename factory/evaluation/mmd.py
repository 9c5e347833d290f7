"""The maximum mean discrepancy between two sets of features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

_ROWS = 256
"""Of the matrix of distances, at once."""

Features = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class GaussianKernel:
    """k(x, y) = exp(-|x - y|^2 / (2 sigma^2))."""

    sigma: float
    """Bandwidth, in units of the features."""

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma < float("inf"):
            raise ValueError(f"sigma is {self.sigma}, expected a length above 0")

    def __str__(self) -> str:
        """Return how a table names it."""
        return f"Gaussian, sigma {self.sigma:.6g}"

    def __call__(self, squared_distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the kernel of squared distances."""
        kernel: NDArray[np.float64] = np.exp(squared_distances / (-2.0 * self.sigma**2))
        return kernel


def median_kernel(reference: Features) -> GaussianKernel:
    """Return the kernel whose sigma^2 is half the median squared distance within a set.

    So exp(-d^2 / median), one of the two common readings of the median heuristic. Taken from the
    real set alone: one kernel then judges every synthetic set, and no model moves its own yardstick.

    Args:
        reference: (n, d) features, at least two of them different.

    Raises:
        ValueError: There are fewer than two vectors, or half of all pairs are the same vector.
    """
    distances = pdist(reference, "sqeuclidean")
    if not distances.size or np.median(distances) <= 0:
        raise ValueError(
            f"{len(reference)} vectors give no bandwidth, expected two or more that mostly differ"
        )
    return GaussianKernel(float(np.sqrt(np.median(distances) / 2.0)))


def mmd_squared(one: Features, other: Features, kernel: GaussianKernel) -> float:
    """Return the unbiased estimate of the squared discrepancy (Gretton et al., JMLR 2012, eq. 3).

    Where both sets are of one distribution its mean is 0, so that it is below 0 about as often as
    above.

    Args:
        one: (n, d) features, two or more.
        other: (m, d) features, two or more.
        kernel: See `median_kernel`.

    Raises:
        ValueError: A set has fewer than two vectors, or the two are of other features.
    """
    if min(len(one), len(other)) < 2 or one.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"features have shapes {one.shape} and {other.shape}, expected two or more vectors each, of "
            "one length"
        )
    within = sum(_mean_off_diagonal(side, kernel) for side in (one, other))
    between = sum(float(kernel(block).sum()) for block in _blocks(one, other))
    return within - 2.0 * between / (len(one) * len(other))


def _mean_off_diagonal(features: Features, kernel: GaussianKernel) -> float:
    count = len(features)
    total = sum(float(kernel(block).sum()) for block in _blocks(features, features))
    return (total - count) / (count * (count - 1))


def _blocks(one: Features, other: Features) -> Iterator[NDArray[np.float64]]:
    """Yield the matrix of squared distances, some rows at a time."""
    for start in range(0, len(one), _ROWS):
        yield cdist(one[start : start + _ROWS], other, "sqeuclidean")
