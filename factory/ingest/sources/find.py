"""From the files of a folder to its cases."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from factory.dicom.tree import Tree, read_tree
from factory.errors import CaseError, FactoryError
from factory.ingest.sources import (
    beside_series,
    by_name,
    luna16,
    lung_ddpm,
    nnunet,
    total_segmentator,
)
from factory.ingest.sources.case import Findings, SourceCase
from factory.ingest.sources.files import Files
from factory.ingest.sources.image_names import is_image

_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LAYOUTS = (nnunet, lung_ddpm, total_segmentator, luna16, by_name)
"""Each takes the files that it knows; the last one knows names alone."""


def find_cases(
    source: Path,
    patients: Mapping[str, str] | None = None,
    *,
    series_folders: Iterable[Path] = (),
    dicom_files: Collection[Path] = (),
    tree: Tree | None = None,
) -> Findings:
    """Find the cases of NIfTI and MetaImage files below a folder.

    Args:
        source: Searched to any depth; hidden folders are left out.
        patients: Patient of each case; a case that is not named is its own patient.
        series_folders: Folders below `source` that hold DICOM series. Masks in or beside them
            are theirs (`Findings.series_masks`), and need no CT among these files.
        dicom_files: Files that are DICOM, and no images whatever they are named.
        tree: Of the folder, where it has been read.

    Raises:
        FactoryError: The folder cannot be read, or holds neither an image nor a series.
    """
    tree = tree or read_tree(source)
    unread = {one.path: one.reason for one in tree.unread if _is_image_file(one.path)}
    images = {path for path in tree.files if is_image(path)}.difference(dicom_files)
    files = sorted(images.union(unread))
    folders = list(series_folders)
    if not files and not folders:
        raise FactoryError(
            f"source {source}: found no .nii or .nii.gz file; expected NAME_ct.nii.gz beside "
            "NAME_lung.nii.gz, or CT/ID.nii.gz with SEG/ID.nii.gz. Point to the folder with the scans."
        )
    found = Files()
    series_masks, rest = beside_series.take(files, folders)
    for layout in _LAYOUTS:
        rest = layout.take(rest, found)
    rejects = [
        *found.rejects,
        *_repeated(found),
        *_without_ct(found),
        *_unusable_names(found),
        *_unread(found, unread),
    ]
    rejected = {reject.case_id for reject in rejects}
    return Findings(
        cases=[
            _source_case(name, found, patients or {})
            for name in sorted(found.cts)
            if name not in rejected
        ],
        rejects=rejects,
        ignored=[*found.ignored, *map(str, rest)],
        files=frozenset(files),
        series_masks=series_masks,
    )


def _is_image_file(path: Path) -> bool:
    return is_image(path) and str(path).isprintable()


def _unread(found: Files, unread: Mapping[Path, str]) -> Iterator[CaseError]:
    """Refuse cases that have a file which nobody can read: without it they would be others."""
    for name in found.cts:
        parts = (found.cts, found.segs, found.lungs, found.nodules)
        files = (file for part in parts for file in part.get(name, ()))
        if bad := next((file for file in files if file in unread), None):
            yield CaseError(
                name, f"found {bad}, which {unread[bad]}. Put the file itself there, or remove it."
            )


def _repeated(found: Files) -> Iterator[CaseError]:
    for kind, files_of in (("CTs", found.cts), ("segmentations", found.segs)):
        for name, files in files_of.items():
            if len(files) > 1:
                yield CaseError(
                    name,
                    f"found {len(files)} {kind} with this id ({', '.join(map(str, files))}); "
                    "expected one. Rename all but one.",
                )


def _without_ct(found: Files) -> Iterator[CaseError]:
    masks: dict[str, Path] = {}
    for files_of in (found.nodules, found.lungs, found.segs):
        masks |= {name: files[0] for name, files in files_of.items() if files}
    for name in sorted(set(masks) - set(found.cts)):
        yield CaseError(
            name,
            f"found the mask {masks[name]} but no CT; expected CT/{name}.nii.gz or "
            f"{name}_ct.nii.gz. Add the CT, or remove the mask.",
        )


def _unusable_names(found: Files) -> Iterator[CaseError]:
    for name, files in found.cts.items():
        if not _CASE_ID.fullmatch(name):
            yield CaseError(
                name,
                f"found an id that cannot name a volume ({files[0]}); expected at most 128 "
                "letters, digits, '.', '_' and '-'. Rename the files.",
            )


def _source_case(name: str, found: Files, patients: Mapping[str, str]) -> SourceCase:
    return SourceCase(
        case_id=name,
        patient_id=patients.get(name, name),
        ct=str(found.cts[name][0]),
        lung=tuple(map(str, found.lungs.get(name, ()))),
        nodule=tuple(map(str, found.nodules.get(name, ()))),
        labels=str(found.segs[name][0]) if found.segs.get(name) else "",
        label_roles=found.roles.get(name, ()),
        notes=tuple(found.notes.get(name, ())),
    )
