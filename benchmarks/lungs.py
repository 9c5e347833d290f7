"""How long the lungs of a full-resolution scan take to segment.

python benchmarks/lungs.py [--repeats 5] [--out docs/benchmarks/lungs.md]
"""

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from factory.ingest.lungs import segment_lungs
from factory.phantom import draw_phantom

_UPSAMPLING = 4


def main() -> None:
    """Time `segment_lungs` on a phantom scan of 300 x 512 x 512 voxels and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    phantom = draw_phantom(0, size=(75, 128, 128))
    ct = phantom.ct
    for axis in range(3):
        ct = ct.repeat(_UPSAMPLING, axis=axis)
    z, y, x = (mm / _UPSAMPLING for mm in phantom.spacing_mm)
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        segment_lungs(ct, (z, y, x))
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    table = _table(ct.shape, seconds)
    print(table)  # noqa: T201
    if arguments.out:
        arguments.out.write_text(table, encoding="utf-8")


def _table(shape: tuple[int, ...], seconds: list[float]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))
    return (
        "# Lung segmentation\n\n"
        "`python benchmarks/lungs.py`\n\n"
        f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{versions}; a phantom scan of {' x '.join(map(str, shape))} voxels (z, y, x), "
        f"{len(seconds)} runs.\n\n"
        "| seconds a scan: fastest | median | slowest |\n|---|---|---|\n"
        f"| {seconds[0]:.1f} | {seconds[len(seconds) // 2]:.1f} | {seconds[-1]:.1f} |\n"
    )


if __name__ == "__main__":
    main()
