"""What a model is fed, and how what it draws becomes HU again: a part of the model.

ct, layout --feed--> x_known, condition, turned as the model was trained --the model--> x_0
x_0 --decode--> HU where the model draws, the reference's own voxels elsewhere
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import CANONICAL, from_orientation, is_orientation, to_orientation
from factory.counted import counted
from factory.errors import ModelError
from factory.intensity import HuWindow, Scale, SliceRanges
from factory.layouts import LABELS, labelled_voxels, layout_channels

SCALINGS = ("window", "slices")
_FARTHEST_HU = 32_767
"""What int16 holds."""

LABEL_SETS = (tuple(LABELS), ("nodule",))


class NotFiniteError(ValueError):
    """A sampler ran away: voxels of what it drew are no number, and can have no HU."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """One reference and layout as a model takes them, and the way back."""

    x_known: NDArray[np.float32]
    """(1, a, b, c) reference in [-1, 1], in the model's orientation."""
    condition: NDArray[np.float32]
    """(L, a, b, c) channels of the model's labels, -1 absent and +1 present, likewise."""
    drawn: NDArray[np.bool_]
    """(z, y, x) voxels that are drawn."""
    labels_drawn: tuple[str, ...]
    """Labels that those voxels have in the layout."""
    scale: Scale
    """HU to [-1, 1] and back, of this reference."""
    reference_hu: NDArray[np.int16]
    """(z, y, x) HU of everything that is not drawn."""
    orientation: str

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(1, a, b, c) voxels that are the reference's, like `x_known`."""
        return to_orientation(~self.drawn, self.orientation)[None]

    def decode(self, x_0: NDArray[np.float32]) -> NDArray[np.int16]:
        """Return the (z, y, x) int16 HU of what the model drew, inside its reference.

        Args:
            x_0: (1, a, b, c) clean volume, like `x_known`.

        Raises:
            ValueError: Another shape.
            NotFiniteError: A voxel is NaN or infinite: it is never clipped into tissue.
        """
        if x_0.shape != self.x_known.shape:
            raise ValueError(
                f"x_0: found shape {x_0.shape}; expected {self.x_known.shape}. Give one volume."
            )
        if num_wrong := int(np.count_nonzero(~np.isfinite(x_0))):
            raise NotFiniteError(
                f"found {counted(num_wrong, 'voxel')} with NaN or infinity; expected window units in "
                "[-1, 1]. Look for NaN in the model's weights, or use another precision."
            )
        hu = self.scale.decode(from_orientation(x_0[0], self.orientation))
        # A window clips bone and metal, so the rest comes from the reference's own HU.
        return np.where(self.drawn, hu, self.reference_hu)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How a model's cases are prepared; plain JSON in its checkpoint."""

    scaling: str = "window"
    """`window`: one HU window for all; `slices`: each z slice of the reference by its own range."""

    hu_window: tuple[float, float] | None = (-1024.0, 600.0)
    """HU that map to -1 and +1; None where slices are scaled."""

    orientation: str = CANONICAL
    """Where the three indices of the model's volumes grow; see `factory.axes.to_orientation`."""

    labels: tuple[str, ...] = tuple(LABELS)
    """Labels of the layout that the model is told of; a channel each, in this order."""

    drawn: tuple[str, ...] = ()
    """Labels whose voxels are drawn, where they are not those that the model is told of."""

    ingest: Mapping[str, Any] = field(default_factory=dict)
    """`[ingest]` settings that its cases must have; one that is not named may be anything."""

    def __post_init__(self) -> None:
        found = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        window = "(low, high) in HU" if self.scaling == "window" else "none, for slices are scaled"
        for name, is_right, expected in (
            ("scaling", self.scaling in SCALINGS, " or ".join(SCALINGS)),
            ("hu_window", _is_window(self.hu_window, self.scaling), window),
            ("orientation", _is_orientation(self.orientation), f"three directions, as {CANONICAL}"),
            ("labels", self.labels in LABEL_SETS, " or ".join(map(str, LABEL_SETS))),
            ("drawn", self.drawn in ((), *LABEL_SETS), " or ".join(map(str, ((), *LABEL_SETS)))),
            ("ingest", isinstance(self.ingest, Mapping), "a table of [ingest] settings"),
        ):
            if not is_right:
                raise ValueError(f"{name}: found {found[name]!r}; expected {expected}")

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, where: str = "model") -> "Preprocessing":
        """Read what `as_json` wrote, or the window and ingest settings of an older checkpoint.

        Args:
            content: `ModelCard.preprocessing`.
            where: Names the model in errors.

        Raises:
            ModelError: A key or a value that this release does not know.
        """
        known = [setting.name for setting in fields(cls)]
        unknown = sorted(set(content) - set(known))
        try:
            if unknown:
                raise ValueError(f"found key {unknown[0]!r}; expected {', '.join(known)}")
            # No default for the window: a model that names none must not be fed a guess.
            return cls(**{"hu_window": None, **{key: _frozen(content[key]) for key in content}})
        except ValueError as error:
            raise ModelError(
                f"{where}: its preprocessing cannot be repeated: {error}. Use the release that wrote "
                "the checkpoint, or train or import it again."
            ) from error

    @property
    def labels_drawn(self) -> tuple[str, ...]:
        """Labels whose voxels are drawn."""
        return self.drawn or self.labels

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON; part of a checkpoint's digest."""
        return {
            "scaling": self.scaling,
            "hu_window": list(self.hu_window) if self.hu_window else None,
            "orientation": self.orientation,
            "labels": list(self.labels),
            # Only where it says something: digests of earlier checkpoints stay.
            **({"drawn": list(self.drawn)} if self.drawn else {}),
            "ingest": dict(self.ingest),
        }

    def feed(self, ct: NDArray[np.int16], layout: NDArray[np.uint8]) -> ModelInput:
        """Prepare a reference and a layout for the model.

        Args:
            ct: (z, y, x) HU.
            layout: (z, y, x) labels of `factory.layouts`.
        """
        scale = HuWindow(*self.hu_window) if self.hu_window else SliceRanges.of(ct)
        return ModelInput(
            x_known=to_orientation(scale.encode(ct), self.orientation)[None],
            condition=to_orientation(layout_channels(layout, self.labels), self.orientation),
            drawn=labelled_voxels(layout, self.labels_drawn),
            labels_drawn=self.labels_drawn,
            scale=scale,
            reference_hu=ct,
            orientation=self.orientation,
        )


def published(labels: tuple[str, ...], grid: int) -> Preprocessing:
    """Return what the weights that Lung-DDPM's authors published were trained with.

    Args:
        labels: `("lung", "nodule")` for Lung-DDPM; `("nodule",)` for weights that know only those.
        grid: Voxels along each edge of the volumes that they draw.
    """
    return Preprocessing(
        scaling="slices",
        hu_window=None,
        orientation="SLP",
        labels=labels,
        ingest={"grid": grid, "field_of_view": "scan", "spacing_mm": 0.0},
    )


def _is_window(window: Any, scaling: str) -> bool:
    if scaling == "slices":
        return window is None
    if not isinstance(window, tuple) or len(window) != 2:
        return False
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in window)
    return numbers and -_FARTHEST_HU <= window[0] < window[1] <= _FARTHEST_HU


def _is_orientation(codes: Any) -> bool:
    return isinstance(codes, str) and is_orientation(codes)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
