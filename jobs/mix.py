"""`factory mix`: one mixed manifest out of lakes and case stores."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory.counted import counted
from jobs import options

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.amount import Amount
    from jobs.evaluate.judged import Judged

_TABLES = ("dataset.json", "manifest.parquet", "plan.parquet", "quarantine.parquet")


class Verdict(StrEnum):
    """The least verdict of quality control that a synthetic volume needs."""

    accept = "accept"
    review = "review"


def command(
    out: Annotated[str, typer.Option(metavar="FILE", help="Parquet file to write, or its URL.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LAKE|CASES]...", help="Lakes and case stores, folders or URLs. [lake]"
        ),
    ] = None,
    ratio: options.Ratio = None,
    extra: options.Extra = None,
    count: options.Count = None,
    min_verdict: Annotated[
        Verdict,
        typer.Option(help="Least verdict of quality control; rejected volumes never enter."),
    ] = Verdict.review,
    by_diameter: Annotated[
        bool,
        typer.Option(
            "--by-diameter", help="As many volumes of each size of nodule, while there are."
        ),
    ] = False,
    without_copies: Annotated[
        list[Path] | None,
        typer.Option(
            "--without-copies",
            metavar="PARQUET",
            help="memorisation.parquet of `factory evaluate`: volumes that it calls a copy never enter; "
            "again for more.",
        ),
    ] = None,
    absolute: Annotated[
        bool,
        typer.Option("--absolute", help="Name volumes absolutely, also those below FILE's folder."),
    ] = False,
) -> None:
    """Write one manifest of real and synthetic volumes in a mixing ratio.

    All real rows stay, a case of several sources once. A smaller mix is a subset
    of a larger one, and no donor of the validation or test split of any source
    enters, as itself or through a child.

    \b
    Example:
        factory mix lake --ratio 0.1 --out mix-10.parquet
        factory mix lake --ratio 0.1 --without-copies evaluation/memorisation.parquet --out mix-10.parquet
    """
    from jobs.after_mix import after_mix
    from jobs.console import conclude, give, say
    from jobs.workspace import place_of
    from manifests.mix import count_by_diameter
    from manifests.read import mix_of, read_manifest

    target = write_mix(
        sources or [str(place_of("lake", None))],
        out,
        options.amount(ratio, extra, count),
        min_verdict=min_verdict.value,
        by_diameter=by_diameter,
        without_copies=without_copies or (),
        absolute=absolute,
    )
    mixed = read_manifest(target)
    counts = mix_of(mixed)
    if not counts.num_synthetic and (ratio or extra):
        say(
            f"warning: this share of {counted(counts.num_real, 'real volume')} rounds to no synthetic one; "
            "--count 1 takes one"
        )
    if by_diameter:
        bins = count_by_diameter(mixed)
        say(f"largest nodule: {', '.join(f'{name}: {number}' for name, number in bins.items())}")
    conclude(
        f"{counts.num_real} real + {counted(counts.num_synthetic, 'synthetic training volume')} "
        f"({counts.synthetic_fraction or 0:.2%} synthetic)",
        after_mix(out, mixed),
    )
    give(target)


def write(lake: Path, out: Path, amount: "Amount") -> str:
    """Write the mix of one lake to a Parquet file, as `write_mix` does."""
    return write_mix([lake], out, amount)


def write_mix(
    sources: Sequence[Path | str],
    out: Path | str,
    amount: "Amount",
    *,
    min_verdict: str = Verdict.review.value,
    by_diameter: bool = False,
    without_copies: Sequence[Path] = (),
    absolute: bool = False,
) -> str:
    """Write the mix of lakes and case stores to a Parquet file.

    Args:
        sources: Folders or URLs, in any order.
        out: File to write or replace, or its URL.
        amount: How many synthetic volumes.
        min_verdict: As in `manifests.mix.mix`.
        by_diameter: As in `manifests.mix.mix`.
        without_copies: Tables of `factory evaluate`, whose copies never enter. How many they bar,
            and how many of the mix they have no verdict on, is said.
        absolute: Name every volume absolutely; else those below the folder of `out` are named
            relative to it.

    Returns:
        Absolute path, or the URL.

    Raises:
        UsageError: `out` is a folder, belongs to a lake or case store, or is a URL that lost a
            slash or holds credentials.
        StoreError: A source is neither a lake nor a case store, or is not finished; or a table of
            verdicts is another file.
        ManifestError: The sources contradict each other, or have too few volumes.
    """
    from jobs.evaluate.judged import read_judged
    from jobs.lakes import manifest_of
    from manifests.digest import content_digest
    from manifests.mix import Source, mix, unite
    from manifests.read import read_manifest, relative_uris
    from manifests.write import write_manifest

    target, judged = _free_target(out), read_judged(without_copies)
    # A source that is named twice is one.
    manifests = dict.fromkeys(manifest_of(source) for source in sources)
    tables = {manifest: read_manifest(manifest) for manifest in manifests}
    asked: dict[str, Any] = {
        **amount.given(),
        "min_verdict": min_verdict,
        "by_diameter": by_diameter,
    }
    united = unite([Source(*named) for named in tables.items()])
    chosen = mix(united, **asked, copies=judged.copies)
    if without_copies:
        asked["without_copies"] = _told_of_copies(united, chosen, judged, min_verdict)
    digests = {manifest: content_digest(table) for manifest, table in tables.items()}
    write_manifest(
        chosen if absolute else relative_uris(chosen, target),
        target,
        made_from={"sources": digests, **asked},
    )
    return target


def _told_of_copies(
    united: "pa.Table", chosen: "pa.Table", judged: "Judged", min_verdict: str
) -> dict[str, Any]:
    """Say what the verdicts of memorisation did to a mix; return what its metadata says of it."""
    from jobs.console import say
    from manifests.mix import COPIES, usable_rows

    _, barred = usable_rows(united, min_verdict, judged.copies)
    drawn = set(chosen["work_id"].to_pylist()) - {None}
    not_judged = len(drawn - judged.known)
    where = ", ".join(judged.digests)
    say(f"left out: {counted(barred[COPIES], 'volume')} {COPIES}, by {where}")
    if not_judged:
        say(
            f"warning: {not_judged} of the {len(drawn)} synthetic volumes of this mix have no verdict there: "
            "whether they copy is not known. Evaluate their lake again, and name that table too"
        )
    return {"files": judged.digests, "num_barred": barred[COPIES], "num_not_judged": not_judged}


def _free_target(out: Path | str) -> str:
    """Return the absolute path or URL to write to, which no lake or case store needs."""
    from factory.errors import UsageError
    from factory.storage import Storage
    from jobs.workspace import place_of
    from manifests.read import is_url

    is_remote = is_url(place_of("--out", str(out)))
    folder, _, name = str(out).rpartition("/")
    # As the sources are named, so that what lies below is found to; links are looked through.
    target = Storage(folder).child(name) if is_remote else os.path.abspath(out)
    places = {target, target if is_remote else os.path.realpath(out)}
    found = "a folder" if not name or (not is_remote and Path(out).is_dir()) else ""
    if any(_is_needed(place) for place in places):
        found = "what belongs to a lake or case store"
    if found:
        raise UsageError(
            f"--out {out}: found {found}; expected another Parquet file to write. Choose another name."
        )
    return target


def _is_needed(target: str) -> bool:
    """Tell whether a lake or a case store has a use of its own for a file."""
    from factory.lake import IDENTITY
    from factory.storage import Storage

    beside, *above = _folders_of(target)
    is_table = posixpath.basename(target) in _TABLES and Storage(beside).exists(IDENTITY)
    return is_table or any(Storage(folder).exists(IDENTITY) for folder in above)


def _folders_of(target: str) -> Iterator[str]:
    """Yield the folder of an absolute path or a URL, and those above it."""
    from manifests.read import folder_of, is_url

    folder, below = folder_of(target), ""
    while folder != below and is_url(folder) == is_url(target):
        yield folder
        folder, below = posixpath.dirname(folder), folder
