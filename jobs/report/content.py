"""All that a page says, gathered before a line of it is written."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from jobs.report.attached import Attached
from jobs.report.gather import Gathered
from jobs.report.voxels import Histograms, Shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a page is made of."""

    lake: Gathered
    synthetic: pa.Table
    """Synthetic rows in the order of the plan."""
    shown: Sequence[Shown]
    rule: str
    """How these were chosen."""
    histograms: Histograms
    evaluation: Attached | None
    downstream: Attached | None
    made_by: str
    """Release of the package that writes the page."""
    made_at: str
