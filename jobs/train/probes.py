"""The validation loss: fixed cases, diffusion steps and noise, seen by the averaged model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from factory.layouts import LABELS
from jobs.train.examples import Example
from jobs.train.told import told
from models.ddpm import LossKind, eps_loss
from models.schedule import NoiseSchedule, Prediction


class ProbeSource(Protocol):
    """Where probes come from; see `jobs.train.examples.Examples`."""

    def probe(self, index: int, t: int) -> Example:
        """Return a case as it is, at diffusion step `t`, under a noise of its own."""


def make_probes(examples: ProbeSource, num_probes: int, num_diffusion_steps: int) -> list[Example]:
    """Return probes whose diffusion steps are spread evenly over the schedule.

    The loss differs more between diffusion steps than between models, so a mean over steps that
    were drawn would say little. Each probe is the middle of its share of the schedule; cases
    follow each other in turn.

    Args:
        examples: Of the validation cases.
        num_probes: How many; each stays in memory, 32 MiB at 128^3.
        num_diffusion_steps: T of the schedule.
    """
    steps = ((2 * i + 1) * num_diffusion_steps // (2 * num_probes) for i in range(num_probes))
    return [examples.probe(index, t) for index, t in enumerate(steps)]


def probe_loss(
    denoiser: nn.Module,
    schedule: NoiseSchedule,
    probes: list[Example],
    *,
    kind: str,
    prediction: str = "eps",
    weight: Callable[[Tensor], Tensor | None],
    labels: Sequence[str] = tuple(LABELS),
    autocast: bool,
    device: torch.device,
) -> float:
    """Return the mean loss over the probes; nothing of the denoiser or the training changes.

    Args:
        denoiser: The averaged network.
        schedule: The schedule it is trained with.
        probes: From `make_probes`; at least one.
        kind: Loss, `l1` or `l2`.
        prediction: What the loss is of, `eps` or `v`.
        weight: (1, 2, D, H, W) condition -> (1, 1, D, H, W) weight of each voxel, or None.
        labels: Those that the network is told of.
        autocast: Whether the network computes in bfloat16.
        device: Of the network.

    Returns:
        The mean; not finite where the network's output is not.
    """
    total = 0.0
    with evaluating(denoiser), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        for probe in probes:
            condition = probe.condition.to(device)
            loss = eps_loss(
                denoiser,
                schedule,
                probe.x_start.to(device),
                told(condition, labels),
                probe.t.to(device),
                probe.noise.to(device),
                kind=cast("LossKind", kind),
                weight=weight(condition),
                prediction=cast("Prediction", prediction),
            )
            total += float(loss)
    return total / len(probes)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode and without gradients; each part is then as it was."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
