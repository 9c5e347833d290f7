"""The 2-D ResNet-50 that slices are measured by, from the files that its weights come in.

convolutions without bias   torchvision's names, or RadImageNet's own file, `backbone.0` and on
convolutions with bias      RadImageNet as converted from Keras
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from factory.errors import UsageError

NUM_FEATURES = 2048

_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks and stride of each: He et al. (CVPR 2016), table 1."""
_EXPANSION = 4
_EPS, _KERAS_EPS = 1e-5, 1.001e-5

_NUMBERED = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Places of torchvision's parts in a sequence of them."""

_PREFIX = re.compile(r"^(module\.)?(backbone\.|model\.)?")


class _Bottleneck(nn.Module):
    def __init__(self, num_in: int, width: int, stride: int, *, keras: bool) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, bias=keras)
        norm = partial(nn.BatchNorm2d, eps=_KERAS_EPS if keras else _EPS)
        # Keras halves the grid in the first convolution, torchvision in the second.
        first, second = (stride, 1) if keras else (1, stride)
        num_out = _EXPANSION * width
        self.conv1, self.bn1 = conv(num_in, width, 1, stride=first), norm(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride=second, padding=1), norm(width)
        self.conv3, self.bn3 = conv(width, num_out, 1), norm(num_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or num_in != num_out:
            self.downsample = nn.Sequential(conv(num_in, num_out, 1, stride=stride), norm(num_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 width, H, W) features of (B, C, H, W) ones."""
        kept = x if self.downsample is None else self.downsample(x)
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + kept)


class ResNet50(nn.Module):
    """ResNet-50 up to the mean over its last grid.

    Args:
        keras: With biases, and strides where Keras has them.
    """

    def __init__(self, *, keras: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=keras)
        self.bn1 = nn.BatchNorm2d(64, eps=_KERAS_EPS if keras else _EPS)
        num_in = 64
        for number, (width, blocks, stride) in enumerate(_STAGES, start=1):
            strides = (stride, *[1] * (blocks - 1))
            stage = nn.Sequential()
            for step in strides:
                stage.append(_Bottleneck(num_in, width, step, keras=keras))
                num_in = _EXPANSION * width
            self.add_module(f"layer{number}", stage)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 2048) features of (B, 3, H, W) images."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for number in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean(dim=(2, 3))


def resnet50_of(state: Mapping[str, Any], *, where: str) -> ResNet50:
    """Return the network of a file's weights, in evaluation mode.

    Args:
        state: Weights by name; a classifier's head is left out.
        where: Names them in messages.

    Raises:
        UsageError: They are of another network.
    """
    named = {_name(str(name)): weight for name, weight in state.items()}
    named = {name: weight for name, weight in named.items() if not name.startswith("fc.")}
    network = ResNet50(keras="conv1.bias" in named)
    try:
        network.load_state_dict(named)
    except (RuntimeError, TypeError, AttributeError) as error:
        found = (str(error).splitlines() or [""])[-1].strip()[:200]
        raise UsageError(
            f"--weights-2d {where}: found {found}; expected a state of a 2-D ResNet-50, torchvision's or "
            "RadImageNet's. Give that file, or leave --weights-2d away."
        ) from error
    return network.eval().requires_grad_(False)


def is_radimagenet(state: Mapping[str, Any]) -> bool:
    """Tell by their names whether weights come as RadImageNet's do; torchvision's ImageNet has others.

    Args:
        state: Weights by name, of a `resnet50_of`.
    """
    names = {_PREFIX.sub("", str(name)) for name in state}
    return "conv1.bias" in names or any(name.partition(".")[0] in _NUMBERED for name in names)


def slice_images(slices: Tensor) -> Tensor:
    """Return (B, 3, H, W) images of (B, H, W) slices in [0, 1]: grey, less ImageNet's means as BGR."""
    means = torch.tensor([0.406, 0.456, 0.485], device=slices.device)
    return slices[:, None] - means[:, None, None]


def _name(name: str) -> str:
    """Return torchvision's name of a weight."""
    first, dot, rest = _PREFIX.sub("", name).partition(".")
    return f"{_NUMBERED.get(first, first)}{dot}{rest}"
