"""nnU-Net v2: a raw dataset, and folds by patient.

imagesTr, labelsTr   real and synthetic volumes of train, real ones of val
imagesTs, labelsTs   real volumes of test
splits_final.json    folds of patients: real scans score, and no child of theirs trains
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from jobs.export.formats.format import (
    ENDING,
    LABEL_NAMES,
    About,
    Exported,
    Format,
    Place,
    unfit_to_learn_from,
    write_json,
)
from jobs.export.formats.listing import write_listing
from jobs.export.given import Item

NUM_FOLDS = 5
"""Those that nnU-Net trains."""

SPLITS = "splits_final.json"

_NAME = re.compile(r"Dataset\d{3}_[A-Za-z0-9_-]+")
_DEFAULT_NAME = "Dataset500_CTFactory"
"""nnU-Net asks for numbers that collide with none of its own datasets."""

_CHANNEL = "_0000"
_SALT = "ct-factory folds v1"

Fold = dict[str, list[str]]


def folds_of(exported: Sequence[Exported]) -> list[Fold]:
    """Return who trains and who scores in each fold; none with fewer than two real patients.

    A fold scores the real volumes of its patients, and trains on all volumes of other patients: a
    synthetic volume of a patient who scores is in neither.

    Args:
        exported: Volumes of imagesTr.
    """
    patients = sorted(
        {one.row["patient_id"] for one in exported if not one.item.is_synthetic}, key=_rank
    )
    count = min(NUM_FOLDS, len(patients))
    if count < 2:
        return []
    fold_of = {patient: number % count for number, patient in enumerate(patients)}
    return [_fold(exported, fold_of, number) for number in range(count)]


def _fold(exported: Sequence[Exported], fold_of: dict[str, int], number: int) -> Fold:
    scored = {patient for patient, fold in fold_of.items() if fold == number}
    return {
        "train": sorted(one.name for one in exported if one.row["patient_id"] not in scored),
        "val": sorted(
            one.name
            for one in exported
            if one.row["patient_id"] in scored and not one.item.is_synthetic
        ),
    }


def _rank(patient: str) -> str:
    """Return what patients are dealt to folds by: it tells nothing of them."""
    return hashlib.sha256(f"{_SALT} {patient}".encode()).hexdigest()


def _place(item: Item) -> Place | str:
    if why := unfit_to_learn_from(item):
        return why
    end = "Ts" if item.row["split"] == "test" else "Tr"
    return Place(f"images{end}/{item.name}{_CHANNEL}{ENDING}", f"labels{end}/{item.name}{ENDING}")


def _publish(out: Path, exported: Sequence[Exported], about: About) -> Path:
    # nnU-Net lists both folders, whether there is a test set or not.
    for folder in ("imagesTr", "labelsTr"):
        (out / folder).mkdir(exist_ok=True)
    training = [one for one in exported if one.row["split"] != "test"]
    write_listing(out, exported)
    if folds := folds_of(training):
        write_json(out / SPLITS, folds)
    else:
        (out / SPLITS).unlink(missing_ok=True)
    path = out / "dataset.json"
    write_json(
        path,
        {
            # `CT` is what makes nnU-Net normalise by HU and not by each image.
            "channel_names": {"0": "CT"},
            "labels": LABEL_NAMES,
            "numTraining": len(training),
            "file_ending": ENDING,
            # Reads oblique scans too, which ITK refuses for the rounding of their axes.
            "overwrite_image_reader_writer": "NibabelIOWithReorient",
            "name": about.name,
            "description": about.description,
            "licence": about.license,
            "manifest_sha256": about.manifest_sha256,
            "made_by": about.made_by,
        },
    )
    return path


def _folder(out: Path) -> Path:
    """Return the folder of the dataset: nnU-Net finds one by its name."""
    return out if _NAME.fullmatch(out.name) else out / _DEFAULT_NAME


def _next_step(out: Path) -> str:
    prepare = f"nnUNetv2_plan_and_preprocess -d {out.name[7:10]} --verify_dataset_integrity"
    if not (out / SPLITS).exists():
        return prepare
    return f'{prepare} && cp {quote(str(out / SPLITS))} "$nnUNet_preprocessed/{out.name}/"'


def _caveat(exported: Sequence[Exported]) -> str:
    """Tell what folds by patient do not hold out, for they are dealt anew after the volumes were drawn; or why there are none."""
    training = [one for one in exported if one.row["split"] != "test"]
    if not folds_of(training):
        return (
            f"no {SPLITS}: folds by patient need real scans of two patients or more. nnU-Net would make its own, "
            "which tear donors from their synthetic volumes; train with -f all, or export more patients"
        )
    if not any(one.item.is_synthetic for one in training):
        return ""
    return (
        "each fold scores scans that the synthetic volumes may know: their model may have been trained on them, "
        "and their nodules pasted elsewhere. Only imagesTs has none of these"
    )


FORMAT = Format(
    name="nnunet",
    place=_place,
    publish=_publish,
    next_step=_next_step,
    folder=_folder,
    caveat=_caveat,
)
