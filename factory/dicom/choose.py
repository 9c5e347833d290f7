"""Which series of a study become cases: a rule that does not depend on the order of files."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from factory.counted import counted
from factory.dicom.series import CtSeries, LeftOut
from factory.errors import UsageError

THINNEST, MOST_SLICES, ALL = "thinnest", "most-slices", "all"

_UID = re.compile(r"[0-9.]{1,64}")

_SHARPNESS_OF_NAMES = {
    "SOFT": 20,
    "STANDARD": 35,
    "STND": 35,
    "CHEST": 40,
    "DETAIL": 45,
    "LUNG": 60,
    "BONE": 70,
    "BONEPLUS": 75,
    "EDGE": 80,
    "A": 20,
    "B": 30,
    "C": 40,
    "D": 60,
    "E": 70,
}
"""Of kernels that GE and Philips name in words and letters, on the scale of Siemens' numbers."""

_SIEMENS = re.compile(r"[A-Z][A-Z]?(\d\d)[A-Z]?(/\d)?")
_TOSHIBA = re.compile(r"FC(\d\d)")
_TOSHIBA_SHARPNESS = {3: 70, 5: 60, 8: 70}
"""By the first digit of its number; the others are for soft tissue."""

_SHARPNESS_UNKNOWN = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The series that become cases, and those that do not."""

    chosen: tuple[CtSeries, ...]
    """By study, then series."""

    left_out: tuple[LeftOut, ...]


def choose_series(series: Sequence[CtSeries], rule: str) -> Choice:
    """Choose the series of each study that become cases.

    `thinnest` and `most-slices` take one series a study, and only among those that cover at
    least half of what the longest of the study covers:

    thinnest     the smallest distance between slices (to 0.01 mm), then the most slices, then the
                 softest kernel, then the lowest SeriesInstanceUID
    most-slices  the most slices, then the smallest distance between them, then as above
    all          every series is a case
    a UID        the series of that SeriesInstanceUID alone

    Args:
        series: Of any number of studies.
        rule: One of the above.

    Raises:
        UsageError: The rule is none of them, or names a series that is not there.
    """
    _check(series, rule)
    if rule == ALL:
        return _choice(series, (), "")
    if rule not in _ORDERS:
        named = [one for one in series if one.series_uid == rule]
        rest = [one for one in series if one.series_uid != rule]
        return _choice(named, rest, "not the series that --series names")
    chosen, rest = [], []
    for study in _studies(series):
        best, *others = sorted(study, key=_key(study, rule))
        chosen.append(best)
        rest += others
    return _choice(chosen, rest, f"not chosen: --series {rule} took another series of its study")


def _check(series: Sequence[CtSeries], rule: str) -> None:
    if rule in (ALL, *_ORDERS) or any(one.series_uid == rule for one in series):
        return
    found = "a UID that none of them has" if _UID.fullmatch(rule) else repr(rule)
    raise UsageError(
        f"--series, over {len(series)} CT series: found {found}; expected {THINNEST}, {MOST_SLICES}, {ALL} "
        "or the whole SeriesInstanceUID of one. Correct the flag."
    )


def _studies(series: Sequence[CtSeries]) -> list[list[CtSeries]]:
    studies: dict[tuple[str, str, str], list[CtSeries]] = defaultdict(list)
    for one in series:
        studies[one.study_uid, one.patient_id, one.issuer].append(one)
    return [studies[key] for key in sorted(studies)]


def _choice(chosen: Sequence[CtSeries], rest: Sequence[CtSeries], reason: str) -> Choice:
    def by_uid(one: CtSeries) -> tuple[str, str]:
        return one.study_uid, one.series_uid

    return Choice(
        chosen=tuple(sorted(chosen, key=by_uid)),
        left_out=tuple(_left(one, reason) for one in sorted(rest, key=by_uid)),
    )


def _left(series: CtSeries, reason: str) -> LeftOut:
    return LeftOut(
        reason=f"{reason} ({counted(series.num_slices, 'slice')} of {series.gap_mm:.2f} mm)",
        paths=series.paths,
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        patient_id=series.patient_id,
        issuer=series.issuer,
    )


Key = tuple[bool, float, float, int, str]


def _key(study: Sequence[CtSeries], rule: str) -> Callable[[CtSeries], Key]:
    longest_mm = max(one.extent_mm for one in study)

    def key(one: CtSeries) -> Key:
        # A few thin slices through the hilum are thinner than the scan of the lungs.
        is_part = one.extent_mm < longest_mm / 2
        return (is_part, *_ORDERS[rule](one), sharpness(one.kernel), one.series_uid)

    return key


def _thinness(one: CtSeries) -> float:
    return round(one.gap_mm, 2)


_ORDERS: dict[str, Callable[[CtSeries], tuple[float, float]]] = {
    THINNEST: lambda one: (_thinness(one), -one.num_slices),
    MOST_SLICES: lambda one: (-one.num_slices, _thinness(one)),
}


def sharpness(kernel: str) -> int:
    """Return how sharp a ConvolutionKernel draws: 20 for soft tissue to 80 for edges, 50 where unknown."""
    name = kernel.upper().strip()
    if found := _TOSHIBA.fullmatch(name):
        return _TOSHIBA_SHARPNESS.get(int(found[1]) // 10, 30)
    if found := _SIEMENS.fullmatch(name):
        return int(found[1])
    return _SHARPNESS_OF_NAMES.get(name, _SHARPNESS_UNKNOWN)
