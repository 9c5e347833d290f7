"""A trained network: it finds nodules in a CT, and lies in one file.

RUN/model.pt holds weights, and all that it takes to call the network as it was trained.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from factory.errors import ModelError, UsageError
from factory.intensity import HuWindow
from jobs.aside import written_aside
from jobs.downstream.folds import Row
from jobs.downstream.networks import NetworkCall, build_network
from jobs.downstream.padded_network import PaddedNetwork
from jobs.downstream.training import autocast

MODEL = "model.pt"
"""In a run's folder."""

_FORMAT = 2
_NODULE = 1
"""The class; 0 is background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """What a network saw of scans: volumes as `factory ingest` makes them, all of one shape."""

    shape: tuple[int, int, int]
    """(z, y, x) voxels."""
    least_mm: tuple[float, float, float]
    """Finest spacing of the training volumes, axis by axis."""
    most_mm: tuple[float, float, float]
    """Coarsest."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Grid":
        """Return the grid of training volumes, one or more."""
        z, y, x = (int(one) for one in rows[0]["shape"])
        least, most = (
            tuple(of_axis(axis) for axis in zip(*(row["spacing_mm"] for row in rows), strict=True))
            for of_axis in (min, max)
        )
        return cls(shape=(z, y, x), least_mm=least, most_mm=most)


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A network for nodules, with what it sees of a CT."""

    network: PaddedNetwork
    call: NetworkCall
    window: HuWindow
    grid: Grid
    precision: str = "float32"

    def __call__(self, ct: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Return the (z, y, x) mask of the voxels that are more likely nodule than not.

        Args:
            ct: (z, y, x) HU, on the grid that it was trained on: a volume of `factory ingest`.

        Raises:
            ValueError: The CT has another shape, or the network gives NaN.
        """
        if ct.shape != self.grid.shape:
            raise ValueError(
                f"found a CT of {ct.shape} voxels; expected {self.grid.shape}, as the network was trained on. "
                "Ingest the scan on the grid of the training cases, and give the volume of that store"
            )
        device = next(self.network.parameters()).device
        units = torch.from_numpy(self.window.encode(ct))[None, None].to(device)
        self.network.eval()
        with torch.inference_mode(), autocast(self.precision, device):
            logits = self.network(units)
        if not torch.isfinite(logits).all():
            raise ValueError(
                "found logits that are not finite; expected finite ones. Train with a lower learning_rate, "
                "or in float32"
            )
        return np.asarray((logits.argmax(dim=1)[0] == _NODULE).cpu().numpy(), np.bool_)

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all.

        Raises:
            OSError: There is no room for it, or no right to write it.
        """
        content = {
            "format": _FORMAT,
            "network": self.call.name,
            "arguments": _plain(dict(self.call.arguments)),
            "divisors": list(self.call.divisors),
            "hu_window": [self.window.low_hu, self.window.high_hu],
            "grid": asdict(self.grid),
            "precision": self.precision,
            "state_dict": {
                name: value.cpu() for name, value in self.network.network.state_dict().items()
            },
        }
        # torch's own writer answers a full disk with a RuntimeError about positions.
        packed = io.BytesIO()
        torch.save(content, packed)
        with written_aside(path) as aside:
            aside.write_bytes(packed.getbuffer())


def load_segmenter(path: Path, device: str = "cpu") -> Segmenter:
    """Read a trained network.

    Args:
        path: `model.pt` of a run.
        device: `cpu` or `cuda`.

    Raises:
        ModelError: The file cannot be read, or is no segmenter of ours.
        UsageError: MONAI is not installed, or another version of it has another network.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        call = NetworkCall(content["network"], content["arguments"], tuple(content["divisors"]))
        network = build_network(call)
        network.network.load_state_dict(content["state_dict"])
        window = HuWindow(*content["hu_window"])
        grid = Grid(**{name: tuple(value) for name, value in content["grid"].items()})
        return Segmenter(network.to(device).eval(), call, window, grid, content["precision"])
    except UsageError:
        raise
    except Exception as error:
        # What torch raises for a file that is none of its own depends on the bytes.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"{path}: found {reason}; expected {MODEL} of a `factory downstream` run. Give that file, or "
            "train again with --fresh."
        ) from error


def _plain(value: Any) -> Any:
    """Return arguments as the lists, tables and numbers that a safe reader takes."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
