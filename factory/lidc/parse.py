"""Read the XML that LIDC-IDRI has beside each CT."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.errors import CaseError
from factory.lidc.message import Element, MessageError, read_head, read_message
from factory.lidc.reads import SCALES, Contour, LidcReads, Pixel, Ratings, Reader, ReadNodule

CT_MESSAGE = "LidcReadMessage"
RADIOGRAPH_MESSAGE = "IdriReadMessage"

_SESSION = "readingSession"
_NODULES_AT_MOST = 256
"""Outlined nodules of all readers; the fullest CTs of LIDC-IDRI have some 90."""
_EDGE_AT_MOST = 20_000
"""Pixels of one outline; the rim of a 512 x 512 slice has 2044."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,6}")
_HEIGHT_MM = 1e5


@dataclass(frozen=True, kw_only=True, slots=True)
class LidcHeader:
    """Of what CT a message speaks."""

    message: str
    """Name of the root element: `CT_MESSAGE`, `RADIOGRAPH_MESSAGE`, or that of some other XML."""

    series_uid: str
    """SeriesInstanceUID; empty where there is none."""

    study_uid: str
    """StudyInstanceUID; empty where there is none."""


def read_lidc_header(path: str | Path, case_id: str = "") -> LidcHeader:
    """Read of what CT a message speaks, without what was marked.

    Args:
        path: An XML file.
        case_id: Names the case in errors, which have no file name; where it is empty, the file's.

    Raises:
        CaseError: The file is no XML, or has a DTD.
    """
    place = _Place(case_id or Path(path).stem, "the XML")
    try:
        return _header(read_head(Path(path), until=_SESSION))
    except MessageError as error:
        raise place.wrong(str(error)) from error


def read_lidc_xml(path: str | Path, case_id: str = "") -> LidcReads:
    """Read what every reader marked on one CT.

    A nodule with one pixel in all is one under 3 mm. Ratings that are missing, empty or 0 are
    None. The readers' ids, and all dates, are left in the file.

    Args:
        path: An XML file with a `LidcReadMessage`, with or without a namespace.
        case_id: Names the case in errors, which have no file name; where it is empty, the file's.

    Raises:
        CaseError: The file is no such XML or too large, speaks of a radiograph, or an element
            is missing or malformed; the message names the element.
    """
    place = _Place(case_id or Path(path).stem, "the XML")
    try:
        root = read_message(Path(path))
    except MessageError as error:
        raise place.wrong(str(error)) from error
    _check_root(root, place)
    readers = tuple(
        _reader(session, place.within(f"reader {number}"))
        for number, session in enumerate(root.all(_SESSION), start=1)
    )
    num_nodules = sum(len(reader.nodules) for reader in readers)
    if num_nodules > _NODULES_AT_MOST:
        raise place.wrong(
            f"has {num_nodules} outlined nodules; expected at most {_NODULES_AT_MOST}, of all readers"
        )
    header = _header(root)
    return LidcReads(
        case_id=place.case_id,
        series_uid=header.series_uid,
        study_uid=header.study_uid,
        readers=readers,
        notes=tuple(_left_out(root)),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a file we are, for errors."""

    case_id: str
    where: str

    def within(self, name: str) -> "_Place":
        return _Place(self.case_id, f"{self.where}, {name}")

    def wrong(self, problem: str) -> CaseError:
        return CaseError(
            self.case_id, f"{self.where} {problem}. Download the file again, or leave it out."
        )


def _check_root(root: Element, place: _Place) -> None:
    if root.name == RADIOGRAPH_MESSAGE:
        raise place.wrong(
            f"is an {RADIOGRAPH_MESSAGE}: marks on a chest radiograph; expected those on a CT, "
            f"a {CT_MESSAGE}"
        )
    if root.name != CT_MESSAGE:
        raise place.wrong(f"is {root.name[:40]!r}; expected a {CT_MESSAGE} of LIDC-IDRI")
    if root.first(_SESSION) is None:
        raise place.wrong(f"has no {_SESSION}; expected one for each reader")


def _header(root: Element) -> LidcHeader:
    head = root.first("ResponseHeader") or Element("ResponseHeader")
    return LidcHeader(
        message=root.name,
        series_uid=head.value("SeriesInstanceUID"),
        study_uid=head.value("StudyInstanceUID"),
    )


def _left_out(root: Element) -> Iterator[str]:
    blinded = sum(len(list(session.all("blindedReadNodule"))) for session in root.all(_SESSION))
    if blinded:
        yield f"{blinded} blinded reads left out: the unblinded ones count"


def _reader(session: Element, place: _Place) -> Reader:
    nodules, num_small = [], 0
    for number, element in enumerate(session.all("unblindedReadNodule"), start=1):
        nodule = _nodule(element, place.within(f"nodule {number}"))
        if sum(len(contour.edge) for contour in nodule.contours) == 1:
            num_small += 1
        else:
            nodules.append(nodule)
    return Reader(
        nodules=tuple(nodules),
        num_small=num_small,
        num_non_nodules=sum(1 for _ in session.all("nonNodule")),
    )


def _nodule(element: Element, place: _Place) -> ReadNodule:
    contours = tuple(
        _contour(roi, place.within(f"roi {number}"))
        for number, roi in enumerate(element.all("roi"), start=1)
    )
    if not contours:
        raise place.wrong("has no roi; expected one for each slice")
    return ReadNodule(
        nodule_id=element.value("noduleID"), ratings=_ratings(element, place), contours=contours
    )


def _ratings(nodule: Element, place: _Place) -> Ratings:
    characteristics = nodule.first("characteristics") or Element("characteristics")
    rated = {}
    for name, highest in SCALES.items():
        tag = "internalStructure" if name == "internal_structure" else name
        text = characteristics.value(tag)
        rating = _whole(text, tag, place) if text else 0
        if not 0 <= rating <= highest:
            raise place.wrong(f"has {tag} {rating}; expected 1 to {highest}")
        rated[name] = rating or None
    return Ratings(**rated)


def _contour(roi: Element, place: _Place) -> Contour:
    inclusion = roi.value("inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise place.wrong(f"has inclusion {inclusion[:40]!r}; expected TRUE or FALSE")
    edge = tuple(_pixel(pixel, place) for pixel in roi.all("edgeMap"))
    if not 0 < len(edge) <= _EDGE_AT_MOST:
        raise place.wrong(
            f"has {len(edge)} pixels (edgeMap); expected an outline of 1 to {_EDGE_AT_MOST}"
        )
    return Contour(
        z_mm=_height_mm(roi.value("imageZposition"), place),
        sop_uid=roi.value("imageSOP_UID"),
        inclusion=inclusion == "TRUE",
        edge=edge,
    )


def _pixel(edge_map: Element, place: _Place) -> Pixel:
    row, column = (_whole(edge_map.value(tag), tag, place) for tag in ("yCoord", "xCoord"))
    return row, column


def _whole(text: str, tag: str, place: _Place) -> int:
    if not _WHOLE.fullmatch(text):
        raise place.wrong(f"has {tag} {text[:40]!r}; expected a whole number")
    return int(text)


def _height_mm(text: str, place: _Place) -> float:
    try:
        height = float(text)
    except ValueError:
        height = math.nan
    if not abs(height) <= _HEIGHT_MM:
        raise place.wrong(f"has imageZposition {text[:40]!r}; expected a height in mm")
    return height
