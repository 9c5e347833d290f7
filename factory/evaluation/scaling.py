"""The picture of two sets of features in the plane, and how much they share of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

_WITHIN = 5.991
"""Squared Mahalanobis radius that holds 95 % of a Gaussian in the plane (chi-square, 2 degrees)."""

_CELLS = 512
"""Along each edge of the grid that overlaps are counted on."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ellipse:
    """Where 95 % of a set would lie, were it Gaussian."""

    centre: NDArray[np.float64]
    """(2,)"""

    covariance: NDArray[np.float64]
    """(2, 2)"""

    @classmethod
    def of(cls, points: Points) -> "Ellipse":
        """Fit one to (n, 2) points.

        Raises:
            ValueError: There are fewer than three, or they lie on a line.
        """
        if len(points) < 3:
            raise ValueError(f"an ellipse of {len(points)} points, expected three or more")
        covariance = np.cov(points, rowvar=False)
        if np.linalg.matrix_rank(covariance) < 2:
            raise ValueError("the points lie on a line, expected them to spread")
        return cls(points.mean(axis=0), covariance)

    @property
    def area(self) -> float:
        """In squared units of the plane."""
        return float(np.pi * _WITHIN * np.sqrt(np.linalg.det(self.covariance)))

    def holds(self, points: Points) -> NDArray[np.bool_]:
        """Tell which of (n, 2) points lie inside."""
        away = points - self.centre
        squared = np.einsum("ni,ij,nj->n", away, np.linalg.inv(self.covariance), away)
        inside: NDArray[np.bool_] = squared <= _WITHIN
        return inside

    def outline(self, num_points: int = 200) -> Points:
        """Return (n, 2) points of its edge, in order."""
        angles = np.linspace(0.0, 2.0 * np.pi, num_points)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        edge: Points = (
            self.centre + np.sqrt(_WITHIN) * circle @ np.linalg.cholesky(self.covariance).T
        )
        return edge


def classical_scaling(features: NDArray[np.floating]) -> Points:
    """Return (n, 2) points whose distances are as close as can be to those of (n, d) features.

    Classical scaling (Torgerson, 1952): the two largest eigenvectors of the doubly centred squared
    distances. Which side is up is settled by the first point that is far out, so that a set gives
    one picture.
    """
    squared = cdist(features, features, "sqeuclidean")
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-0.5 * centred)
    points: Points = vectors[:, -2:][:, ::-1] * np.sqrt(np.maximum(values[-2:][::-1], 0.0))
    largest = points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])]
    return points * np.where(largest < 0.0, -1.0, 1.0)


def overlap(one: Ellipse, other: Ellipse) -> float:
    """Return the area that two ellipses share, over the area that they cover together.

    Counted on a grid of 512 x 512 cells around both: good to about a hundredth.
    """
    edges = np.concatenate([one.outline(), other.outline()])
    sides = [np.linspace(edges[:, axis].min(), edges[:, axis].max(), _CELLS) for axis in (0, 1)]
    grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    first, second = one.holds(grid), other.holds(grid)
    together = int((first | second).sum())
    return float((first & second).sum() / together) if together else 0.0
