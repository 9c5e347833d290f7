"""How Lung-DDPM's own code numbers and names the tensors of its U-Net.

input_blocks    the stem; of each level its residual blocks, then its strided convolution
middle_block    residual block, attention, residual block
output_blocks   of each level its residual blocks, the last with the upsampling to the next
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from statistics import mode

from torch import Tensor

from models.unet3d_config import UNet3DConfig

STEM = "input_blocks.0.0"

_ATTENDING_SIDE = 16
_GRID = 128

_ENDS = {
    "time_embedding.0": "time_embed.0",
    "time_embedding.2": "time_embed.2",
    "stem": STEM,
    "head_norm": "out.0",
    "head": "out.2",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "step": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}
_ATTENTION = {"norm": "norm", "qkv": "qkv", "proj": "proj_out"}

_INPUT_BLOCK = re.compile(r"input_blocks\.(\d{1,4})\.(.+)")
# A residual block's own width: all of its tensors begin with it, but for the first norm.
_OF_ITS_WIDTH = re.compile(r"0\.(in_layers\.2|emb_layers|out_layers|skip_connection)\..+")


def published_names(config: UNet3DConfig) -> dict[str, str]:
    """Return what the published code calls each module of a `UNet3D` that has tensors.

    Where a residual block keeps its width there is no `skip`, and most have no attention: their
    names are here all the same.
    """
    num_blocks, num_levels = config.num_res_blocks, len(config.channel_mults)
    names = dict(_ENDS)
    for level in range(num_levels):
        first = 1 + level * (num_blocks + 1)
        for i in range(num_blocks):
            names |= _block_names(f"encoder.{level}.blocks.{i}", f"input_blocks.{first + i}")
        names[f"encoder.{level}.down"] = f"input_blocks.{first + num_blocks}.0.op"
    names |= _renamed("bottleneck.res1", "middle_block.0", _RESIDUAL)
    names |= _renamed("bottleneck.attention", "middle_block.1", _ATTENTION)
    names |= _renamed("bottleneck.res2", "middle_block.2", _RESIDUAL)
    for depth in range(num_levels):
        first = depth * (num_blocks + 1)
        for i in range(num_blocks + 1):
            names |= _block_names(f"decoder.{depth}.blocks.{i}", f"output_blocks.{first + i}")
        attends = num_levels - 1 - depth == config.attention_level
        index = 2 if attends else 1
        names[f"decoder.{depth}.up"] = f"output_blocks.{first + num_blocks}.{index}.conv"
    return names


def infer_config(tensors: Mapping[str, Tensor]) -> UNet3DConfig:
    """Return the architecture that tensors under the published names belong to.

    The published code attends at a side of 16 voxels, so the level that attends tells the grid.
    One tensor that is missing or misshapen, the stem apart, does not mislead it.

    Raises:
        ValueError: They are no network of this family; the text says what was found and expected.
    """
    base_channels, in_channels = _stem_channels(tensors)
    levels = _encoder_levels(tensors)
    counts = [len(level) for level in levels]
    if min(counts) != max(counts) or not counts[0]:
        raise ValueError(f"found levels of {counts} residual blocks; expected as many in each")
    attending = [i for i, level in enumerate(levels) if any(attends for _, attends in level)]
    if len(attending) > 1:
        raise ValueError(f"found attention in levels {attending}; expected it in one at most")
    widths = [level[0][0] for level in levels]
    if any(width % base_channels for width in widths):
        raise ValueError(
            f"found levels of {widths} channels; expected multiples of the stem's {base_channels}"
        )
    return UNet3DConfig(
        grid=_ATTENDING_SIDE << attending[0] if attending else _GRID,
        # A network without attention, the bottleneck apart, must not get it from its grid.
        attention_max_size=_ATTENDING_SIDE if attending else 1,
        in_channels=in_channels,
        base_channels=base_channels,
        channel_mults=tuple(width // base_channels for width in widths),
        num_res_blocks=counts[0],
    )


def _block_names(own: str, published: str) -> dict[str, str]:
    return {
        **_renamed(f"{own}.res", f"{published}.0", _RESIDUAL),
        **_renamed(f"{own}.attention", f"{published}.1", _ATTENTION),
    }


def _renamed(own: str, published: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {f"{own}.{part}": f"{published}.{theirs}" for part, theirs in parts.items()}


def _stem_channels(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    stem = tensors.get(f"{STEM}.weight")
    shape = "none" if stem is None else tuple(stem.shape)
    if stem is None or stem.ndim != 5 or 0 in stem.shape:
        raise ValueError(
            f"found {shape} as shape of {STEM}.weight; expected (channels, input channels, 3, 3, 3)"
        )
    return stem.shape[0], stem.shape[1]


def _encoder_levels(tensors: Mapping[str, Tensor]) -> list[list[tuple[int, bool]]]:
    """Return the encoder's levels: of each residual block its width, and whether it attends."""
    blocks: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if matched := _INPUT_BLOCK.fullmatch(name):
            blocks[int(matched[1])][matched[2]] = tensor
    levels: list[list[tuple[int, bool]]] = [[]]
    for position in range(1, max(blocks) + 1):
        parts = blocks.get(position, {})
        widths = [
            tensor.shape[0]
            for part, tensor in parts.items()
            if _OF_ITS_WIDTH.fullmatch(part) and tensor.ndim
        ]
        if any(part.startswith("0.op.") for part in parts):
            levels.append([])
        elif widths:
            levels[-1].append((mode(widths), any(part.startswith("1.") for part in parts)))
        else:
            raise ValueError(
                f"found {', '.join(sorted(parts)) or 'nothing'} under input_blocks.{position}; "
                "expected a residual block (in_layers, emb_layers, out_layers) or a strided "
                "convolution (op)"
            )
    return levels
