"""Copy and paste: the donor's own lungs, and in its layout's nodules the tissue of real ones."""

import numpy as np
from numpy.typing import NDArray

from factory.intensity import HU_MAX, HU_MIN
from factory.layouts import NODULE
from factory.nodules.crops import NoduleCrops
from factory.nodules.fill import fill_nodules
from factory.preprocessing import ModelInput, Preprocessing
from factory.volumes import Volume
from jobs.generate.synthesizers.synthesizer import Prepared, UnfitError
from jobs.generate.synthesizers.traits import traits_of

_PREPROCESSING = Preprocessing(hu_window=(HU_MIN, HU_MAX), drawn=traits_of("copy-paste").drawn)


class CopyPaste:
    """Real nodules in real lungs; no network.

    Args:
        crops: Nodules whose tissue is pasted; of no patient that is held out.
    """

    hu_window = None

    def __init__(self, crops: NoduleCrops) -> None:
        self._crops = crops

    def feed(self, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        """See `Synthesizer`.

        Raises:
            UnfitError: The layout leaves out a nodule of the donor, whose tissue would stay.
        """
        left_out = int(np.count_nonzero((reference.layout == NODULE) & (layout != NODULE)))
        if left_out:
            raise UnfitError(
                f"its layout leaves out {left_out} voxels of nodules that the scan has; expected all of "
                "them, for copy-paste takes no tissue away, and would leave nodules without a label. Keep "
                "them in the layout, or take a synthesizer that draws the lungs"
            )
        return _PREPROCESSING.feed(reference.ct, layout)

    def draw(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """See `Synthesizer`."""
        hu, _ = fill_nodules(
            prepared.given.reference_hu,
            prepared.layout,
            prepared.spacing_mm,
            self._crops,
            np.random.default_rng(seed),
        )
        return hu
