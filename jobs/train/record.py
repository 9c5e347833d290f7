"""What a run writes about itself, step by step: a line each in a file, and TensorBoard."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.train.run_folder import METRICS
from models.checkpoint import flush_to_disk

TENSORBOARD = "tensorboard"
"""In a run's folder: TensorBoard's files."""

_DIGITS = 9
"""Enough for a float32 to come back as it was."""

_SECONDS_BETWEEN_FLUSHES = 10
# TensorBoard's thread ends where the disk is full, and a full queue would then stop the training.
_LONGEST_QUEUE = 10_000


class Recorder:
    """Writes a run's lines and pictures; for one worker, the first.

    `metrics.jsonl` has each step once, in order, whatever was killed: lines of steps that are about
    to be taken again are dropped first. A line reaches the file with its step, so a killed worker
    loses none; `flush` takes them to the disk.

    Args:
        run_dir: Folder of the run.
        start_step: Steps taken so far; what stands there of later ones is dropped.
    """

    def __init__(self, run_dir: Path | str, *, start_step: int) -> None:
        from tensorboardX import SummaryWriter

        self._last_step = start_step
        metrics = Path(run_dir, METRICS)
        drop_after(metrics, start_step)
        # Line-buffered: each line is one write.
        self._file = metrics.open("a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(
            str(Path(run_dir, TENSORBOARD)),
            purge_step=start_step + 1,
            max_queue=_LONGEST_QUEUE,
            flush_secs=_SECONDS_BETWEEN_FLUSHES,
            # A file is named by the second: of two starts in one, the second would write over the first.
            filename_suffix=f".{start_step:08d}",
        )

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def step(
        self,
        step: int,
        *,
        loss: float,
        lr: float,
        seconds: float,
        wait: float,
        val_loss: float | None = None,
    ) -> None:
        """Write a step's line.

        Args:
            step: Steps taken with this one; each is told once, in order.
            loss: Mean over the batch.
            lr: Learning rate that was used.
            seconds: Time of the step, s.
            wait: Of them, those that it waited for its examples, s.
            val_loss: Loss of the averaged model on the probes, where it was measured.
        """
        assert step > self._last_step, f"step {step} after step {self._last_step}"
        self._last_step = step
        line = {
            "step": step,
            "loss": _rounded(loss),
            "lr": lr,
            "seconds": round(seconds, 4),
            "wait": round(wait, 4),
        }
        if val_loss is not None:
            line["val_loss"] = _rounded(val_loss)
        self._file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name != "step" and value is not None and not self._board_is_full():
                self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Wait until all lines are on the disk, as they must be before a checkpoint is."""
        os.fsync(self._file.fileno())

    def picture(self, step: int, png_path: Path | str) -> None:
        """Show a PNG in TensorBoard, as that of a step."""
        import numpy as np
        from matplotlib.image import imread

        # A PNG is read as shares of 1, rounded a little.
        rgb = np.rint(255.0 * np.asarray(imread(png_path))[..., :3]).astype(np.uint8)
        if not self._board_is_full():
            self._board.add_image("samples", rgb, step, dataformats="HWC")

    def _board_is_full(self) -> bool:
        """Return whether TensorBoard's thread has ended, on a full disk say, and left its queue."""
        writer = self._board.file_writer
        return (
            writer is not None and writer.event_writer._event_queue.qsize() >= _LONGEST_QUEUE // 2
        )

    def close(self) -> None:
        """Write what is left; a second time does nothing."""
        if not self._file.closed:
            self._file.close()
            self._board.close()


def drop_after(metrics: Path, step: int) -> None:
    """Keep of a file of lines one a step, up to `step`, in order; half lines go too.

    It is written aside and renamed, so that a kill leaves the old lines or the new ones.
    """
    if not metrics.exists():
        return
    before = metrics.read_bytes()
    # Of a step that was taken twice, the last: the run went on from that one.
    lines = {line["step"]: line for line in _whole_lines(before) if line["step"] <= step}
    after = "".join(json.dumps(lines[step]) + "\n" for step in sorted(lines)).encode()
    if after == before:
        return
    aside = metrics.with_name(f".{metrics.name}.unfinished")
    aside.write_bytes(after)
    flush_to_disk(aside)
    aside.replace(metrics)


def _whole_lines(content: bytes) -> Iterator[dict[str, Any]]:
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line


def _rounded(value: float) -> float | None:
    """Return a float32's digits; None for what JSON has no number for."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
