"""Sort DICOM headers into CT series, annotations and what is left out.

headers -> slices of CT, by study and series -> one consistent stack a series
        -> annotations (SEG, RTSTRUCT)
        -> left out, with the reason
"""

from collections import defaultdict
from collections.abc import Sequence

from factory.counted import counted
from factory.dicom.headers import Header
from factory.dicom.judge import is_directory, why_broken, why_not_ct
from factory.dicom.order import in_order, places
from factory.dicom.series import Annotation, CtSeries, LeftOut, SeriesFindings

_SLICES_AT_LEAST = 3
"""Places along the normal; one or two are a scout, or a bolus that was watched at one place."""

_SAME_DIRECTION = 1e-3
_SAME_SPACING_MM = 1e-3

_ANNOTATIONS = ("SEG", "RTSTRUCT")


def sort_headers(headers: Sequence[Header], left_out: list[LeftOut]) -> SeriesFindings:
    """Sort the headers of any files into series, annotations and what is left out.

    Args:
        headers: In any order; the findings do not depend on it.
        left_out: Files that have no header, and why; they come first in the findings.
    """
    annotations: list[Annotation] = []
    slices: dict[tuple[str, str], list[Header]] = defaultdict(list)
    others: dict[tuple[str, str, str, bool], list[Header]] = defaultdict(list)
    for header in headers:
        if is_directory(header):
            continue
        if header.modality in _ANNOTATIONS:
            annotations.append(_annotation(header))
        elif reason := why_not_ct(header):
            others[header.study_uid, header.series_uid, reason, False].append(header)
        elif reason := why_broken(header):
            others[header.study_uid, header.series_uid, reason, True].append(header)
        else:
            slices[header.study_uid, header.series_uid].append(header)
    left_out += [_left(*key[2:], group) for key, group in sorted(others.items())]
    found = [_series(group, left_out) for _, group in sorted(slices.items())]
    return SeriesFindings(
        series=tuple(series for series in found if series),
        left_out=tuple(left_out),
        annotations=tuple(sorted(annotations, key=lambda one: str(one.path))),
    )


def _annotation(header: Header) -> Annotation:
    return Annotation(
        kind=header.modality,
        path=header.path,
        study_uid=header.study_uid,
        frame_uid=header.frame_uid,
        series_uids=header.references,
    )


def _left(reason: str, broken: bool, group: Sequence[Header]) -> LeftOut:
    # Two patients in one group are left out together, under neither's name.
    patients = {(header.patient_id, header.issuer) for header in group}
    patient_id, issuer = patients.pop() if len(patients) == 1 else ("", "")
    return LeftOut(
        reason=reason,
        broken=broken,
        paths=tuple(sorted(header.path for header in group)),
        study_uid=group[0].study_uid,
        series_uid=group[0].series_uid,
        patient_id=patient_id,
        issuer=issuer,
    )


def _series(group: list[Header], left_out: list[LeftOut]) -> CtSeries | None:
    """Return the consistent majority of the slices of one series, or why there is none."""
    if len({(header.patient_id, header.issuer) for header in group}) > 1:
        reason = (
            "slices of one SeriesInstanceUID name more than one patient; expected one. Separate the "
            "patients, each with their own series"
        )
        left_out.append(_left(reason, True, group))
        return None
    alike = _alike(group)
    if 2 * len(alike[0]) <= len(group):
        reason = (
            f"{len(group)} slices have {len(alike)} different shapes, spacings or directions and none "
            "has most of them; expected one. Export each as a series of its own"
        )
        left_out.append(_left(reason, True, group))
        return None
    kept, rest = in_order(alike[0]), [header for other in alike[1:] for header in other]
    notes: tuple[str, ...] = ()
    if rest:
        reason = f"of another shape, spacing or direction than the other {counted(len(kept), 'slice')} of its series"
        left_out.append(_left(reason, False, rest))
        notes = (f"left out: {counted(len(rest), 'slice')} of another shape, spacing or direction",)
    if (num := len(places(kept))) < _SLICES_AT_LEAST:
        reason = (
            f"slices lie at {counted(num, 'place')}; expected at least {_SLICES_AT_LEAST}: a scout, or one place "
            "that was watched over time"
        )
        left_out.append(_left(reason, False, kept))
        return None
    first = kept[0]
    return CtSeries(
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        frame_uid=first.frame_uid,
        patient_id=first.patient_id,
        issuer=first.issuer,
        slices=kept,
        notes=notes,
    )


def _alike(group: list[Header]) -> list[list[Header]]:
    """Sort slices into those of one shape, spacing, direction and frame, the most first."""
    sorts: list[list[Header]] = []
    for header in sorted(group, key=lambda one: (one.position, one.sop_uid, str(one.path))):
        for sort in sorts:
            if _is_like(sort[0], header):
                sort.append(header)
                break
        else:
            sorts.append([header])
    return sorted(sorts, key=len, reverse=True)


def _is_like(one: Header, other: Header) -> bool:
    return (
        (one.rows, one.columns, one.frame_uid) == (other.rows, other.columns, other.frame_uid)
        and _are_close(one.orientation, other.orientation, _SAME_DIRECTION)
        and _are_close(one.pixel_spacing, other.pixel_spacing, _SAME_SPACING_MM)
    )


def _are_close(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))
