"""Which rows of a manifest a reader takes, and the volume of one."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from factory.digests import sha256_of_voxels
from factory.errors import StoreError, UsageError
from factory.urls import check_url
from factory.volumes import Volume
from jobs.lakes import read_uri
from manifests.read import absolute_uris, is_url, read_manifest
from manifests.schema import KINDS, QC_VERDICTS, SPLITS

Place = str | os.PathLike[str]
Words = str | Collection[str] | None
"""One word, several, or None for all."""


def select_rows(
    manifest: Place, *, kinds: Words = None, splits: Words = None, verdicts: Words = None
) -> pa.Table:
    """Return the rows of a manifest that a reader takes, with absolute URIs.

    Args:
        manifest: Path or URL.
        kinds: real, synthetic.
        splits: train, val, test.
        verdicts: accept, review, reject: of synthetic volumes. Real ones are not judged, and stay.

    Raises:
        ManifestError: There is no manifest, or it is torn.
        UsageError: A word is none of these, or the URL holds credentials.
    """
    if is_url(os.fspath(manifest)):
        check_url(os.fspath(manifest))
    table = absolute_uris(read_manifest(manifest), manifest)
    table = table.filter(_among(table, "kind", _known("kinds", kinds, KINDS)))
    table = table.filter(_among(table, "split", _known("splits", splits, SPLITS)))
    if verdicts is None:
        return table
    judged = _among(table, "qc_verdict", _known("verdicts", verdicts, QC_VERDICTS))
    return table.filter(pc.or_(pc.equal(table["kind"], "real"), judged))


def load_volume(manifest: Place, row: Mapping[str, Any], *, verify: bool) -> Volume:
    """Read the volume of a row.

    Args:
        manifest: Where the row is from; for messages.
        row: With an absolute `image_uri`.
        verify: Compare voxels with the row's digests, and the affine with the row's, where it has one.

    Raises:
        StoreError: It cannot be read, has other voxels, or lies elsewhere; row and file are named.
    """
    where = f"{os.fspath(manifest)}: {name_of(row)}"
    try:
        volume = read_uri(row["image_uri"])
    except StoreError as error:
        raise StoreError(f"{where}: {error}") from error
    except OSError as error:
        raise StoreError(
            f"{where}: found {error} at {row['image_uri']}; expected a volume that can be read. Check "
            "the place and its permissions."
        ) from error
    if verify:
        _compare(where, row, "image", volume.ct)
        _compare(where, row, "layout", volume.layout)
        _compare_affine(where, row, volume)
    return volume


def name_of(row: Mapping[str, Any]) -> str:
    """Return what a message calls a row."""
    return f"volume {row['work_id']}" if row["work_id"] else f"case {row['case_id']}"


def _compare(where: str, row: Mapping[str, Any], what: str, voxels: Any) -> None:
    expected = row[f"{what}_sha256"]
    if expected and (found := sha256_of_voxels(voxels)) != expected:
        raise StoreError(
            f"{where}: {row['image_uri']}: found {what} voxels with sha256 {found}; expected {expected}. "
            "The volume was changed after it was written: make it again."
        )


def _compare_affine(where: str, row: Mapping[str, Any], volume: Volume) -> None:
    expected = row.get("affine")
    found = volume.affine.ravel()
    # A manifest's doubles are the volume's own: they differ by no more than a conversion.
    if expected is None:
        return
    if len(expected) != len(found) or not np.allclose(found, expected, rtol=1e-6, atol=1e-6):
        raise StoreError(
            f"{where}: {row['image_uri']}: found an affine of {found.tolist()}; expected {list(expected)}, as "
            "its row says. The volume was changed after it was written: make it again."
        )


def _known(name: str, given: Words, words: tuple[str, ...]) -> list[str]:
    wanted = [given] if isinstance(given, str) else list(words if given is None else given)
    if unknown := [word for word in wanted if word not in words]:
        raise UsageError(
            f"{name}: found {unknown[0]!r}; expected some of {', '.join(words)}. Correct the word."
        )
    return wanted


def _among(table: pa.Table, name: str, words: list[str]) -> pa.ChunkedArray:
    return pc.is_in(table[name], value_set=pa.array(words, pa.string()))
