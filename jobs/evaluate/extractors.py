"""What makes features of a volume: the fixed network, or MedicalNet's where its weights are given."""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.digests import sha256_of_file
from factory.errors import UsageError
from models.features import FixedExtractor

_DIGITS = 8
_DILATIONS = {"layer3": 2, "layer4": 4}
"""MedicalNet's: its last two stages widen their filters where a ResNet halves the grid."""

_MEDICALNET = "resnet_50.pth of MedicalNet"
_MEDICALNET_FEATURES = 2048

PUBLISHED = frozenset({"5b6189cafbee2f5604a7279b62bc163365aa6a86a377e1dc260a14275cacbd84"})
"""SHA-256 of `resnet_50.pth`, the same in the archive of MedicalNet's authors and on their page at Hugging
Face."""

INSTALL = "Install it: pip install 'ct-factory[evaluate]'"


class Scale(Enum):
    """Which tables the figures of an extractor may be set beside."""

    OWN = auto()
    """None that were published."""
    UNVERIFIED = auto()
    """Those of MedicalNet's ResNet-50, if the file is its authors': it has its shapes, and no known digest."""
    PUBLISHED = auto()
    """Those of MedicalNet's ResNet-50: the file is its authors', by its digest."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """A network, and what its features are named after."""

    network: nn.Module
    name: str
    """What tables call it, with digits of its digest."""
    digest: str
    """SHA-256: of the file of weights, or of the weights that were drawn."""
    scale: Scale
    num_features: int

    def __call__(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (F,) float32 features of a (z, y, x) volume in [-1, 1]."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            found = self.network(torch.from_numpy(units)[None, None].to(device))
        return np.asarray(found[0].float().cpu().numpy(), np.float32)


def open_extractor(weights: Path | None, device: str) -> Extractor:
    """Return the extractor that is asked for.

    Args:
        weights: `resnet_50.pth` of MedicalNet; None takes the fixed network.
        device: `cpu` or `cuda`.

    Raises:
        UsageError: The weights cannot be read, are of another network, or MONAI is not installed.
    """
    if weights is None:
        fixed = FixedExtractor()
        return Extractor(fixed.to(device), fixed.name, fixed.digest, Scale.OWN, fixed.num_features)
    digest = sha256_of_file(weights)
    state = state_of(weights, flag="--weights", expected=_MEDICALNET)
    # A head for segmentation, which features do without.
    state = {name: one for name, one in state.items() if not name.startswith("conv_seg.")}
    network = medicalnet(state, where=str(weights)).to(device)
    scale = Scale.PUBLISHED if digest in PUBLISHED else Scale.UNVERIFIED
    told = "medicalnet-resnet50" if scale is Scale.PUBLISHED else "medicalnet-resnet50-unverified"
    name = f"{told}-{digest[:_DIGITS]}"
    return Extractor(network, name, digest, scale, _MEDICALNET_FEATURES)


def medicalnet(state: dict[str, Tensor], *, where: str) -> nn.Module:
    """Return MedicalNet's 3-D ResNet-50, as HA-GAN takes features from it.

    Chen, Ma and Zheng (arXiv 1904.00625): shortcuts of type B, a first convolution of stride 2, and
    dilation 2 and 4 instead of stride in the last two stages, so that a feature is 8 voxels wide;
    the mean over the grid gives 2,048 of them.

    Args:
        state: Weights by their published names, without `module.`.
        where: Names them in messages.

    Raises:
        UsageError: They are of another network, or MONAI is not installed.
    """
    try:
        from monai.networks.nets.resnet import resnet50
    except ImportError as error:
        raise UsageError(
            f"--weights {where}: found no MONAI, whose network they are for; expected it. {INSTALL}."
        ) from error
    network: nn.Module = resnet50(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    )
    for stage, dilation in _DILATIONS.items():
        _dilate(network.get_submodule(stage), dilation)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        found = str(error).splitlines()[-1].strip()
        raise _other_weights("--weights", where, found, _MEDICALNET) from error
    return network.eval().requires_grad_(False)


def _dilate(stage: nn.Module, dilation: int) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.padding = module.dilation = (dilation,) * 3


def state_of(weights: Path, *, flag: str, expected: str) -> dict[str, Tensor]:
    """Return the weights in a file by their names, without `module.`.

    Args:
        weights: What `torch.save` wrote of a state; nothing else in it is run.
        flag: That named the file; for messages.
        expected: What the file should be; for messages.

    Raises:
        UsageError: It is no such file.
    """
    try:
        content: Any = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises for a file that is none of its own depends on the bytes.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise _other_weights(flag, weights, reason, expected) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        found = f"a {type(content).__name__} without weights"
        raise _other_weights(flag, weights, found, expected)
    return {str(name).removeprefix("module."): weight for name, weight in state.items()}


def _other_weights(flag: str, where: Path | str, found: str, expected: str) -> UsageError:
    return UsageError(
        f"{flag} {where}: found {found}; expected {expected}. Give that file, or leave {flag} away."
    )
