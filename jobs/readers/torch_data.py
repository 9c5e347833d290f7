"""A manifest as a torch dataset."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from factory.errors import StoreError, UsageError
from jobs.readers.rows import Place, Words, load_volume, name_of, select_rows

Row = dict[str, Any]
Item = tuple[Tensor, Tensor, Row]

_DTYPES = (torch.int16, torch.float32, torch.float64)
"""Those that hold every HU exactly."""


class ManifestDataset(Dataset[Item]):
    """The volumes of a manifest, by index.

    An item is the CT (z, y, x) in HU, the layout (z, y, x) uint8 with the labels of
    `factory.layouts`, and the row of the manifest with absolute URIs; `collate` makes a batch of
    them. Nothing stays open between two items, so the dataset pickles into worker processes.

    Args:
        manifest: Path or URL; read once, here.
        kinds: real, synthetic; None is both.
        splits: train, val, test; None is all.
        verdicts: Of synthetic volumes: accept, review, reject; None is all. Real ones stay.
        dtype: Of the CT: torch.int16, torch.float32 or torch.float64.
        verify: Compare each volume with its digests, which takes about as long as reading it.

    Raises:
        ManifestError: There is no manifest, or it is torn.
        UsageError: A word or the dtype is none of these.
    """

    def __init__(
        self,
        manifest: Place,
        *,
        kinds: Words = None,
        splits: Words = None,
        verdicts: Words = None,
        dtype: torch.dtype = torch.int16,
        verify: bool = False,
    ) -> None:
        if dtype not in _DTYPES:
            raise UsageError(
                f"dtype: found {dtype}; expected one of {', '.join(map(str, _DTYPES))}, which hold "
                "every HU exactly. Convert the batch."
            )
        self._manifest, self._dtype, self._verify = manifest, dtype, verify
        # A table, not a million dictionaries: worker processes share its memory.
        self._rows = select_rows(manifest, kinds=kinds, splits=splits, verdicts=verdicts)

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __getitem__(self, index: int) -> Item:
        """Read a volume.

        Raises:
            StoreError: It cannot be read, or is not what its row says; both are named.
            IndexError: There is no such row.
        """
        row = self.row(index)
        volume = load_volume(self._manifest, row, verify=self._verify)
        ct = torch.from_numpy(volume.ct).to(self._dtype)
        return ct, torch.from_numpy(volume.layout), row

    def row(self, index: int) -> Row:
        """Return a row without its volume."""
        place = range(len(self))[index]
        row: Row = self._rows.slice(place, 1).to_pylist()[0]
        return row


def collate(items: Sequence[Item]) -> tuple[Tensor, Tensor, list[Row]]:
    """Make a batch; the `collate_fn` of a DataLoader.

    Args:
        items: Of a `ManifestDataset`, all of one shape.

    Returns:
        CTs (B, 1, D, H, W), layouts (B, 1, D, H, W) and the rows.

    Raises:
        StoreError: Two volumes have different shapes; both are named.
    """
    cts, layouts, rows = (list(part) for part in zip(*items, strict=True))
    for ct, row in zip(cts, rows, strict=True):
        if ct.shape != cts[0].shape:
            raise StoreError(
                f"{name_of(row)} has {tuple(ct.shape)} voxels (z, y, x), {name_of(rows[0])} has "
                f"{tuple(cts[0].shape)}; expected one shape in a batch. Mix sources of one grid, or "
                "take batches of one."
            )
    return torch.stack(cts)[:, None], torch.stack(layouts)[:, None], rows
