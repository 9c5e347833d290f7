"""Scores and runs of a downstream task, made up: patients differ, and so do trainings."""

import math
from pathlib import Path

import numpy as np

from factory.segmentation.score import CaseScore, NoduleScore
from factory.segmentation.trials import Trial
from jobs.downstream.results import Run, read_run, write_run


def nodule(diameter_mm=10.0, sensitivity=0.5, found=None):
    """Return the score of a nodule; found where any of it was predicted."""
    return NoduleScore(
        diameter_mm=float(diameter_mm),
        found=sensitivity > 0 if found is None else found,
        sensitivity=float(sensitivity),
    )


def case(patient="p0", number=0, *, dice=0.4, sensitivity=None, nodules=None, num_false=0, **other):
    """Return the score of a case; without nodules where `nodules` is empty."""
    sizes = (nodule(sensitivity=dice),) if nodules is None else tuple(nodules)
    return CaseScore(
        **{
            "case_id": f"{patient}-{number}",
            "patient_id": patient,
            "dice": float(dice),
            "sensitivity": (float(dice) if sensitivity is None else sensitivity)
            if sizes
            else math.nan,
            "specificity": 0.9999,
            "num_nodules": len(sizes),
            "num_found": sum(one.found for one in sizes),
            "num_false": num_false,
            "true_ml": 0.5 * len(sizes),
            "predicted_ml": 0.5,
            "sizes": sizes,
            **other,
        }
    )


def trial(*cases, seed=0, fold=0):
    """Return the test of one training."""
    return Trial(seed=seed, fold=fold, cases=cases)


def save_run(
    folder, cases, *, label="real-1", seed=0, fold=0, num_real=8, num_synthetic=0, **other
) -> Path:
    """Write a run's folder."""
    told = {
        "config": {"network": "AttentionUnet", "steps": 2},
        "digest": "d" * 64,
        "manifest": "mixed.parquet",
        "network": "AttentionUnet",
        "num_parameters": 1234,
        "steps": 2,
        "seconds": 1.5,
        "loss": [1.5, 1.25],
    }
    write_run(
        Path(folder),
        cases,
        label=label,
        seed=seed,
        fold=fold,
        mix={"num_real": num_real, "num_synthetic": num_synthetic},
        **told | other,
    )
    return Path(folder)


def run_of(tmp_path, cases, *, label="real-1", seed=0, fold=0, **other) -> Run:
    """Return a run as it is read from its folder."""
    folder = tmp_path / f"{label}-s{seed}-f{fold}"
    return read_run(save_run(folder, cases, label=label, seed=seed, fold=fold, **other))


def sweep_of(tmp_path, mixes, *, num_patients=24, num_seeds=3, num_folds=1, gain=0.05) -> list[Run]:
    """Return the runs of a made-up sweep: more volumes of either kind give a higher Dice.

    Args:
        tmp_path: Where runs are written.
        mixes: (label, real, synthetic volumes).
        num_patients: Each has one case with one to three nodules; every sixth has none.
        num_seeds: Trainings a mix and fold.
        num_folds: Of the patients.
        gain: Of Dice, of as many synthetic volumes as the first mix has real ones.
    """
    whole = mixes[0][1]
    runs = []
    for label, num_real, num_synthetic in mixes:
        mean = 0.36 - 0.12 * (1 - num_real / whole) + gain * math.sqrt(num_synthetic / whole)
        for seed in range(num_seeds):
            for fold in range(num_folds):
                cases = [
                    _made_up(patient, mean, label, seed)
                    for patient in range(fold, num_patients, num_folds)
                ]
                runs.append(
                    run_of(
                        tmp_path,
                        cases,
                        label=label,
                        seed=seed,
                        fold=fold,
                        num_real=num_real,
                        num_synthetic=num_synthetic,
                    )
                )
    return runs


def _made_up(patient, mean, label, seed):
    of_patient = np.random.default_rng([1, patient])
    of_test = np.random.default_rng([2, patient, seed, *label.encode()])
    of_training = np.random.default_rng([3, seed, *label.encode()])
    num_false = int(of_test.poisson(1.0))
    diameters = of_patient.lognormal(2.1, 0.5, size=int(of_patient.integers(1, 4)))
    if patient % 6 == 5:
        return case(
            f"p{patient:03}",
            dice=math.nan if not num_false else 0.0,
            nodules=(),
            num_false=num_false,
        )
    # Small nodules are missed, whole.
    ease = mean + of_patient.normal(0, 0.18) + of_training.normal(0, 0.01)
    shares = [
        float(np.clip(ease + 0.02 * (size - 9) + of_test.normal(0, 0.06), 0, 0.95))
        for size in diameters
    ]
    dice = float(np.average(shares, weights=diameters**3)) * 0.97
    return case(
        f"p{patient:03}",
        dice=dice,
        sensitivity=float(np.average(shares, weights=diameters**3)),
        nodules=[nodule(size, share) for size, share in zip(diameters, shares, strict=True)],
        num_false=num_false,
        specificity=1.0 - of_test.uniform(0.5e-4, 2e-4),
    )


def cells_of(page, start):
    """Return the cells of each line of a table that begins with a cell."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def of_mix(tmp_path, label, dice, num_real=8, num_synthetic=0, **other):
    """Return a run of a mix that was tested on as many patients as there are Dice."""
    cases = [case(f"p{i}", dice=one) for i, one in enumerate(dice)]
    return run_of(
        tmp_path, cases, label=label, num_real=num_real, num_synthetic=num_synthetic, **other
    )


def one_of(summaries, name, group="all"):
    """Return the one summary of a name and group."""
    (found,) = [one for one in summaries if (one.name, one.group) == (name, group)]
    return found
