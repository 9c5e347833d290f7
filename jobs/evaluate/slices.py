"""Features of slices in three planes, for the 2.5-D Fréchet distance: an option.

volume --clip [-1000, 1000], to [0, 1]--> middle slices of each plane --ResNet-50--> slices/KEY.npz

The protocol is MAISI's (Guo et al., WACV 2025) but for the grid, which is the real set's here.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from factory.digests import sha256_of_file
from factory.errors import ClusterError, FactoryError
from factory.intensity import HuWindow
from jobs.aside import written_aside
from jobs.evaluate.extractors import state_of
from jobs.evaluate.measure import MeasureSettings
from jobs.evaluate.reading import read_item
from jobs.evaluate.resnet2d import (
    NUM_FEATURES,
    ResNet50,
    is_radimagenet,
    resnet50_of,
    slice_images,
)

PLANES = {"xy": 0, "zx": 1, "yz": 2}
"""Axis of a (z, y, x) volume that the slices of a plane are counted along."""

FOLDER = "slices"

RADIMAGENET = "radimagenet-resnet50"
"""What names of extractors begin with whose weights come as RadImageNet's do."""

_WINDOW = HuWindow(-1000.0, 1000.0)
_MIDDLE = 0.4
"""Of the slices of a plane; the outer ones show little of the chest."""
_IMAGES = 16
"""Slices that the network takes at once."""

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SliceExtractor:
    """A 2-D network, and what its features are named after."""

    network: ResNet50
    name: str
    digest: str
    """SHA-256 of the file of weights."""

    def __call__(self, ct_hu: NDArray[np.int16]) -> dict[str, Features]:
        """Return the (n, 2048) features of the n middle slices of each plane of a (z, y, x) volume."""
        device = next(self.network.parameters()).device
        found = {}
        for plane, slices in middle_slices(ct_hu).items():
            images = torch.from_numpy(slices)
            parts = [images[at : at + _IMAGES] for at in range(0, len(images), _IMAGES)]
            with torch.inference_mode():
                told = [self.network(slice_images(part.to(device))).float().cpu() for part in parts]
            found[plane] = torch.cat(told).numpy()
        return found


def open_slice_extractor(weights: Path, device: str) -> SliceExtractor:
    """Return the extractor of a file of weights.

    Args:
        weights: State of a 2-D ResNet-50, torchvision's or RadImageNet's.
        device: `cpu` or `cuda`.

    Raises:
        UsageError: The file cannot be read, or is of another network.
    """
    digest = sha256_of_file(weights)
    state = state_of(weights, flag="--weights-2d", expected="a state of a 2-D ResNet-50")
    network = resnet50_of(state, where=str(weights)).to(device)
    kind = RADIMAGENET if is_radimagenet(state) else "resnet50-2d"
    return SliceExtractor(network, f"{kind}-{digest[:8]}", digest)


def middle_slices(ct_hu: NDArray[np.int16]) -> dict[str, Features]:
    """Return the middle two fifths of the slices of each plane, (n, h, w) float32 in [0, 1].

    Clipped to [-1000, 1000] HU; then the least of the volume is 0 and the greatest 1.
    """
    units = _WINDOW.encode(ct_hu)
    low, high = float(units.min()), float(units.max())
    units = (units - low) / (high - low) if high > low else np.zeros_like(units)
    found = {}
    for plane, axis in PLANES.items():
        size = units.shape[axis]
        start, end = int((1 - _MIDDLE) / 2 * size), int((1 + _MIDDLE) / 2 * size)
        middle = np.moveaxis(units, axis, 0)[start : max(end, start + 1)]
        found[plane] = np.ascontiguousarray(middle, np.float32)
    return found


class SliceMeasurer:
    """As `Measurer`, of slices."""

    def __init__(self, settings: MeasureSettings) -> None:
        torch.set_num_threads(1)
        self._extract = open_slice_extractor(Path(settings.weights), settings.device)
        if self._extract.digest != settings.digest:
            raise ClusterError(
                f"--weights-2d: found digest {self._extract.digest} on a node; expected {settings.digest}, as on "
                "the others. Give all nodes one file."
            )

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Measure the items of a batch; return a row for each."""
        rows = [self.measure(json.loads(text)) for text in batch["item"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def measure(self, item: dict[str, Any]) -> dict[str, Any]:
        """Measure one volume; return its key, an NPZ file's bytes and what was wrong with it."""
        try:
            found = self._extract(read_item(item["row"]).ct)
        except (FactoryError, OSError, ValueError, RuntimeError) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            return {"key": item["key"], "slices": b"", "problem": problem}
        return {"key": item["key"], "slices": _npz(found), "problem": ""}


class KeptSlices:
    """The measured slices of a folder, a file a volume: all of them would not fit into memory.

    Args:
        folder: Holds `slices/`, or will.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._whole = {path.stem for path in self._folder.glob("*.npz") if _is_whole(path)}

    def __contains__(self, key: str) -> bool:
        """Tell whether a volume was measured."""
        return key in self._whole

    def add(self, row: Mapping[str, Any], volume: str) -> None:
        """Keep a row of `SliceMeasurer.measure`."""
        with written_aside(self._path(row["key"])) as aside:
            aside.write_bytes(row["slices"])
        self._whole.add(row["key"])

    def write(self) -> None:
        """Do nothing: each file is written as it comes."""

    def planes(self, keys: list[str], plane: str) -> Iterator[Features]:
        """Yield the (n, 2048) features of each volume in a plane."""
        for key in keys:
            with np.load(self._path(key), allow_pickle=False) as file:
                yield file[plane]

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"


def _npz(arrays: Mapping[str, Features]) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _is_whole(path: Path) -> bool:
    try:
        # Opened here: what numpy opens and cannot read it leaves open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return all(_fits(file[plane]) for plane in PLANES)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return False


def _fits(features: NDArray[Any]) -> bool:
    return (
        len(features) > 0
        and features.shape[1:] == (NUM_FEATURES,)
        and bool(np.isfinite(features).all())
    )
