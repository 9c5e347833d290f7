"""How much GPU memory sampling and training take, estimated without a GPU and measured on one.

python benchmarks/memory.py [--out docs/benchmarks/memory.md]
"""

import argparse
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from models.ddpm import eps_loss
from models.ema import Ema
from models.engine import Precision, SamplingEngine
from models.footprint import Footprint, forward_flops, sampling_footprint, training_footprint
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

_PAPER = UNet3DConfig()
_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

_NOTES = """\
GB are 10^9 bytes. The network is the paper's: 64 channels, attention at an eighth of the side.

- **State**: when sampling, the engine's weights; when training, float32 weights,
  gradients, Adam's two moments and the moving average. Gradients are views of
  DistributedDataParallel's buckets, which take nothing more.
- **Activations**: the most that was alive at one moment beyond the state. The network runs on torch's
  meta device, and each storage is followed from its birth to its death. On the CPU the same count
  agrees with torch's profiler to the byte where kernels have no workspace.
- **bfloat16** is autocast when training, and the engine's own cast when sampling. Norms compute in
  float32 either way. The engine's voxels lie channels last; CUDA's group norm takes a copy of them.
- **Assumed**: attention through a fused kernel (xformers, or torch's memory-efficient one), which
  never holds the matrix of scores. Torch's plain one holds at least 4 bytes for each pair of voxels:
  67 MB at 16^3, 4.3 GB at 32^3.
- **Not seen**: workspaces inside a kernel, of cuDNN above all; the CUDA context (about half a GB);
  gaps between allocations; the single-channel volumes of a sampler (8 MB each at 128^3, 67 MB at
  256^3); what a compiled engine saves or reserves.
- At 256^3 the joined features of the finest level are 2^31 numbers: their convolution needs 64-bit
  indexing, which cuDNN has from 9.3 on.

**Checkpointing** keeps what convolutions put out, and attention as a whole; norms, activations,
upsampling and concatenations are computed again on the way back. These were compared, at 128^3 in
bfloat16, once, when the choice was made:

| computed again | activations GB | TFLOP a step |
|---|---|---|
| nothing | 13.8 | 16.6 |
| all but convolutions and attention | 8.2 | 16.6 |
| all but attention and the first convolution of a block | 6.6 | 17.8 |
| whole residual blocks | 5.9 | 20.6 |

The second is the one that takes no convolution twice, and convolutions are where the time goes. The
other two buy memory that a 24 GB GPU does not lack with up to a quarter more operations.
"""


def main() -> None:
    """Print the tables, and write the page with `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    page = _page()
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")


def _page() -> str:
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else "no GPU: estimates only"
    return (
        "# Memory on a GPU\n\n"
        "`python benchmarks/memory.py`\n\n"
        f"Python {platform.python_version()}, torch {version('torch')}; {device}.\n\n"
        "Sampling, one volume:\n\n"
        f"{_HEAD}{''.join(_sampling_rows())}\n"
        "A training step, batch 1:\n\n"
        f"{_HEAD}{''.join(_training_rows())}\n"
        f"A prediction at 128^3 is {forward_flops(_PAPER) / 1e12:.2f} TFLOP, at 256^3 "
        f"{forward_flops(_PAPER, grid=256) / 1e12:.1f}.\n\n"
        f"{_NOTES}"
    )


_HEAD = "| | state GB | activations GB | together GB | measured GB |\n|---|---|---|---|---|\n"


def _sampling_rows() -> Iterator[str]:
    for grid in (128, 192, 256):
        for precision in _PRECISIONS:
            footprint = sampling_footprint(_PAPER, grid=grid, precision=precision)
            measured = _measured(lambda g=grid, p=precision: _sampling(g, p))
            yield _row(f"{grid}^3 {precision}", footprint, measured)


def _training_rows() -> Iterator[str]:
    for grid in (128, 192):
        for precision in _PRECISIONS:
            for checkpointing in (False, True):
                footprint = training_footprint(
                    _PAPER,
                    grid=grid,
                    precision=precision,
                    activation_checkpointing=checkpointing,
                )
                measured = _measured(
                    lambda g=grid, p=precision, c=checkpointing: _training(g, p, c)
                )
                name = f"{grid}^3 {precision}{', checkpointing' if checkpointing else ''}"
                yield _row(name, footprint, measured)


def _row(name: str, footprint: Footprint, measured: str) -> str:
    sizes = footprint.state_bytes, footprint.activation_bytes, footprint.total_bytes
    return f"| {name} | {' | '.join(f'{size / 1e9:.1f}' for size in sizes)} | {measured} |\n"


def _measured(prepare: Callable[[], Callable[[], None]]) -> str:
    """Return the peak of the second call on CUDA; the first one tunes kernels and makes state."""
    if not torch.cuda.is_available():
        return "-"
    try:
        call = prepare()
        call()
        torch.cuda.reset_peak_memory_stats()
        call()
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"
    except torch.OutOfMemoryError:
        return "does not fit"
    finally:
        torch.cuda.empty_cache()


def _sampling(grid: int, precision: Precision) -> Callable[[], None]:
    engine = SamplingEngine(UNet3D(_PAPER).cuda(), precision=precision)
    x = torch.randn(1, _PAPER.in_channels, grid, grid, grid, device="cuda")

    def predict() -> None:
        with torch.inference_mode():
            engine(x, torch.zeros(1, dtype=torch.long, device="cuda"))

    return predict


def _training(grid: int, precision: Precision, checkpointing: bool) -> Callable[[], None]:
    network = UNet3D(_PAPER).cuda()
    network.activation_checkpointing = checkpointing
    average, optimizer = Ema(network), torch.optim.Adam(network.parameters())
    schedule = NoiseSchedule(ScheduleConfig())
    x = torch.randn(1, _PAPER.in_channels, grid, grid, grid, device="cuda")
    t = torch.zeros(1, dtype=torch.long, device="cuda")

    def step() -> None:
        # Zeros, not None: the buckets of DistributedDataParallel stay too.
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = eps_loss(network, schedule, x[:, :1], x[:, 1:], t, torch.randn_like(x[:, :1]))
        loss.backward()
        optimizer.step()
        average.update(0)

    return step


if __name__ == "__main__":
    main()
