"""Where a sampler's noise comes from: one source, in a fixed order, made ahead of its use."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

DrawNoise = Callable[[tuple[int, ...]], Tensor]
"""shape -> standard normal tensor; the only source of a sampler's noise."""

_AHEAD = 2
"""Volumes of noise that wait for their step: those of the next one, or two."""


class NoiseAhead:
    """Hands out noise of one shape, in the order of the draws.

    For a CUDA volume another thread draws while the device computes, into pinned memory, so that
    the copy does not hold the host up. Elsewhere a volume is drawn when it is asked for: a second
    thread would take its cores from the network.

    Args:
        draw_noise: The source; never called by two threads at once.
        like: Its shape, device and dtype are the noise's.
        count: How many volumes will be asked for; no more are drawn.
        ahead: Whether to draw on another thread; None does so for a CUDA volume.
    """

    def __init__(
        self, draw_noise: DrawNoise, like: Tensor, count: int, ahead: bool | None = None
    ) -> None:
        self._draw_noise = draw_noise
        self._like = like
        self._left = count
        threaded = like.is_cuda if ahead is None else ahead
        self._pool = ThreadPoolExecutor(max_workers=1) if threaded else None
        self._waiting: deque[Future[Tensor]] = deque()

    def __enter__(self) -> "NoiseAhead":
        self._draw_ahead()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def next(self) -> Tensor:
        """Return the next volume of noise.

        Raises:
            ValueError: The source returned another shape, or more than `count` were asked for.
        """
        if self._pool is None:
            self._take()
            return self._drawn().to(self._like)
        if not self._waiting:
            self._take()
        noise = self._waiting.popleft().result()
        self._draw_ahead()
        return noise.to(self._like.device, self._like.dtype, non_blocking=True)

    def _draw_ahead(self) -> None:
        while self._pool is not None and self._left and len(self._waiting) < _AHEAD:
            self._take()
            self._waiting.append(self._pool.submit(self._drawn_for_copy))

    def _take(self) -> None:
        if not self._left:
            raise ValueError("all of the noise that was announced is drawn; announce more")
        self._left -= 1

    def _drawn_for_copy(self) -> Tensor:
        noise = self._drawn()
        if not self._like.is_cuda or noise.is_cuda:
            return noise
        # A thread begins on the first GPU, which may be another's.
        with torch.cuda.device(self._like.device):
            return noise.pin_memory()

    def _drawn(self) -> Tensor:
        noise = self._draw_noise(tuple(self._like.shape))
        if noise.shape != self._like.shape:
            raise ValueError(
                f"draw_noise returned shape {tuple(noise.shape)} where "
                f"{tuple(self._like.shape)} was asked for"
            )
        return noise
