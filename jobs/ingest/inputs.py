"""Everything that a source holds: what is to be a case, and what is not and why.

SOURCE --read_tree--> files --find_series--> DICOM series --tags--> inputs
                            --find_cases---> NIfTI, MetaImage ----> inputs, refused, left out
"""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from factory.axes import Triple
from factory.dicom.choose import THINNEST, choose_series
from factory.dicom.find import find_series, is_named_dicom
from factory.dicom.series import SeriesFindings
from factory.dicom.tree import Tree, read_tree
from factory.errors import FactoryError
from factory.ingest.dicom_cases import (
    DicomCases,
    NoCase,
    SeriesCase,
    dicom_cases,
    find_xml,
)
from factory.ingest.points import Points, points_of, read_points
from factory.ingest.size import declared_size
from factory.ingest.sources import Findings, SourceCase, find_cases, read_patients
from factory.ingest.tags import Tags
from jobs.ingest.no_case import Aside, named_by, of_ignored, of_no_case, of_reject, place_of

DEFAULT_RULE = THINNEST


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A scan that is to become a case."""

    source: SourceCase
    place: str
    """Its file, or the folder of its series, for people at the terminal."""
    shape: tuple[int, ...]
    """Voxels (z, y, x), or slices, rows and columns, as the header declares them; empty if unknown."""
    spacing_mm: Triple | None
    """Voxel size in the order of `shape`."""

    @property
    def num_voxels(self) -> int:
        """Voxels that the header declares."""
        num = 1 if self.shape else 0
        for length in self.shape:
            num *= length
        return num


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What a source holds."""

    cases: list[Input]
    refused: list[Aside]
    """Broken; for the quarantine."""
    left_out: list[Aside]
    """Sound, or no scan, and left out by rule."""
    paths: dict[str, str] = field(default_factory=dict)
    """Absolute path of each tag."""
    unmatched_points: int = 0
    """Names in the table of points that no case has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a user says of a source."""

    rule: str = DEFAULT_RULE
    """Which series of a study become cases; see `choose_series`."""
    patients: dict[str, str] = field(default_factory=dict)
    """Patient of each case."""
    points: Points = field(default_factory=dict)
    """Nodules by the name of a series or case."""

    @classmethod
    def read(cls, rule: str, patients: Path | None, points: Path | None) -> "Asked":
        """Read the tables.

        Raises:
            FactoryError: A table is none.
        """
        return cls(
            rule=rule,
            patients=read_patients(patients) if patients else {},
            points=read_points(points) if points else {},
        )


def gather(source: Path, asked: Asked, open_tags: Callable[[], Tags]) -> tuple[Inputs, Tags | None]:
    """Find everything below a folder; each file is told of once.

    Args:
        source: Searched to any depth; hidden files and folders are left out.
        asked: What the user says of it.
        open_tags: Called where there are DICOM files, for names that tell nothing of patients.

    Returns:
        The inputs, and the names; None where nothing of DICOM is there.

    Raises:
        FactoryError: The folder cannot be read, or holds nothing that is read here.
        UsageError: The rule is none, or there is nowhere to keep a key.
    """
    tree = read_tree(source)
    found = find_series(source, tree)
    tags = open_tags() if _holds_dicom(found) else None
    images = _images(source, tree, found, asked.patients)
    # Of an image file that nobody can read its case tells.
    unread = tuple(one for one in found.unread if images.files.isdisjoint(one.paths))
    found = replace(found, unread=unread)
    series = _dicom_cases(tree, found, images, tags, asked)
    return _inputs(source, series, images, tags, asked), tags


def _inputs(
    source: Path, series: DicomCases, images: Findings, tags: Tags | None, asked: Asked
) -> Inputs:
    cases = [*map(_of_series, series.cases), *map(_of_image, images.cases)]
    cases, num_unmatched = _with_points(cases, asked.points)
    aside = [of_no_case(one, tags) for one in series.rest]
    broken = [one.broken for one in series.rest]
    return Inputs(
        cases=cases,
        refused=[
            *itertools.compress(aside, broken),
            *(of_reject(error, source, tags) for error in images.rejects),
        ],
        left_out=[
            *itertools.compress(aside, (not one for one in broken)),
            *of_ignored(images.ignored, tags),
        ],
        paths=_paths(source, series, images, tags) if tags else {},
        unmatched_points=num_unmatched,
    )


def _holds_dicom(found: SeriesFindings) -> bool:
    named = any(is_named_dicom(path) for one in found.unread for path in one.paths)
    return bool(found.series or found.annotations or found.left_out or named)


def _dicom_cases(
    tree: Tree, found: SeriesFindings, images: Findings, tags: Tags | None, asked: Asked
) -> DicomCases:
    if tags is None:
        # For a rule that is none, or names a series: there is none to name.
        choose_series(found.series, asked.rule)
        rest = [
            NoCase(paths=left.paths, reason=left.reason, broken=left.broken)
            for left in found.unread
        ]
        return DicomCases(cases=[], rest=rest)
    dicom = found.files
    return dicom_cases(
        found,
        tags,
        asked.rule,
        masks=images.series_masks,
        xml_files=find_xml(path for path in tree.files if path not in dicom),
        patients=asked.patients,
    )


def _images(source: Path, tree: Tree, found: SeriesFindings, patients: dict[str, str]) -> Findings:
    """Find cases of NIfTI and MetaImage files; a source of DICOM files alone has none."""
    folders = sorted({path.parent for series in found.series for path in series.paths})
    try:
        return find_cases(
            source, patients, series_folders=folders, dicom_files=found.files, tree=tree
        )
    except FactoryError as error:
        if found.series or found.left_out or found.annotations or found.unread:
            # Files that are no case, each of which will be told with its reason.
            return Findings(cases=[], rejects=[], ignored=[], files=frozenset())
        raise FactoryError(
            f"source {source}: found no scan; expected DICOM CT series, or NIfTI (.nii, .nii.gz) or "
            "MetaImage (.mhd, .mha) files that are named by one of the layouts of docs/ingest.md, as "
            "NAME_ct.nii.gz with NAME_lung.nii.gz. Point to the folder with the scans."
        ) from error


def _of_series(found: SeriesCase) -> Input:
    series = found.series
    return Input(
        source=found.source,
        place=str(found.folder),
        shape=series.shape,
        spacing_mm=series.spacing_mm,
    )


def _of_image(source: SourceCase) -> Input:
    shape, spacing_mm = declared_size(source.ct)
    return Input(source=source, place=source.ct, shape=shape, spacing_mm=spacing_mm)


def _with_points(cases: list[Input], points: Points) -> tuple[list[Input], int]:
    """Give each case its points; return also how many names in the table are no case's."""
    given, used = [], set()
    for one in cases:
        name, own = points_of(one.source, points)
        used.add(name)
        given.append(replace(one, source=replace(one.source, points=own)) if own else one)
    return given, len(points.keys() - used)


def _paths(source: Path, series: DicomCases, images: Findings, tags: Tags) -> dict[str, str]:
    paths = {case.source.case_id: os.path.abspath(case.folder) for case in series.cases}
    paths |= {tags.file(place): place for place in map(place_of, series.rest)}
    ignored = map(os.path.abspath, images.ignored)
    named = [*ignored, *(named_by(error, source) for error in images.rejects)]
    return paths | {tags.file(file): file for file in named}
