import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.noise import NoiseAhead

LIKE = torch.zeros(1, 1, 2, 2, 2)


def numbered() -> Callable[[tuple[int, ...]], Tensor]:
    count = iter(range(100))
    return lambda shape: torch.full(shape, float(next(count)))


@pytest.mark.parametrize("ahead", [False, True])
def test_noise_comes_in_the_order_of_the_draws_and_no_more_is_drawn(ahead: bool) -> None:
    source = numbered()
    with NoiseAhead(source, LIKE, 7, ahead=ahead) as noise:
        assert [noise.next()[0, 0, 0, 0, 0].item() for _ in range(7)] == [*range(7)]
    assert source((1,)).item() == 7


def test_ahead_of_its_use_noise_is_drawn_on_another_thread_two_at_most() -> None:
    drawn, threads = [], set()
    enough = threading.Event()

    def draw(shape: tuple[int, ...]) -> Tensor:
        drawn.append(shape)
        threads.add(threading.get_ident())
        if len(drawn) == 2:
            enough.set()
        return torch.zeros(shape)

    with NoiseAhead(draw, LIKE, 5, ahead=True) as noise:
        assert enough.wait(10)
        assert len(drawn) == 2
        for _ in range(5):
            noise.next()
    assert len(drawn) == 5
    assert threading.get_ident() not in threads
    assert len(threads) == 1


def test_without_a_gpu_noise_is_drawn_when_it_is_asked_for() -> None:
    drawn = []

    def draw(shape: tuple[int, ...]) -> Tensor:
        drawn.append(shape)
        return torch.zeros(shape)

    with NoiseAhead(draw, LIKE, 5) as noise:
        assert drawn == []
        noise.next()
        assert drawn == [(1, 1, 2, 2, 2)]


@pytest.mark.parametrize("ahead", [False, True])
def test_noise_takes_the_dtype_of_the_volume(ahead: bool) -> None:
    with NoiseAhead(numbered(), LIKE.double(), 1, ahead=ahead) as noise:
        assert noise.next().dtype == torch.float64


@pytest.mark.parametrize("ahead", [False, True])
def test_more_noise_than_was_announced_is_refused(ahead: bool) -> None:
    with NoiseAhead(numbered(), LIKE, 1, ahead=ahead) as noise:
        noise.next()
        with pytest.raises(ValueError, match="all of the noise that was announced is drawn"):
            noise.next()


@pytest.mark.parametrize("ahead", [False, True])
def test_noise_of_another_shape_is_refused(ahead: bool) -> None:
    with (
        NoiseAhead(lambda shape: torch.zeros(1), LIKE, 3, ahead=ahead) as noise,
        pytest.raises(ValueError, match=r"returned shape \(1,\) where \(1, 1, 2, 2, 2\)"),
    ):
        noise.next()


def test_a_sampler_that_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with NoiseAhead(numbered(), LIKE, 50, ahead=True) as noise:
        noise.next()
    assert threading.active_count() == before
