"""What differs from one phantom patient to the next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """Sizes in mm and HU of one patient; x is right, y anterior, z superior."""

    rotation: NDArray[np.float64]
    """(3, 3) how the patient lies in the scanner."""

    shift_mm: NDArray[np.float64]
    """(3,) where the patient lies in the field of view, (x, y, z)."""

    body_x: float
    """Half the width of the trunk."""

    body_y: float
    """Half the depth of the trunk."""

    fat_mm: float
    """Thickness of the subcutaneous fat."""

    breast_mm: float
    """How far the breasts stand out; 0 for none."""

    chest_x: float
    """Half the width of the pleural cavity at its widest."""

    chest_y: float
    """Half the depth of the pleural cavity at its widest."""

    chest_centre_y: float
    """Where the pleural cavity's centre lies from the trunk's."""

    apex_z: float
    """Top of the lungs."""

    dome_right_z: float
    """Top of the right hemidiaphragm."""

    dome_left_z: float
    """Top of the left hemidiaphragm, the lower one."""

    heart: float
    """Size of the heart, 1 for the average."""

    heart_turn_deg: float
    """Direction of the heart's long axis."""

    aorta_mm: float
    """Radius of the ascending aorta."""

    arch_z: float
    """Top of the aortic arch."""

    vertebra_mm: float
    """From one vertebra to the next."""

    vertebra_phase: float
    """Height of a vertebra's middle."""

    blood_hu: float
    """40 without contrast medium, up to 150 late after it."""

    lung_hu: float
    """Mean of aerated lung without vessels."""

    gas_mm: float
    """Half the width of the gas bubble in the stomach."""

    noise_hu: float
    """Standard deviation of the noise in soft tissue."""

    @property
    def spine_y(self) -> float:
        """Middle of the vertebral bodies at mid-thorax."""
        return self.chest_centre_y - self.chest_y + 27.0


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a patient; every field varies."""
    fat_mm = rng.uniform(6.0, 18.0)
    chest_x, chest_y = rng.uniform(116.0, 134.0), rng.uniform(72.0, 84.0)
    body_y = chest_y + 0.9 * fat_mm + rng.uniform(20.0, 24.0)
    dome_right_z = rng.uniform(-66.0, -48.0)
    has_contrast = rng.random() < 0.5
    return Anatomy(
        rotation=Rotation.from_euler("xyz", rng.uniform(-4.0, 4.0, 3), degrees=True).as_matrix(),
        shift_mm=rng.uniform((-5.0, -5.0, -6.0), (5.0, 5.0, 6.0)),
        body_x=chest_x + fat_mm + rng.uniform(18.0, 23.0),
        body_y=body_y,
        fat_mm=fat_mm,
        breast_mm=rng.uniform(8.0, 16.0) * float(rng.random() < 0.5),
        chest_x=chest_x,
        chest_y=chest_y,
        chest_centre_y=body_y - fat_mm - 17.0 - chest_y,
        apex_z=rng.uniform(104.0, 122.0),
        dome_right_z=dome_right_z,
        dome_left_z=dome_right_z - rng.uniform(4.0, 16.0),
        heart=rng.uniform(0.88, 1.12),
        heart_turn_deg=rng.uniform(-48.0, -28.0),
        aorta_mm=rng.uniform(12.5, 17.0),
        arch_z=rng.uniform(48.0, 62.0),
        vertebra_mm=rng.uniform(23.0, 27.0),
        vertebra_phase=rng.uniform(0.0, 25.0),
        blood_hu=rng.uniform(110.0, 150.0) if has_contrast else rng.uniform(38.0, 50.0),
        lung_hu=rng.uniform(-880.0, -840.0),
        gas_mm=rng.uniform(12.0, 24.0),
        noise_hu=rng.uniform(9.0, 18.0),
    )
