"""What an ingest would do with everything that it finds: a line each, and nothing is written.

input                case                       scan                               drawn     would
a_ct.nii.gz          a                          30 x 48 x 64 at 2.50 x 0.70 x ...  lung      ingest
b_ct.nii.gz          b                          30 x 48 x 64 at 2.50 x 0.70 x ...  lung      make anew: ...
series/0001          0f3c...-9ad0               16 x 512 x 512 at ...              LIDC      already there
series/scout                                                                                 leave out: a localiser
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from factory.dicom.identity import PatientKey
from factory.ingest.drawn import THRESHOLD
from factory.ingest.sources import SourceCase
from factory.ingest.tags import Tags
from factory.lake import Lake
from jobs.console import progress
from jobs.ingest.inputs import Asked, Input, gather
from jobs.ingest.no_case import Aside
from jobs.ingest.private import Private
from jobs.ingest.task import KEPT, MADE, REMADE, foresee
from jobs.ingest.telling import as_told, shown

Row = tuple[str, ...]

_HEAD = ("input", "case", "scan", "drawn", "would")
_NO_KEY = "(named once there is a key)"
_IF_READABLE = "ingest, if it can be read at all"
_WOULD = {
    MADE: "ingest",
    REMADE: "make anew: the store has a case of other files, or a torn one",
    KEPT: "already there",
}


def describe(
    source: Path, lake: Lake, asked: Asked, beside: Private, lungs: str = THRESHOLD
) -> str:
    """Return the table as text.

    Headers are read, voxels and pixels are not: what is wrong with those is found by the ingest.
    Files of cases that the store has are read whole, to tell whether they have changed.

    Args:
        source: The folder.
        lake: Case store, which need not be there.
        asked: What the user says of the source.
        beside: The private folder. Without a key in it DICOM cases have no names yet.
        lungs: How lungs that nobody drew are segmented.

    Raises:
        FactoryError: The folder cannot be read, or holds nothing that is read here.
    """
    tags = beside.existing_tags()
    # A key for this moment alone keeps series apart; what it names is not shown.
    inputs, used = gather(source, asked, lambda: tags or Tags(PatientKey(secrets.token_bytes(32))))
    would = dict(_would(inputs.cases, lake, lungs))
    unnamed = used is not None and tags is None
    root = os.path.abspath(source)
    rows = [
        *(_case_row(given, root, would, unnamed) for given in inputs.cases),
        *(_aside_row(one, root, "quarantine", unnamed) for one in inputs.refused),
        *(_aside_row(one, root, "leave out", unnamed) for one in inputs.left_out),
    ]
    return "\n".join(_aligned([_HEAD, *sorted(rows)]))


def _would(cases: Sequence[Input], lake: Lake, lungs: str) -> Iterator[tuple[str, str]]:
    """Yield what would become of each case that the store has one of."""
    committed = lake.committed_ids()
    there = [given.source for given in cases if given.source.case_id in committed]
    if not there:
        return
    with progress("compare", len(there)) as tracker:
        for done, source in enumerate(there, start=1):
            try:
                yield source.case_id, _WOULD[foresee(source, lake, lungs)]
            except Exception as error:  # as the ingest has it: one case never stops the rest
                yield source.case_id, f"quarantine: {shown(as_told(source, error).problem)}"
            tracker.update(done)


def _case_row(given: Input, root: str, would: Mapping[str, str], unnamed: bool) -> Row:
    source = given.source
    is_unnamed = unnamed and bool(source.series)
    scan = _scan(given)
    return (
        _relative(given.place, root),
        _NO_KEY if is_unnamed else shown(source.case_id),
        scan or "unknown: its header cannot be read",
        ", ".join(_drawn(source)) or "nothing: lungs segmented",
        would.get(source.case_id, _WOULD[MADE] if scan else _IF_READABLE),
    )


def _aside_row(one: Aside, root: str, verb: str, unnamed: bool) -> Row:
    case_id = "" if unnamed else shown(one.case_id)
    return _relative(one.place, root), case_id, "", "", f"{verb}: {shown(one.told)}"


def _scan(given: Input) -> str:
    """Return the grid of a scan; empty where its header does not say it."""
    if not given.shape or given.spacing_mm is None:
        return ""
    shape = " x ".join(map(str, given.shape))
    return f"{shape} at {' x '.join(f'{edge:.2f}' for edge in given.spacing_mm)} mm"


def _drawn(source: SourceCase) -> Iterator[str]:
    """Yield what was drawn on a scan, in the order in which it counts."""
    named = {
        "segmentation": int(bool(source.labels)),
        "lung mask": len(source.lung),
        "nodule mask": len(source.nodule),
        "LIDC-IDRI XML": len(source.lidc_xml),
        "SEG": len(source.seg),
        "RTSTRUCT": len(source.rtstruct),
        "point": len(source.points),
    }
    for name, num in named.items():
        if num:
            yield name if num == 1 else f"{num} x {name}"


def _relative(place: str, root: str) -> str:
    """Return a place below the source, as people see it in their folder."""
    path = os.path.abspath(place) if os.path.sep in place else place
    return shown(os.path.relpath(path, root) if path.startswith(root + os.path.sep) else place)


def _aligned(rows: list[Row]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
