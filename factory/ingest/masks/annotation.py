"""What a reader of masks returns: lungs and nodules on a stack's own slices."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factory.ingest.masks.roles import role_of
from factory.layouts import LUNG, NODULE

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Annotation:
    """Lungs and nodules of one file, drawn on a stack's own slices; `Stack.canonical` turns them."""

    lung: Mask | None = None
    """(slice, row, column); None where nothing that was drawn is lung."""

    nodule: Mask | None = None
    """(slice, row, column), all nodules united; None where there is none."""

    names: tuple[str, ...] = ()
    """Structures that were taken. Free text of whoever drew them: for the user's eyes only."""

    left_out: tuple[str, ...] = ()
    """Structures that are neither lung nor nodule; free text as well."""

    notes: tuple[str, ...] = ()
    """What a reader of the dataset should know, without free text."""


@dataclass(slots=True)
class Drawing:
    """An annotation in the making."""

    shape: tuple[int, ...]
    """(slice, row, column) of the stack."""
    masks: dict[int, Mask] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mask_for(self, name: str, *more: str, regions: Iterable[str] = ()) -> Mask | None:
        """Return the mask that a structure of these names is drawn into, or leave it out.

        Args:
            name: What it is called.
            more: What else is said of what it is.
            regions: Where it lies.
        """
        role = role_of(name, *more, regions=regions)
        if role not in (LUNG, NODULE):
            self.left_out.append(name)
            return None
        self.names.append(name)
        if role not in self.masks:
            self.masks[role] = np.zeros(self.shape, dtype=np.bool_)
        return self.masks[role]

    def done(self, kind: str) -> Annotation:
        """Return the annotation of a file of this kind, `DICOM SEG` or `RTSTRUCT`."""
        if self.left_out:
            self.notes.append(
                f"{kind}: {len(self.left_out)} of {len(self.left_out) + len(self.names)} structures "
                "are neither lung nor nodule by their names, and left out"
            )
        return Annotation(
            lung=self.masks.get(LUNG),
            nodule=self.masks.get(NODULE),
            names=tuple(self.names),
            left_out=tuple(self.left_out),
            notes=tuple(self.notes),
        )
