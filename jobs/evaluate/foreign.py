"""Sets that something else made: a folder of NIfTI or MetaImage files, without manifest or donors.

folder --find_cases, and what no layout names--> SourceCase each --digests--> rows
row    --prepare_case, as `factory ingest` does--> volume on the real set's grid, in a measurer

Nothing of it is written but what is measured.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.counted import counted
from factory.digests import digest_json
from factory.errors import CaseError, FactoryError, StoreError, UsageError
from factory.ingest.fingerprint import fingerprint
from factory.ingest.prepare import IngestConfig, prepare_case
from factory.ingest.sources import SourceCase, find_cases
from factory.ingest.sources.image_names import stem_of
from factory.lake import IDENTITY, Lake
from factory.volumes import Volume
from jobs.console import progress
from manifests.read import is_url

_MASK = re.compile(r"[_-](labels?|seg|segmentation|mask)$", re.IGNORECASE)
"""How masks end that no layout names, as those beside `NAME_image.nii.gz`."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ForeignVolume:
    """One CT of the folder."""

    row: Row
    """Plain JSON, all that a measurer needs to prepare it: see `read_foreign`."""
    content: tuple[str, ...]
    """Digests of its files, and of how they are brought onto the grid."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a folder holds."""

    volumes: list[ForeignVolume]
    problems: dict[str, str]
    """Files that are no CT, or cannot be read, and why."""
    notes: list[str]


def is_foreign(place: str) -> bool:
    """Tell a folder that nothing here made, which may hold image files, from lakes and manifests.

    Raises:
        StoreError: It has a `dataset.json` that cannot be read.
    """
    if is_url(place) or not Path(place).is_dir():
        return False
    # A folder of nnU-Net has a dataset.json of its own.
    return "kind" not in (Lake(place).identity() or {})


def ingest_of(volumes: Iterable[str], place: str) -> IngestConfig:
    """Return how real scans were brought to their grid, from the case store that they lie in.

    Args:
        volumes: URIs of the real volumes.
        place: The folder that is to be brought there; for messages.

    Raises:
        UsageError: They lie in no case store, or in several of different settings.
    """
    stores = sorted({uri.rpartition("/volumes/")[0] for uri in volumes} - {""})
    told = [(Lake(store).identity() or {}).get("ingest") for store in stores]
    ways = {digest_json(found): found for found in told if isinstance(found, dict)}
    if len(ways) != 1 or not all(told):
        raise UsageError(
            f"--synthetic {place}: found real volumes in {len(stores)} stores, whose {IDENTITY} tell "
            f"{len(ways)} ways to the grid; expected one, by which image files are brought there too. Give one "
            f"case store as --real, or make cases of the files: `factory ingest {place}`."
        )
    (found,) = ways.values()
    try:
        return IngestConfig(**found)
    except TypeError as error:
        raise StoreError(
            f"{stores[0]}/{IDENTITY}: found `ingest` settings that are not known ({error}); expected those of "
            "`factory ingest`. Use the release that made the store."
        ) from error


def find_foreign(place: str, config: IngestConfig) -> Foreign:
    """Find the CTs of a folder, and take the digest of every file.

    Masks are taken by the layouts that `factory ingest` knows. A file that no layout names is a CT of
    its own, unless it is named like a mask.

    Args:
        place: Folder, searched to any depth.
        config: How the real set was brought to its grid.

    Raises:
        StoreError: The folder holds no image file, or cannot be read.
    """
    folder = Path(os.path.abspath(place))
    try:
        found = find_cases(folder)
    except FactoryError as error:
        raise StoreError(
            f"--synthetic {place}: found neither a lake nor NIfTI or MetaImage files ({error}); expected a "
            "folder that `factory generate` made, or one of .nii, .nii.gz, .mha or .mhd files. Correct the "
            "path, or make cases of DICOM series with `factory ingest`."
        ) from error
    problems = {f"case {error.case_id}": error.problem for error in found.rejects}
    alone, masks = [], 0
    for text in found.ignored:
        file = Path(text)
        if not file.is_file():
            problems[text] = "it cannot be searched or read"
        elif _MASK.search(stem_of(file)):
            masks += 1
        else:
            alone.append(_alone(file, folder))
    volumes = list(_digested([*found.cases, *alone], folder, config, problems))
    return Foreign(volumes, problems, list(_notes(volumes, config, masks)))


def read_foreign(row: Mapping[str, Any]) -> Volume:
    """Bring a CT onto the grid.

    Args:
        row: Of a `ForeignVolume`, as it comes out of JSON.

    Raises:
        CaseError: A file is unusable, or another one than before.
        OSError: A file is gone.
    """
    source = SourceCase(**{name: _frozen(value) for name, value in row["source"].items()})
    if fingerprint(source).digest != row["files"]:
        raise CaseError(
            source.case_id,
            f"{source.ct} or a mask of it was changed while it was measured; expected files that stay. Run "
            "again once they do.",
        )
    try:
        case = prepare_case(source, IngestConfig(**row["ingest"])).case
    except FactoryError:
        raise
    except Exception as error:
        # What libraries raise for an odd scan depends on the scan.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CaseError(
            source.case_id,
            f"{source.ct} cannot be brought onto the grid ({type(error).__name__}: {reason}); expected a CT of "
            "a chest. Convert it again, or leave it out.",
        ) from error
    return Volume(ct=case.ct, layout=case.layout, affine=case.affine)


def _alone(file: Path, folder: Path) -> SourceCase:
    name = _name_in(folder, str(file))
    return SourceCase(case_id=name, patient_id=name, ct=str(file))


def _name_in(folder: Path, file: str) -> str:
    relative = Path(os.path.relpath(file, folder))
    return str(relative.with_name(stem_of(relative)))


def _digested(
    sources: list[SourceCase], folder: Path, config: IngestConfig, problems: dict[str, str]
) -> Iterator[ForeignVolume]:
    ingest = asdict(config)
    with progress("read files", len(sources)) as tracker:
        for done, source in enumerate(sorted(sources, key=lambda one: one.ct), start=1):
            name = _name_in(folder, source.ct)
            try:
                files = fingerprint(source).digest
            except (CaseError, OSError) as error:
                told = error.problem if isinstance(error, CaseError) else str(error)
                problems[f"volume {name}"] = told
                continue
            row: Row = {"work_id": name, "case_id": "", "image_uri": source.ct}
            row |= {"source": asdict(source), "ingest": ingest, "files": files}
            yield ForeignVolume(row, (files, digest_json(ingest)))
            tracker.update(done)


def _notes(volumes: list[ForeignVolume], config: IngestConfig, masks: int) -> Iterator[str]:
    size = f"{config.spacing_mm:g} mm" if config.spacing_mm else f"the {config.field_of_view}"
    yield (
        f"{len(volumes)} CTs made elsewhere, brought onto the real set's grid as `factory ingest` brings scans: "
        f"{config.grid}^3 voxels, of {size}; no donors, so nothing is compared in pairs"
    )
    if bare := sum(
        not one.row["source"]["lung"] and not one.row["source"]["labels"] for one in volumes
    ):
        yield (
            f"the lungs of {bare} of them were segmented here, by threshold; where others drew those of the real "
            "set, a part of what the lungs lie apart is the hand that drew them"
        )
    if masks:
        yield f"not read: {counted(masks, 'file')} named like masks; no layout says what they are of"


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
