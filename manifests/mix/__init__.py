"""Mixing real and synthetic volumes for the training of a downstream model.

    manifests of lakes and case stores --unite--> one table
    all real rows + the first S usable synthetic rows of an order --> rows of one mixed manifest

A smaller mix is a subset of a larger one, and no mix holds a child of a held-out patient.
"""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from manifests.digest import in_manifest_order
from manifests.mix.amount import Amount, synthetic_count
from manifests.mix.order import count_by_diameter, in_mix_order
from manifests.mix.unite import Source, unite
from manifests.mix.usable import COPIES, DEFAULT_VERDICT, not_enough, usable_rows
from manifests.read import mix_of
from manifests.write import with_mix

__all__ = [
    "COPIES",
    "Amount",
    "Source",
    "count_by_diameter",
    "mix",
    "synthetic_count",
    "unite",
    "usable_rows",
]


def mix(
    table: pa.Table,
    *,
    ratio: Amount | None = None,
    extra: Amount | None = None,
    count: Amount | None = None,
    min_verdict: str = DEFAULT_VERDICT,
    by_diameter: bool = False,
    copies: Collection[str] = (),
) -> pa.Table:
    """Return all real rows and the first S usable synthetic rows of an order.

    Usable are synthetic rows whose split is train, whose donor, as a patient, a case or a scan,
    has no row in val or test, whose verdict of quality control is at least `min_verdict`, and
    which were not found to be copies.
    Their order depends on the rows alone, so what is drawn for a mix is in each larger one too.

    Args:
        table: Manifest of real and synthetic rows, in any order; `unite` makes one of several.
        ratio: As in `synthetic_count`; exactly one of the three.
        extra: As in `synthetic_count`.
        count: As in `synthetic_count`.
        min_verdict: accept or review. A volume that was not judged counts as one to review; a
            rejected one is never used.
        by_diameter: Take equally many volumes of each bin of diameters, as far as there are;
            else the order is that of the plan. See `in_mix_order`.
        copies: Work ids of volumes that were found to copy a real one; those of others do no
            harm.

    Returns:
        Table in manifest order with its mix columns counted anew. URIs are as they were: use
        `rebase_uris` before it is written to another folder.

    Raises:
        ManifestError: As in `synthetic_count`, there are fewer than S usable rows, or
            `min_verdict` is another word.
    """
    real = table.filter(pc.equal(table["kind"], "real"))
    num_real = mix_of(real).num_real
    wanted = synthetic_count(num_real, ratio=ratio, extra=extra, count=count)
    usable, barred = usable_rows(table, min_verdict, copies)
    if wanted > usable.num_rows:
        raise not_enough(wanted, num_real, usable.num_rows, barred)
    chosen = in_mix_order(usable, by_diameter=by_diameter).slice(0, wanted)
    return with_mix(in_manifest_order(pa.concat_tables([real, chosen])))
