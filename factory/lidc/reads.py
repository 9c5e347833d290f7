"""What the readers of one CT marked, as their message says it."""

from dataclasses import dataclass, field, fields

Pixel = tuple[int, int]
"""(row, column), counted from 0."""

SCALES = {
    "subtlety": 5,
    "internal_structure": 4,
    "calcification": 6,
    "sphericity": 5,
    "margin": 5,
    "lobulation": 5,
    "spiculation": 5,
    "texture": 5,
    "malignancy": 5,
}
"""Highest rating of each characteristic; the lowest is 1."""

KINDS = ("internal_structure", "calcification")
"""Characteristics whose numbers name kinds (6 is no calcification): they have no mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratings:
    """How one reader rated one nodule; None where they did not."""

    subtlety: int | None = None
    """1 extremely subtle to 5 obvious."""
    internal_structure: int | None = None
    """1 soft tissue, 2 fluid, 3 fat, 4 air."""
    calcification: int | None = None
    """1 popcorn, 2 laminated, 3 solid, 4 non-central, 5 central, 6 absent."""
    sphericity: int | None = None
    """1 linear to 5 round."""
    margin: int | None = None
    """1 poorly defined to 5 sharp."""
    lobulation: int | None = None
    """1 none to 5 marked; some early readers of LIDC had the scale reversed."""
    spiculation: int | None = None
    """1 none to 5 marked; some early readers of LIDC had the scale reversed."""
    texture: int | None = None
    """1 ground glass, 3 part solid, 5 solid."""
    malignancy: int | None = None
    """1 highly unlikely to 5 highly suspicious."""

    def values(self) -> tuple[int | None, ...]:
        """Return the ratings in the order of `SCALES`."""
        return tuple(getattr(self, rating.name) for rating in fields(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Contour:
    """One outline on one slice."""

    z_mm: float
    """`imageZposition`: the z of the slice's ImagePositionPatient."""

    sop_uid: str
    """SOP instance UID of the slice; empty where the message has none."""

    inclusion: bool
    """False for an exclusion: a region within the nodule that is not nodule."""

    edge: tuple[Pixel, ...]
    """The drawn pixels in their order. They are not nodule: of an inclusion they are the first
    outside; those of an exclusion belong to what is excluded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadNodule:
    """A nodule of 3 mm or more that one reader outlined."""

    nodule_id: str
    """The reader's own name for it; another reader's name says nothing about it."""

    ratings: Ratings
    contours: tuple[Contour, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Everything that one reader marked."""

    nodules: tuple[ReadNodule, ...] = ()
    """Nodules of 3 mm or more, outlined."""

    num_small: int = 0
    """Nodules under 3 mm: one pixel each, with no extent that could be drawn."""

    num_non_nodules: int = 0
    """Lesions of 3 mm or more that the reader holds for no nodule: one pixel each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LidcReads:
    """The reads of one CT series, unblinded: after each reader had seen the others' marks."""

    case_id: str
    """Names the case in messages."""

    series_uid: str
    """SeriesInstanceUID of the CT; empty where the message has none."""

    study_uid: str
    """StudyInstanceUID of the CT; empty where the message has none."""

    readers: tuple[Reader, ...] = field(repr=False)
    """In the order of the file. Readers are anonymous: the first of one CT is not that of another."""

    notes: tuple[str, ...] = ()
    """What was left out of the message."""

    @property
    def num_small(self) -> int:
        """Marks under 3 mm of all readers; a nodule that three of them marked counts three times."""
        return sum(reader.num_small for reader in self.readers)

    @property
    def num_non_nodules(self) -> int:
        """Marks of non-nodules of all readers."""
        return sum(reader.num_non_nodules for reader in self.readers)
