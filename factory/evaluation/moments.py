"""Mean and covariance of features that arrive in parts, from many workers, in any order."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean and scatter of a set of feature vectors; all that a Fréchet distance needs.

    Memory is that of one (d, d) matrix, whatever the number of volumes.
    """

    count: int
    """Vectors."""

    mean: NDArray[np.float64]
    """(d,)"""

    scatter: NDArray[np.float64]
    """(d, d) sum of the outer products of what is left of each vector without the mean."""

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> "Moments":
        """Return the moments of (n, d) feature vectors.

        Raises:
            ValueError: There is none, or a feature is not finite.
        """
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(
                f"features have shape {features.shape}, expected (n, d), none of them 0"
            )
        if not np.isfinite(features).all():
            raise ValueError("a feature is NaN or infinite, expected finite ones")
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both sets together (Chan, Golub and LeVeque, 1983, eq. 2.1).

        Raises:
            ValueError: The two are of different features.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments have {len(self.mean)} and {len(other.mean)} features, expected one number"
            )
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(d, d), unbiased.

        Raises:
            ValueError: Of a single vector there is none.
        """
        if self.count < 2:
            raise ValueError(f"a covariance of {self.count} vector, expected two or more")
        return self.scatter / (self.count - 1)


def merge(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all parts together.

    Raises:
        ValueError: There is no part.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("found no moments to merge, expected one or more")
    return reduce(Moments.merged, parts)
