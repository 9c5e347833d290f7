"""What an actor does with a volume beside its reverse steps, timed on a phantom.

phantom --read, digests, feed--> [steps] --decode, assess, nodules, digests, write--> seconds
"""

import tempfile
import time

import numpy as np

from factory.digests import sha256_of_voxels
from factory.layouts import compose_layout
from factory.nodules.measure import measure_nodules
from factory.phantom import draw_phantom
from factory.preprocessing import Preprocessing
from factory.quality import assess
from factory.storage import Storage
from factory.volumes import Volume, read_volume, write_volume
from jobs.generate.config import GenerateConfig
from models.card import ModelCard

_TIMES = 2
"""The first one loads what the others have."""

_LARGEST_PHANTOM = 64
"""Voxels along each edge: drawing a larger one takes longer than what is timed."""


def seconds_beside(card: ModelCard, config: GenerateConfig) -> float:
    """Return the seconds of a CPU that a volume takes beside the network, on a disk of this machine.

    Args:
        card: Of the model; its grid is that of the volume.
        config: What quality control measures.

    Raises:
        ModelError: The model was prepared for in a way that this release does not know.
        OSError: There is no room in the temporary folder.
    """
    preprocessing = Preprocessing.from_json(card.preprocessing)
    with tempfile.TemporaryDirectory(prefix="factory-doctor-") as folder:
        storage = Storage(folder)
        write_volume(storage, "donor", phantom_volume(card.unet.grid))
        return min(_timed(storage, f"{n}", preprocessing, config) for n in range(_TIMES))


def phantom_volume(grid: int) -> Volume:
    """Return a phantom on a cubic grid, its voxels repeated where that is a large one."""
    size = min(grid, _LARGEST_PHANTOM)
    drawn = draw_phantom(0, size=(size, size, size))
    layout = compose_layout(drawn.lung, drawn.nodule > 0)
    places = (np.arange(grid) * size) // grid
    cells = np.ix_(places, places, places)
    return Volume(ct=drawn.ct[cells], layout=layout[cells], affine=drawn.affine)


def _timed(
    storage: Storage, name: str, preprocessing: Preprocessing, config: GenerateConfig
) -> float:
    start = time.perf_counter()
    donor = read_volume(storage, "donor")
    _digest(donor)
    given = preprocessing.feed(donor.ct, donor.layout)
    hu = given.decode(given.x_known)
    assess(
        hu,
        given.reference_hu,
        donor.layout,
        given.drawn,
        given.scale,
        annotated=True,
        limits=config.quality,
        promises=config.traits.promises,
    )
    measure_nodules(donor.layout, donor.affine)
    made = Volume(ct=hu, layout=donor.layout, affine=donor.affine)
    _digest(made)
    write_volume(storage, name, made)
    return time.perf_counter() - start


def _digest(volume: Volume) -> None:
    sha256_of_voxels(volume.ct)
    sha256_of_voxels(volume.layout)
