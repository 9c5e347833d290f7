"""What finished runs come to: figures, table and curves, in one folder.

runs --> figures.parquet, tables/table3.md, figure-5a.*, figure-5b.*
"""

from collections.abc import Sequence
from pathlib import Path

from jobs.aside import write_text_aside
from jobs.downstream.curves import draw_curves
from jobs.downstream.figures import FIGURES, figures_of, write_figures
from jobs.downstream.results import Run
from jobs.downstream.tables import table3

TABLE = "tables/table3.md"


def write_outcome(runs: Sequence[Run], out: Path, notes: Sequence[str] = ()) -> Path:
    """Write all that runs come to; return the path of the table. The same runs give the same bytes.

    Args:
        runs: Finished ones, of one manifest and one configuration, in any order.
        out: Folder; made. What it has from before is replaced.
        notes: Sentences for the table, on what is missing say.

    Raises:
        StoreError: Two runs are of one mix, seed and fold.
    """
    mixes = figures_of(runs)
    write_figures(mixes, out / FIGURES)
    draw_curves(mixes, out)
    table = out / TABLE
    write_text_aside(table3(mixes, notes), table)
    return table
