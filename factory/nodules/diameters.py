"""How large nodules are: the distribution that the diameters of new ones are drawn from.

Every distribution is a table of quantiles, drawn from by whole numbers, so that one seed draws one
diameter whatever the machine.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from factory.digests import digest_json
from factory.errors import UsageError

LIDC_QUANTILES_MM = (
    *(3.37, 4.45, 4.66, 4.91, 5.04, 5.28, 5.36, 5.48, 5.58, 5.74),
    *(5.91, 6.02, 6.14, 6.29, 6.41, 6.57, 6.72, 6.88, 7.01, 7.18),
    *(7.33, 7.51, 7.76, 8.08, 8.33, 8.71, 8.98, 9.35, 9.94, 10.37),
    *(11.07, 11.75, 12.56, 13.41, 14.30, 15.50, 16.97, 18.93, 21.32, 24.33),
    33.51,
)
"""Quantiles 0, 2.5, 5 ... 100 % of the diameters (sphere of the same volume) of 1,179 nodules.

Measured on the masks of the NODE21 generation baseline, which are of LIDC-IDRI nodules by way of
LUNA16 (CC BY). LUNA16 has nodules of 3 mm and more that three of four readers marked."""

_DRAWS = 4096
"""Values that a distribution is drawn as; each is as likely as the others."""
_QUANTILES = 1000
_MAX_VALUES = 1_000_000
_COLUMN = "diameter_mm"
_EXPECTED = (
    "expected LIDC, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA (mm; sigma of the logarithm), or a CSV "
    f"with a column {_COLUMN}"
)


@dataclass(frozen=True, slots=True)
class Diameters:
    """A distribution of diameters, as quantiles at even steps with straight lines between."""

    quantiles_mm: tuple[float, ...]
    """At least two, none below the one before."""

    @property
    def digest(self) -> str:
        """32 hex digits over the table."""
        return digest_json(self.quantiles_mm)

    def within(self, low_mm: float, high_mm: float) -> NDArray[np.float64]:
        """Return what to draw from evenly, (n,) mm ascending: the distribution between two bounds.

        Raises:
            ValueError: It has nothing there.
        """
        places = (np.arange(_DRAWS) + 0.5) / _DRAWS * (len(self.quantiles_mm) - 1)
        values = np.interp(places, np.arange(len(self.quantiles_mm)), self.quantiles_mm).round(3)
        kept = values[(values >= low_mm) & (values <= high_mm)]
        if not kept.size:
            raise ValueError(
                f"diameters are drawn from {values[0]:g} to {values[-1]:g} mm, and none lies in the "
                f"{low_mm:.1f} to {high_mm:.1f} mm that the grid shows and min_diameter_mm and "
                "max_diameter_mm allow; expected some. Change these, or take a finer grid"
            )
        return np.asarray(kept)


def diameters_of(text: str) -> Diameters:
    """Return the distribution that a setting names.

    Args:
        text: `LIDC`, `uniform:4:20`, `lognormal:8:0.5`, or the path of a CSV with a column
            `diameter_mm`.

    Raises:
        UsageError: It names none, or the CSV has no diameters.
    """
    name, *numbers = text.split(":")
    if name.upper() == "LIDC" and not numbers:
        return Diameters(LIDC_QUANTILES_MM)
    if name in ("uniform", "lognormal"):
        first, second = _two(text, numbers)
        return _uniform(text, first, second) if name == "uniform" else _lognormal(first, second)
    if not text.endswith(".csv"):
        raise UsageError(f"diameters: found {text!r}; {_EXPECTED}. Correct it.")
    return Diameters(_from_csv(Path(text)))


def _two(text: str, numbers: list[str]) -> tuple[float, float]:
    try:
        first, second = (float(number) for number in numbers)
    except ValueError:
        first = second = math.nan
    if not (0.0 < first < math.inf and 0.0 < second < math.inf):
        raise UsageError(f"diameters: found {text!r}; {_EXPECTED}, numbers above 0. Correct it.")
    return first, second


def _uniform(text: str, low: float, high: float) -> Diameters:
    if low > high:
        raise UsageError(f"diameters: found {text!r}; expected the lower bound first. Swap them.")
    return Diameters((low, high))


def _lognormal(median: float, sigma: float) -> Diameters:
    normal = NormalDist()
    scores = [normal.inv_cdf((step + 0.5) / _QUANTILES) for step in range(_QUANTILES)]
    # Rounded, so that the last bit of a machine's logarithm cannot move a diameter.
    return Diameters(tuple(round(median * math.exp(min(sigma * z, 50.0)), 4) for z in scores))


def _from_csv(path: Path) -> tuple[float, ...]:
    where = f"diameters {path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            values = _column(file, where)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{where}: cannot be read ({error}); expected a CSV with a column {_COLUMN}. Correct the path."
        ) from error
    if not values:
        raise UsageError(f"{where}: found no row; expected a diameter in mm in each. Add some.")
    values.sort()
    return tuple(values * 2 if len(values) == 1 else values)


def _column(lines: Iterable[str], where: str) -> list[float]:
    reader = csv.DictReader(lines)
    if _COLUMN not in (reader.fieldnames or ()):
        raise UsageError(
            f"{where}: found columns {', '.join(reader.fieldnames or ['none'])}; expected {_COLUMN}, in mm. "
            "Name the column."
        )
    values = []
    for row in islice(reader, _MAX_VALUES):
        value = _number(row[_COLUMN])
        if not 0.0 < value < math.inf:
            raise UsageError(
                f"{where} line {reader.line_num}: found {row[_COLUMN]!r}; expected a diameter above 0 mm. "
                "Correct or remove the line."
            )
        values.append(value)
    return values


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
