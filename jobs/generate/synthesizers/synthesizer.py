"""What draws a volume, seen from outside."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple, spacing_zyx
from factory.preprocessing import ModelInput
from factory.volumes import Volume


class UnfitError(ValueError):
    """A synthesizer cannot draw this case; the message has no name of it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item that is ready to be drawn."""

    layout: NDArray[np.uint8]
    """(z, y, x) labels to draw after."""
    affine: NDArray[np.float64]
    """4x4, voxel (i, j, k) to RAS mm."""
    given: ModelInput
    """The reference, which voxels of it are drawn, and what a network is fed."""

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size (z, y, x)."""
        return spacing_zyx(self.affine)


class Synthesizer(Protocol):
    """Draws volumes of one way; made once in an actor, and told of nothing but cases and seeds.

    What it needs and promises stands in `traits.KNOWN`, by its name.
    """

    @property
    def hu_window(self) -> tuple[float, float] | None:
        """HU that the model's scale ends at; None where slices are scaled, or nothing is."""

    def feed(self, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        """Return what is drawn of a reference, and from what.

        Args:
            reference: The donor, with its own layout.
            layout: (z, y, x) labels to draw after.

        Raises:
            UnfitError: It cannot be drawn; the item is given up with this reason.
        """

    def draw(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """Draw the HU of a volume, the same from any process of one environment.

        Args:
            prepared: With what `feed` returned.
            seed: 63 bits; all that is random must follow from it.

        Returns:
            (z, y, x) HU, the reference's wherever nothing was to be drawn.

        Raises:
            NotFiniteError: What was drawn has voxels that are no number.
        """
