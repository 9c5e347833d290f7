"""The validation loss is of fixed cases, steps and noise, and changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from jobs.train.examples import Example
from jobs.train.probes import make_probes, probe_loss
from jobs.train.steps import voxel_weight
from models.schedule import NoiseSchedule, ScheduleConfig

SCHEDULE = NoiseSchedule(ScheduleConfig(num_steps=100))


class Source:
    """Probes of 4^3 voxels; the left half of each is lung."""

    def probe(self, index: int, t: int) -> Example:
        generator = torch.Generator().manual_seed(index)
        condition = torch.full((1, 2, 4, 4, 4), -1.0)
        condition[:, 0, :, :, :2] = 1.0
        return Example(
            x_start=torch.zeros(1, 1, 4, 4, 4),
            condition=condition,
            t=torch.tensor([t]),
            noise=torch.randn(1, 1, 4, 4, 4, generator=generator),
        )


class Constant(nn.Module):
    """Predicts one number everywhere; its dropout counts in training mode only."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor(number))
        self.dropout = nn.Dropout(0.5)
        self.seen: list[int] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.seen.append(int(t))
        return self.dropout(torch.ones_like(x[:, :1])) * self.number


def loss_of(
    network: nn.Module, probes: list[Example], kind: str = "l1", lung: float = 1.0
) -> float:
    return probe_loss(
        network,
        SCHEDULE,
        probes,
        kind=kind,
        weight=lambda condition: voxel_weight(condition, lung),
        autocast=False,
        device=torch.device("cpu"),
    )


def test_diffusion_steps_are_spread_evenly_over_the_schedule() -> None:
    def steps(num_probes: int, total: int = 250) -> list[int]:
        return [int(probe.t) for probe in make_probes(Source(), num_probes, total)]

    assert steps(5) == [25, 75, 125, 175, 225]
    assert steps(1) == [125]
    assert steps(4, total=4) == [0, 1, 2, 3]
    assert steps(0) == []


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("l2", 2)])
def test_the_loss_is_the_mean_over_the_probes(kind: str, power: int) -> None:
    probes = make_probes(Source(), 3, 100)
    errors = [((0.5 - probe.noise).abs() ** power).mean().item() for probe in probes]
    assert loss_of(Constant(0.5), probes, kind) == pytest.approx(sum(errors) / 3, rel=1e-6)


def test_lungs_weigh_as_they_do_in_training() -> None:
    (probe,) = make_probes(Source(), 1, 100)
    error = (0.5 - probe.noise).abs()
    inside, outside = error[..., :2].mean().item(), error[..., 2:].mean().item()
    found = loss_of(Constant(0.5), [probe], lung=3.0)
    assert found == pytest.approx((3 * inside + outside) / 4, rel=1e-6)


def test_the_network_sees_each_probe_at_its_step() -> None:
    network = Constant(0.5)
    loss_of(network, make_probes(Source(), 4, 100))
    assert network.seen == [12, 37, 62, 87]


def test_a_network_in_training_is_measured_without_dropout_and_goes_on_as_it_was() -> None:
    network = Constant(0.5).train()
    network.dropout.eval()
    state = torch.random.get_rng_state()
    probes = make_probes(Source(), 2, 100)
    assert loss_of(network, probes) == loss_of(Constant(0.5).eval(), probes)
    assert network.training
    assert not network.dropout.training
    assert network.number.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_network_that_has_run_away_has_a_loss_that_says_so() -> None:
    found = loss_of(Constant(float("nan")), make_probes(Source(), 2, 100))
    assert found != found
