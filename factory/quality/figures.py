"""The figures of one synthetic volume, and what they say of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from factory.quality.limits import QualityLimits

_DIGITS, _MOST_DECIMALS = 3, 12
"""Of a figure that people read; and how many more it may take to tell one from its limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Figures of one synthetic volume against its reference; NaN where there is nothing to measure."""

    background_changed: int | None
    """Voxels that were not drawn and yet differ from the reference; None where they may."""

    changed_fraction: float
    """Share of the drawn voxels whose HU differ from the reference."""

    saturated_fraction: float
    """Share of the drawn voxels at either end of the HU that the model can draw."""

    lung_median_hu: float
    """Median HU of the layout's lung voxels."""

    reference_lung_median_hu: float
    """The same in the reference."""

    lung_iqr_hu: float
    """Interquartile range of the lung voxels, in HU: a spread that a few vessels do not move."""

    reference_lung_iqr_hu: float
    """The same in the reference."""

    nodule_contrast_hu: float = math.nan
    """Median HU of the layout's nodule voxels beyond that of the lung around them."""

    reference_nodule_contrast_hu: float = math.nan
    """The same voxels in the reference; NaN where the nodules are not its own."""

    seam_score: float = math.nan
    """How much harder the border of what was drawn is than in the reference: see `factory.seam`."""

    bone_median_hu: float = math.nan
    """Median HU of bone."""

    limits: QualityLimits = field(default_factory=QualityLimits)
    """What the figures are held against."""

    @property
    def verdict(self) -> str:
        """`reject` for a broken volume, `review` for an unlikely one, else `accept`."""
        if any(self._broken()):
            return "reject"
        return "review" if any(self._unlikely()) else "accept"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is beyond its limit, each with its figure and the limit; the worst first."""
        return (*self._broken(), *self._unlikely())

    def as_columns(self) -> dict[str, bool | int | float | str | list[str] | None]:
        """Return the `qc_` columns of the manifest, with None for what could not be measured."""
        return {
            "qc_background_equal": (
                None if self.background_changed is None else not self.background_changed
            ),
            "qc_background_changed": self.background_changed,
            "qc_changed_fraction": _or_none(self.changed_fraction),
            "qc_saturated_fraction": _or_none(self.saturated_fraction),
            "qc_lung_median_hu": _or_none(self.lung_median_hu),
            "qc_reference_lung_median_hu": _or_none(self.reference_lung_median_hu),
            "qc_lung_iqr_hu": _or_none(self.lung_iqr_hu),
            "qc_reference_lung_iqr_hu": _or_none(self.reference_lung_iqr_hu),
            "qc_nodule_contrast_hu": _or_none(self.nodule_contrast_hu),
            "qc_reference_nodule_contrast_hu": _or_none(self.reference_nodule_contrast_hu),
            "qc_seam_score": _or_none(self.seam_score),
            "qc_bone_median_hu": _or_none(self.bone_median_hu),
            "qc_verdict": self.verdict,
            "qc_reasons": list(self.reasons),
        }

    def _broken(self) -> Iterator[str]:
        limits = self.limits
        if self.background_changed:
            voxels = "voxel" if self.background_changed == 1 else "voxels"
            yield (
                f"background has {self.background_changed} {voxels} unlike the reference, expected none"
            )
        yield from _above(
            "share of drawn voxels unlike the reference",
            self.changed_fraction,
            limits.min_changed_fraction,
        )
        yield from _within("lung median", self.lung_median_hu, limits.lung_median_hu, " HU")
        yield from _within("bone median", self.bone_median_hu, limits.bone_median_hu, " HU")

    def _unlikely(self) -> Iterator[str]:
        limits = self.limits
        if math.isnan(self.lung_median_hu):
            yield "the layout has no lung voxel, expected some to measure"
        yield from _below(
            "distance of the lung median from the reference's",
            abs(self.lung_median_hu - self.reference_lung_median_hu),
            limits.max_lung_shift_hu,
            " HU",
        )
        yield from _within(
            "lung interquartile range over the reference's",
            _ratio(self.lung_iqr_hu, self.reference_lung_iqr_hu),
            limits.lung_spread,
        )
        yield from _above(
            "nodule contrast", self.nodule_contrast_hu, self._lowest_nodule_contrast_hu, " HU"
        )
        yield from _within("seam score", self.seam_score, limits.seam_score)
        yield from _below(
            "share of drawn voxels at the scale's ends",
            self.saturated_fraction,
            limits.max_saturated_fraction,
        )

    @property
    def _lowest_nodule_contrast_hu(self) -> float:
        theirs = self.reference_nodule_contrast_hu
        if math.isnan(theirs):
            return self.limits.min_nodule_contrast_hu
        return self.limits.min_nodule_share * max(theirs, 0.0)


def _within(name: str, figure: float, span: tuple[float, float], unit: str = "") -> Iterator[str]:
    low, high = span
    if figure < low or figure > high:
        shown, _ = _beside(figure, low if figure < low else high)
        yield f"{name} is {shown}{unit}, expected {low:g} to {high:g}{unit}"


def _above(name: str, figure: float, lowest: float, unit: str = "") -> Iterator[str]:
    if figure < lowest:
        shown, limit = _beside(figure, lowest)
        yield f"{name} is {shown}{unit}, expected at least {limit}{unit}"


def _below(name: str, figure: float, highest: float, unit: str = "") -> Iterator[str]:
    if figure > highest:
        shown, limit = _beside(figure, highest)
        yield f"{name} is {shown}{unit}, expected at most {limit}{unit}"


def _beside(figure: float, limit: float) -> tuple[str, str]:
    """Return a figure and its limit in three significant digits, or as many as tell them apart."""
    at_least = [_decimals(one) for one in (figure, limit)]
    for more in range(_MOST_DECIMALS):
        shown, bound = (
            _plain(one, max(few, at_least[0]) + more)
            for one, few in zip((figure, limit), at_least, strict=True)
        )
        if shown != bound:
            return shown, bound
    return f"{figure}", f"{limit}"


def _decimals(figure: float) -> int:
    """Return how many decimals three significant digits take."""
    if not figure or not math.isfinite(figure):
        return 0
    return max(0, _DIGITS - 1 - math.floor(math.log10(abs(figure))))


def _plain(figure: float, decimals: int) -> str:
    text = f"{figure:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else math.nan


def _or_none(figure: float) -> float | None:
    # JSON, which commits are written in, has no NaN, and a query takes null for what it is.
    return None if math.isnan(figure) else figure
