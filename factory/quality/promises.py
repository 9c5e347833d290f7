"""What can be asked of a volume, which depends on how it was drawn."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Promises:
    """What a way of drawing promises of its volumes; quality control checks no more than that."""

    background: bool = True
    """All that is not drawn has the reference's HU, bit for bit."""

    seam: bool = True
    """What is drawn ends where the reference's lungs do, so the jumps across the border compare."""

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What is not checked for want of a promise, a sentence each."""
        return tuple(self._unchecked())

    def _unchecked(self) -> Iterator[str]:
        if not self.background:
            yield "quality control did not compare the background: none of it was kept"
        if not self.seam:
            yield "quality control did not measure a seam: what was drawn does not end with the lungs"
