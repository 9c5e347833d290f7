"""Pictures of what the averaged model draws while it trains, beside the scans drawn from."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from factory.axes import spacing_zyx
from factory.layouts import NODULE
from factory.pictures import ComparisonRow, comparison_figure
from factory.preprocessing import Preprocessing
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.train.probes import evaluating
from jobs.train.settings import StoredCase
from models.aas import aas_sample
from models.schedule import NoiseSchedule

SAMPLES = "samples"
"""In a run's folder: the pictures."""

NUM_STEPS = 25
"""Of `dpmpp_2m`; with so few it draws as well as the published sampler with all."""

_CASES_LOOKED_AT = 16

Reference = tuple[str, Volume]
"""What a row of the picture is called, and the scan with the layout to draw after."""


def picture_name(step: int) -> str:
    """Return the file of a step's picture, under `SAMPLES`."""
    return f"step_{step:08d}.png"


def read_references(
    cases_url: str,
    validation_cases: Sequence[StoredCase],
    training_cases: Sequence[StoredCase],
    num_samples: int,
) -> list[Reference]:
    """Return the scans to draw after: validation cases first, of each kind those with nodules.

    Of a large store, only the first cases are looked at.

    Raises:
        StoreError: A case cannot be read.
    """
    storage = Storage(cases_url)

    def found() -> Iterator[Reference]:
        for cases, note in ((validation_cases, "held out"), (training_cases, "trained on")):
            looked_at = cases[: max(num_samples, _CASES_LOOKED_AT)]
            named = [
                (f"{case.case_id}, {note}", read_volume(storage, case.image_path))
                for case in looked_at
            ]
            yield from sorted(named, key=lambda pair: not (pair[1].layout == NODULE).any())

    return list(islice(found(), num_samples))


def write_samples(
    denoiser: nn.Module,
    schedule: NoiseSchedule,
    references: Sequence[Reference],
    preprocessing: Preprocessing,
    path: Path | str,
    *,
    seed: int,
) -> None:
    """Draw a volume after each reference, and write them beside it as one PNG.

    Each row has a noise of its own, from `seed` and its place alone, so that the pictures of one
    run can be laid over each other. Nothing of the network, and no random number of the training,
    is changed.

    Args:
        denoiser: The averaged network.
        schedule: The schedule it is trained with.
        references: What to draw after; at least one.
        preprocessing: Of the model.
        path: PNG to write, whole or not at all.
        seed: Of the run.

    Raises:
        UsageError: There are no references.
        ValueError: The network drew NaN.
    """
    path = Path(path)
    with evaluating(denoiser):
        rows = [
            _row(denoiser, schedule, reference, preprocessing, seed=seed + place)
            for place, reference in enumerate(references)
        ]
    aside = path.with_name(f".{path.name}.unfinished")
    comparison_figure(rows, aside)
    aside.replace(path)


def _row(
    denoiser: nn.Module,
    schedule: NoiseSchedule,
    reference: Reference,
    preprocessing: Preprocessing,
    *,
    seed: int,
) -> ComparisonRow:
    title, volume = reference
    device = next(denoiser.parameters()).device
    generator = torch.Generator().manual_seed(seed)

    def draw_noise(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator)

    given = preprocessing.feed(volume.ct, volume.layout)
    x_0 = aas_sample(
        denoiser,
        schedule,
        layout=torch.from_numpy(given.condition)[None].to(device),
        x_known=torch.from_numpy(given.x_known)[None].to(device),
        draw_noise=draw_noise,
        sampler="dpmpp_2m",
        num_steps=min(NUM_STEPS, schedule.num_steps),
        known_mask=torch.from_numpy(given.kept)[None].to(device) if preprocessing.drawn else None,
    )
    return ComparisonRow(
        title=f"{title}, seed {seed}",
        reference_hu=volume.ct,
        layout=volume.layout,
        synthetic_hu=given.decode(x_0[0].cpu().numpy()),
        spacing_mm=spacing_zyx(volume.affine),
    )
