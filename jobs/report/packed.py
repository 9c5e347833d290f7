"""Slices as a page carries them: HU to the last bit, in a few bits a voxel.

(n, y, x) HU --from left to right, differences--> bytes, low ones and then high ones --> deflate --> base64

The page's script undoes it. What AAS kept of a reference differs by 0 there, so a synthetic volume costs
little beside its reference.
"""

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.pictures import slice_index
from factory.volumes import Volume

MOST_SLICES = 64
"""Axial slices of a volume in a page."""

MOST_BYTES = 2_000_000
"""Of a volume in a page; fewer slices are taken where they would be more."""

_LEVEL = 9
_FEWEST_SLICES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """Slices of a volume, and of its reference."""

    content: dict[str, Any]
    """Plain JSON, as the page's script reads it."""
    num_slices: int
    """Of the volume, in the page or not."""
    planes: tuple[int, ...]
    """z of the slices that are in the page."""

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes in the page, but for some hundred."""
        return sum(len(self.content[name] or "") for name in ("reference", "synthetic", "layout"))


def pack_slices(volume: Volume, reference: Volume | None, spacing_mm: tuple[float, ...]) -> Packed:
    """Pack axial slices, evenly through a volume, as radiologists look at them: from the feet.

    Args:
        volume: The synthetic one.
        reference: The scan that it was drawn into, on the same grid; None where there is none.
        spacing_mm: Voxel size (z, y, x).
    """
    first = slice_index(volume.layout)
    planes = planes_of(len(volume.ct), MOST_SLICES, first)
    packed = _packed(volume, reference, spacing_mm, planes, first)
    while packed.num_bytes > MOST_BYTES and len(planes) > _FEWEST_SLICES:
        planes = planes_of(len(volume.ct), len(planes) // 2, first)
        packed = _packed(volume, reference, spacing_mm, planes, first)
    return packed


def planes_of(num_slices: int, most: int, first: int) -> tuple[int, ...]:
    """Return at most `most` slices, equally far from each other; `first` is one of them."""
    step = -(-num_slices // most)
    return tuple(range(first % step, num_slices, step))


def _packed(
    volume: Volume,
    reference: Volume | None,
    spacing_mm: tuple[float, ...],
    planes: tuple[int, ...],
    first: int,
) -> Packed:
    synthetic, layout = (_seen(array, planes) for array in (volume.ct, volume.layout))
    real = None if reference is None else _seen(reference.ct, planes)
    # int16 wraps round, here and where it is added again.
    rest = synthetic if real is None else synthetic - real
    _, y_mm, x_mm = spacing_mm
    return Packed(
        content={
            "shape": list(synthetic.shape),
            "aspect": round(synthetic.shape[2] * x_mm / (synthetic.shape[1] * y_mm), 6),
            "planes": list(planes),
            "first": planes.index(first),
            "reference": None if real is None else pack_hu(real),
            "synthetic": pack_hu(rest),
            "layout": _deflated(layout.tobytes()),
        },
        num_slices=len(volume.ct),
        planes=planes,
    )


def pack_hu(hu: NDArray[np.int16]) -> str:
    """Return (n, y, x) int16 as text."""
    step = np.diff(hu, axis=-1, prepend=np.zeros_like(hu[..., :1]))
    # Small steps of either sign have a high byte of 0: 0, -1, 1, -2 become 0, 1, 2, 3.
    folded = ((step << 1) ^ (step >> 15)).astype("<u2")
    pairs = folded.view(np.uint8).reshape(-1, 2)
    return _deflated(pairs.T.tobytes())


def _seen(volume: NDArray[Any], planes: tuple[int, ...]) -> NDArray[Any]:
    """Return slices with anterior in the first row and the patient's right in the first column."""
    return np.ascontiguousarray(volume[list(planes), ::-1, ::-1])


def _deflated(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, _LEVEL)).decode("ascii")
