"""Parts of sets of volumes, by patient: whose volumes lie in two parts would make them alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def folds_by_patient(
    real: Sequence[str], synthetic: Sequence[str], num_folds: int, *, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the fold of each volume of two sets; a patient's volumes share theirs in both.

    Args:
        real: Patient of each real volume.
        synthetic: Patient of each synthetic volume, its donor's.
        num_folds: Parts; no more than the smaller set has patients.
        seed: Of the shuffle.

    Returns:
        (n,) and (m,) numbers from 0; with fewer than two patients in a set all are 0.
    """
    rng = np.random.default_rng(seed)
    # Those that both sets have come first, so that each part gets its share of both.
    of_real, of_synthetic = set(real), set(synthetic)
    ranked = sorted(of_real | of_synthetic)
    shuffled = [ranked[i] for i in rng.permutation(len(ranked))]
    shuffled.sort(key=lambda name: (name not in of_synthetic, name not in of_real))
    count = max(1, min(num_folds, len(of_real), len(of_synthetic)))
    fold = {name: number % count for number, name in enumerate(shuffled)}
    first, second = (np.array([fold[name] for name in side], np.intp) for side in (real, synthetic))
    return first, second


def halves_by_patient(patients: Sequence[str], *, seed: int) -> NDArray[np.bool_]:
    """Return which volumes lie in the first of two random halves of the patients.

    Args:
        patients: Patient of each volume.
        seed: Another seed, another split.
    """
    names = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(names))
    first = {names[i] for i in order[: len(names) // 2]}
    return np.array([name in first for name in patients], np.bool_)
