"""`factory mix`: another mixing ratio out of the same lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import options

if TYPE_CHECKING:
    from jobs.amount import Amount


_TABLES = ("dataset.json", "manifest.parquet", "plan.parquet", "quarantine.parquet")


def command(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file to write.")],
    lake: options.LakeArgument = None,
    ratio: options.Ratio = None,
    extra: options.Extra = None,
    count: options.Count = None,
) -> None:
    """Write a manifest with another mixing ratio.

    All real rows stay. A smaller mix is a subset of a larger one, and no donor
    of the validation or test split enters, as itself or through a child.

    \b
    Example:
        factory mix lake --ratio 0.1 --out mix-10.parquet
    """
    from jobs.console import give, say
    from jobs.workspace import path_of
    from manifests.read import mix_of

    target = write(path_of("lake", lake), out, options.amount(ratio, extra, count))
    counts = mix_of(target)
    say(
        f"{counts.num_real} real + {counts.num_synthetic} synthetic training volumes "
        f"({counts.synthetic_fraction or 0:.2%} synthetic)"
    )
    give(target)


def write(lake: Path, out: Path, amount: "Amount") -> str:
    """Write the mix of a lake to a Parquet file, and return its absolute path.

    Raises:
        UsageError: `out` is a folder, or belongs to a lake or case store.
        ManifestError: The lake has too few volumes for the amount.
    """
    from factory.errors import UsageError
    from factory.lake import IDENTITY, MANIFEST
    from jobs.lakes import open_lake
    from manifests.mix import mix
    from manifests.read import read_manifest, rebase_uris
    from manifests.write import write_manifest

    source = open_lake(lake).storage.child(MANIFEST)
    target = out.resolve()
    found = "a folder" if out.is_dir() else ""
    beside, *above = target.parents
    reserved = target.name in _TABLES and (beside / IDENTITY).exists()
    if reserved or any((folder / IDENTITY).exists() for folder in above):
        found = "what belongs to a lake or case store"
    if found:
        raise UsageError(
            f"--out {out}: found {found}; expected another Parquet file to write. Choose another name."
        )
    chosen = mix(read_manifest(source), **amount.given())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(rebase_uris(chosen, source, target), target)
    return str(target)
