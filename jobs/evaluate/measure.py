"""One measurer of the pool: loads the network once, then turns volumes into small rows.

    item -> volume, donor -> features, thumbnail, figures of the pair -> row

A volume that cannot be read or measured is a row that says why.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from factory.errors import ClusterError, FactoryError
from factory.evaluation.histograms import lung_histogram
from factory.evaluation.lung_box import lung_thumbnail, lungs_alone
from factory.evaluation.paired import WINDOW, pair_figures
from factory.volumes import Volume
from jobs.evaluate import similarity
from jobs.evaluate.extractors import open_extractor
from jobs.evaluate.given import Row
from jobs.evaluate.reading import WHERE, read_item
from jobs.readers.rows import name_of

MS_SSIM = "ms_ssim_whole"

VECTORS = ("whole", "lungs", "thumbnail", "lung_hu")
"""Of each volume: features of all of it and of its lungs, the lungs' small image and histogram."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureSettings:
    """What a measurer is built from."""

    weights: str
    """Of MedicalNet; empty for the fixed extractor."""

    digest: str
    """Of the extractor: every node must have the same."""

    kept_as: str
    """What the keys of measured volumes go by, beside the volumes themselves."""

    device: str
    """`cpu` or `cuda`; of a job, before it has a cluster, also `auto`."""


class Measurer:
    """Measures one item a call, for `ray.data.Dataset.map_batches` with `batch_size=1`."""

    def __init__(self, settings: MeasureSettings) -> None:
        # One thread an actor: there is an actor for each CPU.
        torch.set_num_threads(1)
        weights = Path(settings.weights) if settings.weights else None
        self._extract = open_extractor(weights, settings.device)
        if self._extract.digest != settings.digest:
            raise ClusterError(
                f"extractor: found digest {self._extract.digest} on a node; expected {settings.digest}, as "
                "on the others. Give all nodes one file of weights and one version of torch."
            )
        self._has_monai = similarity.is_available()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Measure the items of a batch; return a small row for each."""
        rows = [self.measure(json.loads(text)) for text in batch["item"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def measure(self, item: dict[str, Any]) -> dict[str, Any]:
        """Measure one volume.

        Args:
            item: `key`, the rows `row` and `donor` (or None), with absolute URIs.

        Returns:
            Its key, the bytes of its float32 vectors, figures as JSON, and what was wrong with it.
        """
        row = {"key": item["key"], **dict.fromkeys(VECTORS, b""), "pair": "{}"}
        try:
            return row | self._measured(item) | {"problem": ""}
        except (FactoryError, OSError, ValueError, RuntimeError) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            return row | {"problem": problem.removeprefix(f"{WHERE}: {name_of(item['row'])}: ")}

    def _measured(self, item: dict[str, Any]) -> dict[str, Any]:
        volume = read_item(item["row"])
        units = WINDOW.encode(volume.ct)
        thumbnail = lung_thumbnail(units, volume.layout)
        whole, lungs = (
            self._extract(np.ascontiguousarray(one))
            for one in (units, lungs_alone(units, volume.layout))
        )
        if not (np.isfinite(whole).all() and np.isfinite(lungs).all()):
            raise ValueError("found features that are not finite; expected a volume of finite HU")
        pair = self._pair(volume, units, item["donor"]) if item["donor"] else {}
        return {
            "whole": whole.tobytes(),
            "lungs": lungs.tobytes(),
            "thumbnail": thumbnail.tobytes(),
            "lung_hu": lung_histogram(volume.ct, volume.layout).tobytes(),
            "pair": json.dumps(pair),
        }

    def _pair(
        self, volume: Volume, units: NDArray[np.float32], donor_row: Row
    ) -> dict[str, float | None]:
        """Return the figures of a volume and its donor; null for what is not finite."""
        donor = read_item(donor_row).ct
        figures: dict[str, float] = asdict(pair_figures(volume.ct, donor, volume.layout))
        if self._has_monai:
            figures[MS_SSIM] = similarity.ms_ssim(units, WINDOW.encode(donor))
        return {name: value if math.isfinite(value) else None for name, value in figures.items()}
