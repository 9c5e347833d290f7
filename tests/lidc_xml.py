"""What LIDC readers mark, drawn by code, and the XML that LIDC-IDRI would have of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from factory.dicom.stack import Stack
from factory.lidc.reads import Contour, LidcReads, Ratings, Reader, ReadNodule

SERIES_UID = "1.2.840.1.1"
STUDY_UID = "1.2.840.1"
NAMESPACE = 'xmlns="http://www.nih.gov"'

_TAGS = {"internal_structure": "internalStructure"}


def make_stack(
    num_slices: int = 12,
    rows: int = 40,
    columns: int = 44,
    *,
    spacing_mm: tuple[float, float, float] = (2.5, 0.8, 0.8),
    first_z_mm: float = -100.0,
    sop_uids: Sequence[str] | None = None,
    series_uid: str = SERIES_UID,
    filled: tuple[int, ...] = (),
) -> Stack:
    """Return an axial CT without content, its slices upwards, as the reads below are drawn on it."""
    z, y, x = spacing_mm
    affine = np.diag([-x, -y, z, 1.0])
    affine[:3, 3] = 150.0, 140.0, first_z_mm
    return Stack(
        ct_hu=np.zeros((num_slices, rows, columns), np.int16),
        affine=affine,
        sop_uids=tuple(map(sop_uid, range(num_slices))) if sop_uids is None else tuple(sop_uids),
        series_uid=series_uid,
        study_uid=STUDY_UID,
        frame_uid="",
        filled=filled,
    )


def sop_uid(k: int) -> str:
    """Return the UID of a slice of `make_stack`."""
    return f"{SERIES_UID}.{k}"


def ring(row: int, column: int, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return the pixels around a rectangle, in order: the first outside of each of its sides."""
    top, left, bottom, right = row - 1, column - 1, row + height, column + width
    return (
        *((top, x) for x in range(left, right)),
        *((y, right) for y in range(top, bottom)),
        *((bottom, x) for x in range(right, left, -1)),
        *((y, left) for y in range(bottom, top, -1)),
    )


def on_slice(
    k: int, edge: Iterable[tuple[int, int]], *, inclusion: bool = True, uid: str | None = None
) -> Contour:
    """Return an outline on a slice of `make_stack`."""
    return Contour(
        z_mm=-100.0 + 2.5 * k,
        sop_uid=sop_uid(k) if uid is None else uid,
        inclusion=inclusion,
        edge=tuple(edge),
    )


def box_read(
    slices: Iterable[int], row: int, column: int, height: int, width: int, **ratings: int
) -> ReadNodule:
    """Return a read that encloses a box of voxels and no other."""
    return read_of(
        *(on_slice(k, ring(row, column, height, width)) for k in slices), ratings=Ratings(**ratings)
    )


def read_of(*contours: Contour, ratings: Ratings | None = None, name: str = "n") -> ReadNodule:
    """Return a read of some contours."""
    return ReadNodule(nodule_id=name, ratings=ratings or Ratings(), contours=contours)


def reads_of(
    *readers: Iterable[ReadNodule], series_uid: str = SERIES_UID, num_small: int = 0
) -> LidcReads:
    """Return the reads of readers who each outlined some nodules."""
    return LidcReads(
        case_id="c1",
        series_uid=series_uid,
        study_uid=STUDY_UID,
        readers=tuple(Reader(nodules=tuple(nodules), num_small=num_small) for nodules in readers),
    )


def write_lidc_xml(
    path: Path,
    reads: LidcReads,
    *,
    root: str = "LidcReadMessage",
    xmlns: str = NAMESPACE,
    prefix: str = "",
    prolog: str = '<?xml version="1.0" encoding="UTF-8"?>\n',
) -> Path:
    """Write reads as LIDC-IDRI does."""
    path.write_text(prolog + lidc_text(reads, root=root, xmlns=xmlns, prefix=prefix))
    return path


def lidc_text(
    reads: LidcReads, *, root: str = "LidcReadMessage", xmlns: str = NAMESPACE, prefix: str = ""
) -> str:
    """Return reads as an element; `prefix` is set before every name, as `lidc:`."""

    def element(name: str, *content: str) -> str:
        return f"<{prefix}{name}>{''.join(content)}</{prefix}{name}>\n"

    def roi(contour: Contour) -> str:
        return element(
            "roi",
            element("imageZposition", f"{contour.z_mm:.6f} "),
            element("imageSOP_UID", contour.sop_uid),
            element("inclusion", str(contour.inclusion).upper()),
            *(
                element("edgeMap", element("xCoord", f"{column}"), element("yCoord", f"{row}"))
                for row, column in contour.edge
            ),
        )

    def nodule(read: ReadNodule) -> str:
        rated = zip(Ratings.__slots__, read.ratings.values(), strict=True)
        ratings = [element(_TAGS.get(name, name), f"{value}") for name, value in rated if value]
        return element(
            "unblindedReadNodule",
            element("noduleID", read.nodule_id),
            element("characteristics", *ratings) if ratings else "",
            *map(roi, read.contours),
        )

    def session(reader: Reader) -> str:
        small = read_of(on_slice(0, [(3, 4)]), name="small")
        return element(
            "readingSession",
            element("annotationVersion", "3.12"),
            element("servicingRadiologistID", "540461523"),
            *map(nodule, reader.nodules),
            *[nodule(small)] * reader.num_small,
            *[element("nonNodule", element("locus", element("xCoord", "1")))]
            * reader.num_non_nodules,
        )

    head = element(
        "ResponseHeader",
        element("DateRequest", "2007-11-01"),
        element("SeriesInstanceUid", reads.series_uid),
        element("StudyInstanceUID", reads.study_uid),
    )
    sessions = "".join(map(session, reads.readers))
    return f"<{prefix}{root} {xmlns}>\n{head}{sessions}</{prefix}{root}>\n"
