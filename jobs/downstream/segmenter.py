"""A trained network: it finds nodules in a CT, and lies in one file.

RUN/model.pt holds weights, and all that it takes to call the network as it was trained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from factory.errors import ModelError, UsageError
from factory.intensity import HuWindow
from jobs.downstream.networks import NetworkCall, PaddedNetwork, build_network
from jobs.downstream.training import autocast

MODEL = "model.pt"
"""In a run's folder."""

_FORMAT = 1
_NODULE = 1
"""The class; 0 is background."""


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A network for nodules, with what it sees of a CT."""

    network: PaddedNetwork
    call: NetworkCall
    window: HuWindow
    precision: str = "float32"

    def __call__(self, ct: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Return the (z, y, x) mask of the voxels that are more likely nodule than not.

        Args:
            ct: (z, y, x) HU.

        Raises:
            ValueError: The network gives NaN.
        """
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
        """Write it to a file, whole or not at all."""
        content = {
            "format": _FORMAT,
            "network": self.call.name,
            "arguments": _plain(dict(self.call.arguments)),
            "divisors": list(self.call.divisors),
            "hu_window": [self.window.low_hu, self.window.high_hu],
            "precision": self.precision,
            "state_dict": {
                name: value.cpu() for name, value in self.network.network.state_dict().items()
            },
        }
        aside = path.with_name(f".{path.name}.unfinished")
        torch.save(content, aside)
        aside.replace(path)


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
        return Segmenter(network.to(device).eval(), call, window, content["precision"])
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
