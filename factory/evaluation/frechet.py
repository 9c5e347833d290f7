"""The Fréchet distance between two sets of features, as Gaussians."""

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.moments import Moments


def frechet_distance(one: Moments, other: Moments) -> float:
    """Return the squared Fréchet distance of two Gaussians, which FID is of a network's features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Heusel et al. (NeurIPS 2017), eq. 6. The trace of
    the root is the sum of the singular values of C1^(1/2) C2^(1/2): real and not negative by
    construction, with no offset for covariances that fewer samples than features leave singular.
    Such a covariance biases the distance: give the number of samples beside it.

    Args:
        one: Of at least two vectors.
        other: Of as many features.

    Raises:
        ValueError: They have other features, or too few vectors.
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(
            f"moments have {len(one.mean)} and {len(other.mean)} features, expected one number"
        )
    apart = one.mean - other.mean
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    shared = np.linalg.svd(_root(one.covariance).T @ _root(other.covariance), compute_uv=False)
    return float(max(apart @ apart + traces - 2.0 * shared.sum(), 0.0))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R (d, r) with R R^T the covariance, and r its rank."""
    values, vectors = np.linalg.eigh(covariance)
    # What lies below is of rounding, and its root would not be.
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    root: NDArray[np.float64] = vectors[:, kept] * np.sqrt(values[kept])
    return root
